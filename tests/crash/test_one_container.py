"""Everybody does anything to one container, and some are killed: it is what it says, and goes without a trace."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from random import SystemRandom

import pytest

from onggi.drivers.choice import DRIVERS
from tests.crash.one_container import Talk
from tests.crash.stories_containers import Yard, is_consistent, yard

pytestmark = pytest.mark.xdist_group("crash-one-container")


@pytest.fixture(scope="module", params=DRIVERS)
def place(tmp_path_factory, request) -> Iterator[tuple[Yard, str]]:
    with yard(tmp_path_factory.mktemp("one"), request.param) as made:
        yield made, request.param


def test_for_a_moment(place: tuple[Yard, str]) -> None:
    said = talk(*place, processes=3, seconds=3)
    assert not said, "\n".join(said)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_for_long(place: tuple[Yard, str]) -> None:
    said = talk(*place, processes=6, seconds=300)
    assert not said, "\n".join(said)


def talk(place: Yard, driver: str, *, processes: int, seconds: float) -> list[str]:
    """What went wrong, and the seeds."""
    seed, until = SystemRandom().randrange(1_000_000), time.time() + seconds
    children = []
    for number in range(processes):
        where = (str(place.root), str(place.exec_root), str(place.config), driver, place.group)
        given = json.dumps(asdict(Talk(*where, place.words(), seed + number, until)))
        command = [sys.executable, "-m", "tests.crash.one_container", given]
        pipe = subprocess.PIPE
        children.append(subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True))
    problems = []
    for child in children:
        problems += child.communicate(timeout=seconds + 240)[0].splitlines()
        problems += [f"it ended with {child.returncode}"] if child.returncode else []
    problems += is_consistent(place) + place.removed() + place.left()
    return [f"seeds {seed} …", *problems] if problems else []
