"""Containers under SIGKILL: of the command, of the supervisor, of the runtime, of the first process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from onggi.drivers.choice import DRIVERS
from tests.crash.campaign import NEVER, sample, sweep
from tests.crash.checks import refused_by_dockerd
from tests.crash.stories_containers import CONTAINER_STORIES, Yard, yard

pytestmark = pytest.mark.xdist_group("crash-containers")

# Points of each story without the soak.
SAMPLES = {"run": 3, "restart": 1, "rm-force": 1}


@pytest.fixture(scope="module", params=DRIVERS)
def place(tmp_path_factory, request) -> Iterator[Yard]:
    assert os.geteuid() == 0, "crash tests need root: run `make setup` and `make test` as root"
    with yard(tmp_path_factory.mktemp("yard"), request.param) as made:
        yield made


@pytest.mark.parametrize("name", SAMPLES)
def test_killed_at_some_points(place: Yard, name: str) -> None:
    story = CONTAINER_STORIES[name]
    problems = sample(partial(place.kill, story), place.calls(story), SAMPLES[name])
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CONTAINER_STORIES)
def test_killed_everywhere(place: Yard, name: str) -> None:
    story = CONTAINER_STORIES[name]
    problems = sweep(partial(place.kill, story), 2 * place.calls(story))
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.dockerd
@pytest.mark.parametrize("place", ["overlay2"], indirect=True)
def test_killed_everywhere_and_dockerd_opens_the_root(place: Yard, tmp_path: Path) -> None:
    """After all of that; on the way back it is ours again."""
    assert refused_by_dockerd(place.engine, place.root, tmp_path) == []
    _, problems = place.kill(CONTAINER_STORIES["run"], NEVER)
    assert not problems, "\n".join(problems)
