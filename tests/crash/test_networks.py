"""Networks and volumes of containers under SIGKILL, of netavark and its tools too.

On one driver: where a container's layers are makes no difference here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.crash.campaign import NEVER, sample, sweep
from tests.crash.checks import refused_by_dockerd
from tests.crash.stories_containers import Yard
from tests.crash.stories_networks import NETWORK_STORIES, VOLUME_STORIES, networked_yard

pytestmark = pytest.mark.xdist_group("crash-networks")

STORIES = {**NETWORK_STORIES, **VOLUME_STORIES}
# Points of each story without the soak.
SAMPLES = {"run-in-lane": 2, "network-connect": 1, "network-rm": 2, "run-with-mounted-volume": 2}
# A story with more calls is stopped at every third: most are iptables asking for the same again.
MANY_CALLS, STEP = 400, 3


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Yard]:
    assert os.geteuid() == 0, "crash tests need root: run `make setup` and `make test` as root"
    with networked_yard(tmp_path_factory.mktemp("lanes"), "overlay2") as made:
        yield made


@pytest.mark.parametrize("name", SAMPLES)
def test_killed_at_some_points(place: Yard, name: str) -> None:
    story = STORIES[name]
    problems = sample(partial(place.kill, story), place.calls(story), SAMPLES[name])
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STORIES)
def test_killed_everywhere(place: Yard, name: str) -> None:
    story = STORIES[name]
    calls = place.calls(story)
    problems = sweep(partial(place.kill, story), 2 * calls, STEP if calls > MANY_CALLS else 1)
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.dockerd
def test_killed_everywhere_and_dockerd_opens_the_root(place: Yard, tmp_path: Path) -> None:
    """After all of that; on the way back it is ours again."""
    (place.engine.volumes.create("kept").path / "file").write_text("here")
    assert refused_by_dockerd(place.engine, place.root, tmp_path) == []
    assert (place.engine.volumes.get("kept").path / "file").read_text() == "here"
    _, problems = place.kill(STORIES["run-in-lane"], NEVER)
    assert not problems, "\n".join(problems)
