"""The power goes at any call that changes a name or flushes, with the journal written or not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.crash.campaign import Campaign, sweep
from tests.crash.power import Disk, disk
from tests.crash.test_kill import points

SAMPLE = 6
JOURNAL = pytest.mark.parametrize("journal", [False, True], ids=["journal-lost", "journal-written"])


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[Disk]:
    with disk(tmp_path_factory.mktemp("power"), 96 << 20) as made:
        yield made


@JOURNAL
@pytest.mark.parametrize("part", range(SAMPLE))
def test_power_cut_in_a_pull(crash: Campaign, storage: Disk, part: int, journal: bool) -> None:
    stop_at = points(crash.pull_calls, SAMPLE)[part]
    outcome, problems = crash.cut_pull(storage, stop_at, journal=journal)
    assert not problems, (outcome, problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@JOURNAL
def test_power_cut_everywhere_in_a_pull(crash: Campaign, storage: Disk, journal: bool) -> None:
    problems = sweep(partial(crash.cut_pull, storage, journal=journal), 2 * crash.pull_calls)
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@JOURNAL
def test_power_cut_everywhere_in_a_removal(crash: Campaign, storage: Disk, journal: bool) -> None:
    problems = sweep(partial(crash.cut_remove, storage, journal=journal), 2 * crash.remove_calls)
    assert not problems, "\n".join(problems)
