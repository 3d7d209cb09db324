"""Many processes on one data root: every blob travels once, nobody fails, nothing is left over."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from tests.crash.campaign import PULL_RATE, Campaign
from tests.crash.checks import compare, empty_files, failures, leftovers, snapshot
from tests.crash.child import command, open_engine
from tests.crash.samples import APP, MIXED, OTHER

pytestmark = pytest.mark.xdist_group("crash-concurrency")

# Processes that pull at once.
PULLERS = 9
# Four seconds for the largest blob: longer than the last process takes to start.
SLOW_BYTES_PER_S = 200_000
# Seconds that pull and rmi race.
RACE_S, LONG_RACE_S = 4, 60


def run_all(commands: Sequence[Sequence[str]]) -> list[str]:
    """Start all at once and wait; what went wrong."""
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    outputs = [child.communicate(timeout=120)[0] for child in children]
    return [
        output.strip().splitlines()[-1] if output.strip() else f"exit status {child.returncode}"
        for child, output in zip(children, outputs, strict=True)
        if child.returncode
    ]


def sound(root: Path, mirror: str) -> list[str]:
    return leftovers(root) + empty_files(root) + failures(root, mirror)


def pull_at_once(
    crash: Campaign, root: Path, names: Sequence[str], rate_bytes_per_s: int = PULL_RATE
) -> list[str]:
    """Pull with one process a name; what went wrong."""
    crash.registry.forget()
    mirror = crash.registry.url
    problems = run_all([command("pull", root, mirror, name, rate_bytes_per_s) for name in names])
    problems += sound(root, mirror)
    with open_engine(root, mirror) as engine:
        tags = {tag for image in engine.images.list() for tag in image.tags}
    return problems + [f"{name} is missing" for name in names if f"{name}:latest" not in tags]


def fetched_twice(crash: Campaign, layers: Collection[str]) -> list[str]:
    """Blobs that travelled more than once."""
    counts = crash.registry.fetched()
    return [f"{digest} was fetched {counts[digest]} times" for digest in layers if counts[digest] > 1]


def test_many_pulls_of_one_image(crash: Campaign, fresh_root: Path) -> None:
    problems = pull_at_once(crash, fresh_root, [APP] * PULLERS) + fetched_twice(crash, crash.layer_sizes())
    assert not problems, problems
    assert not compare(snapshot(fresh_root), crash.expected)


def test_many_pulls_of_overlapping_images(crash: Campaign, fresh_root: Path) -> None:
    problems = pull_at_once(crash, fresh_root, [APP, OTHER, APP] * (PULLERS // 3))
    problems += fetched_twice(crash, crash.layer_sizes())
    assert not problems, problems


def test_the_same_blobs_in_other_chains(crash: Campaign, fresh_root: Path) -> None:
    """No layer of one image serves the other; its blobs do, as long as both pulls want them.

    Only the largest blob takes long enough for the last process to want it in time.
    """
    sizes = crash.layer_sizes()
    problems = pull_at_once(crash, fresh_root, [APP, MIXED, APP, MIXED], SLOW_BYTES_PER_S)
    problems += fetched_twice(crash, [max(crash.layers_of(APP), key=lambda digest: sizes[digest])])
    assert not problems, problems


@pytest.mark.soak
def test_many_pulls_again_and_again(crash: Campaign) -> None:
    for turn in range(30):
        with crash.fresh_root() as root:
            problems = pull_at_once(crash, root, [APP, OTHER, APP] * (PULLERS // 3))
            problems += fetched_twice(crash, crash.layer_sizes())
            assert not problems, (turn, problems)


def test_pull_races_rmi(crash: Campaign, fresh_root: Path) -> None:
    problems = race(crash, fresh_root, RACE_S)
    assert not problems, problems


@pytest.mark.soak
def test_pull_races_rmi_for_long(crash: Campaign, fresh_root: Path) -> None:
    problems = race(crash, fresh_root, LONG_RACE_S)
    assert not problems, problems


def race(crash: Campaign, root: Path, seconds: float) -> list[str]:
    """Two processes pull APP and OTHER again and again, two remove them; what went wrong."""
    crash.pull(root, APP)
    until = str(time.time() + seconds)
    problems = run_all(
        [
            [*crash.command(verb, root, name), until]
            for verb in ("pull-until", "remove-until")
            for name in (APP, OTHER)
        ]
    )
    crash.pull(root, APP)
    with open_engine(root, crash.registry.url) as engine:
        for image in engine.images.list(all=True):
            if f"{APP}:latest" not in image.tags:
                engine.images.remove(image.id, force=True)
        engine.images.prune()
    problems += sound(root, crash.registry.url)
    trees = compare(({}, snapshot(root)[1]), ({}, crash.expected[1]))
    return problems + trees
