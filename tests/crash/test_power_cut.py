"""The power goes at any call that changes a name or flushes, with the journal written or not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.crash.campaign import PULL, REMOVAL, REPAIR, Campaign, Story, sample, sweep
from tests.crash.power import Disk, disk

STORIES = {"pull": PULL, "removal": REMOVAL, "repair": REPAIR}
JOURNAL = pytest.mark.parametrize("journal", [False, True], ids=["journal-lost", "journal-written"])
STORY = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[Disk]:
    with disk(tmp_path_factory.mktemp("power"), 96 << 20) as made:
        yield made


@JOURNAL
@STORY
def test_power_cut_at_some_points(crash: Campaign, storage: Disk, story: Story, journal: bool) -> None:
    problems = sample(partial(crash.cut, story, storage, journal), crash.calls(story), 4)
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@JOURNAL
@STORY
def test_power_cut_everywhere(crash: Campaign, storage: Disk, story: Story, journal: bool) -> None:
    problems = sweep(partial(crash.cut, story, storage, journal), 2 * crash.calls(story))
    assert not problems, "\n".join(problems)
