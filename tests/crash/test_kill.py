"""SIGKILL before any call that changes a name or flushes, in the engine, its helper and its workers."""

from __future__ import annotations

from functools import partial

import pytest

from tests.crash.campaign import PULL, REMOVAL, REPAIR, Campaign, Story, sample, sweep

STORIES = {"pull": PULL, "removal": REMOVAL, "repair": REPAIR}
STORY = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)


@STORY
def test_killed_at_some_points(crash: Campaign, story: Story) -> None:
    problems = sample(partial(crash.kill, story), crash.calls(story), 12)
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@STORY
def test_killed_everywhere(crash: Campaign, story: Story) -> None:
    problems = sweep(partial(crash.kill, story), 2 * crash.calls(story))
    assert not problems, "\n".join(problems)
