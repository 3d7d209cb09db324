"""SIGKILL before any call that changes a name or flushes, in the engine, its helper and its workers."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.crash.campaign import Campaign, sample, sweep
from tests.crash.checks import compare, failures, leftovers, snapshot
from tests.crash.child import command
from tests.crash.samples import APP
from tests.crash.stories import STORIES
from tests.peers.processes import wait_until

pytestmark = pytest.mark.xdist_group("crash-kill")

# Two seconds for the largest blob: time to see its layer grow.
SLOW_BYTES_PER_S = 400_000

# Points of each story without the soak: what a developer waits for.
SAMPLES = {
    "pull": 8,
    "removal": 8,
    "repair": 8,
    "load": 8,
    "gc": 3,
    "prune": 3,
    "push": 3,
    "conversion": 4,
    "mount": 4,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_killed_at_some_points(crash: Campaign, name: str) -> None:
    story = STORIES[name]
    problems = sample(partial(crash.kill, story), crash.calls(story), SAMPLES[name])
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STORIES)
def test_killed_everywhere(crash: Campaign, name: str) -> None:
    story = STORIES[name]
    problems = sweep(partial(crash.kill, story), 2 * crash.calls(story))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("turn", range(3))
def test_pull_at_once_after_a_kill(crash: Campaign, fresh_root: Path, turn: int) -> None:
    """Nobody waits for the workers of the killed pull to notice: the next pull starts at once."""
    slow = command("pull", fresh_root, crash.registry.url, APP, SLOW_BYTES_PER_S)
    child = subprocess.Popen(slow)
    wait_until(lambda: any(fresh_root.glob("onggi/staging/*/layer/diff/*")), "an unpacking layer")
    child.kill()
    crash.pull(fresh_root)
    child.wait()
    assert not failures(fresh_root, crash.registry.url)
    # What the killed pull still held when the next one began, the one after that clears.
    crash.pull(fresh_root)
    problems = leftovers(fresh_root) + compare(snapshot(fresh_root), crash.expected)
    assert not problems, problems
    wait_until(lambda: not processes_under(fresh_root), "the end of every process of the killed pull")


def processes_under(root: Path) -> list[str]:
    """Processes that have something below ``root`` open."""
    found = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()):
        try:
            targets = [os.readlink(descriptor) for descriptor in Path("/proc", pid, "fd").iterdir()]
        except OSError:
            continue  # it has gone, or closed one meanwhile
        found += [pid for target in targets if target.startswith(f"{root}/")]
    return found
