"""The power goes at any call that changes a name or flushes, with the journal written or not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.crash.campaign import NEVER, Campaign, sample, sweep
from tests.crash.power import Disk, PowerCut, disk
from tests.crash.samples import BUSYBOX
from tests.crash.stories import POWER_CUTS, STORIES
from tests.crash.tracer import trace
from tests.peers.daemon import Daemon

pytestmark = pytest.mark.xdist_group("crash-power-cut")

SAMPLES = {"pull": 3, "removal": 3, "repair": 3, "healing": 3, "load": 3, "gc": 2, "prune": 2}
JOURNAL = pytest.mark.parametrize("journal", [False, True], ids=["journal-lost", "journal-written"])


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[Disk]:
    with disk(tmp_path_factory.mktemp("power"), 96 << 20) as made:
        made.require_power_switch()
        yield made


@JOURNAL
@pytest.mark.parametrize("name", SAMPLES)
def test_power_cut_at_some_points(crash: Campaign, storage: Disk, name: str, journal: bool) -> None:
    story = STORIES[name]
    problems = sample(partial(crash.cut, story, storage, journal), crash.calls(story), SAMPLES[name])
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@JOURNAL
@pytest.mark.parametrize("name", POWER_CUTS)
def test_power_cut_everywhere(crash: Campaign, storage: Disk, name: str, journal: bool) -> None:
    story = STORIES[name]
    problems = sweep(partial(crash.cut, story, storage, journal), 2 * crash.calls(story))
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.dockerd
@pytest.mark.timeout(1200)
@JOURNAL
@pytest.mark.parametrize("part", range(8))
def test_dockerd_starts_after_a_power_cut(
    crash: Campaign, storage: Disk, tmp_path: Path, part: int, journal: bool
) -> None:
    """dockerd opens what the cut left; an image that has its name runs, the others do after a pull."""
    root, mirror = storage.path / "root", crash.registry.url
    pull = crash.command("pull", root, BUSYBOX)
    calls = trace(pull, NEVER).counted
    shutil.rmtree(root)
    # The last part is a cut right after the end.
    stop_at = 1 + calls * (part + 1) // 8
    trace(pull, stop_at, cut=PowerCut(str(storage.path), journal))
    storage.after_power_cut()
    with Daemon(root, tmp_path / "cut", mirror=mirror) as daemon:
        listed = daemon.output("images", "-q", BUSYBOX)
        if listed:
            assert run_image(daemon) == "onggi\n"
    crash.pull(root, BUSYBOX)
    with Daemon(root, tmp_path / "pulled", mirror=mirror) as daemon:
        assert daemon.output("images", "-q", BUSYBOX)
        assert run_image(daemon) == "onggi\n"
        assert daemon.run("pull", BUSYBOX).returncode == 0
    shutil.rmtree(root)


def run_image(daemon: Daemon) -> str:
    return daemon.output("run", "--rm", "--network", "none", BUSYBOX)
