"""SIGKILL before any call that changes a name or flushes, in the engine, its helper and its workers."""

from __future__ import annotations

import pytest

from tests.crash.campaign import Campaign, sweep

SAMPLE = 12


def points(calls: int, sample: int = SAMPLE) -> list[int]:
    """A sample of the points of a run, the second half of each part: the late ones are those that count."""
    return [1 + calls * (2 * part + 1) // (2 * sample) for part in range(sample)]


@pytest.mark.parametrize("part", range(SAMPLE))
def test_killed_pull(crash: Campaign, part: int) -> None:
    stop_at = points(crash.pull_calls)[part]
    outcome, problems = crash.kill_pull(stop_at)
    assert not problems, (outcome, problems)


@pytest.mark.parametrize("part", range(SAMPLE))
def test_killed_removal(crash: Campaign, part: int) -> None:
    stop_at = points(crash.remove_calls)[part]
    outcome, problems = crash.kill_remove(stop_at)
    assert not problems, (outcome, problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_pull_killed_everywhere(crash: Campaign) -> None:
    problems = sweep(crash.kill_pull, 2 * crash.pull_calls)
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_removal_killed_everywhere(crash: Campaign) -> None:
    problems = sweep(crash.kill_remove, 2 * crash.remove_calls)
    assert not problems, "\n".join(problems)
