"""Hundreds of containers at once: all start, all are listed, all stop, nothing stays behind."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from onggi.drivers.choice import DRIVERS
from onggi.engine.containers.container import Container
from tests.crash.stories_containers import Yard, yard

pytestmark = pytest.mark.xdist_group("crash-many")

T = TypeVar("T")
# Commands that run beside each other, containers that run, and those that only exist.
AT_ONCE, RUNNING, MORE = 20, 200, 300


@pytest.fixture(scope="module", params=DRIVERS)
def place(tmp_path_factory, request) -> Iterator[Yard]:
    with yard(tmp_path_factory.mktemp("many"), request.param) as made:
        yield made


def at_once(act: Callable[[int], T], count: int) -> list[T]:
    """Call ``act`` with every number; raises what one of them raises."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(act, range(count)))


def test_a_dozen(place: Yard) -> None:
    many(place, running=12, more=12)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_containers(place: Yard) -> None:
    many(place, running=RUNNING, more=MORE)


def many(place: Yard, *, running: int, more: int) -> None:
    """Start, list, use, stop and remove them."""
    run, create = place.engine.containers.run, place.engine.containers.create
    limits = {"CgroupParent": place.group}
    started = at_once(lambda number: run("box", ["sleep", "1000"], host_config=limits), running)
    created = at_once(lambda number: create("box", host_config=limits), more)
    assert {row.state for row in place.engine.containers.rows()} == {"running"}
    assert len(listed(place)) == running
    assert len(set(listed(place, "-a"))) == running + more
    said = at_once(lambda number: said_by(started[number]), running)
    assert sorted(said) == sorted(container.short_id.encode() for container in started)
    at_once(lambda number: started[number].stop(0), running)
    assert {row.state for row in place.engine.containers.rows(all=True)} == {"exited", "created"}
    everyone = started + created
    at_once(lambda number: everyone[number].remove(), running + more)
    assert not place.removed() + place.left()


def said_by(container: Container) -> bytes:
    """Its host name, out of it."""
    return container.exec(["hostname"]).communicate(timeout_s=120).stdout.strip()


def listed(place: Yard, *flags: str) -> list[str]:
    """What ``ps -q`` shows."""
    words = place.words("ps", "-q", "--no-trunc", *flags)
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
