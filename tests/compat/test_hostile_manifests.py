"""Hostile manifests, configs and blobs, pulled by a real dockerd and by Onggi: taken or refused by both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import onggi
from onggi.config import Config
from onggi.errors import OnggiError
from tests.compat.hostile import STRICTER_MANIFESTS, hostile_manifests, names, sound
from tests.compat.hostile_table import dockerd_refuses
from tests.peers.daemon import Daemon
from tests.registry.registry import FakeRegistry
from tests.registry.site import Site

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("dockerd")]

MANIFESTS = "tests/compat/test_hostile_manifests.py"
CASES = list(hostile_manifests())


@dataclass
class Rig:
    """Both engines, and what to pull."""

    top: Path
    images: dict[str, str]
    daemon: Daemon
    engine: onggi.Engine


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[Rig]:
    top = tmp_path_factory.mktemp("hostile")
    registry = FakeRegistry()
    tags = dict(zip(CASES, names(CASES), strict=True))
    for case, spoil in hostile_manifests().items():
        parts = sound(registry, case)
        spoil(parts)
        parts.publish(tags[case])
    site = Site(registry)
    images = {case: f"{site.host}/hostile/image:{tag}" for case, tag in tags.items()}
    config = Config(data_root=top / "onggi", exec_root=top / "run", compat="20.10", max_download_attempts=1)
    try:
        with Daemon(top / "docker", top / "work") as daemon, onggi.open(config=config) as engine:
            yield Rig(top, images, daemon, engine)
    finally:
        site.stop()


@pytest.mark.parametrize("case", CASES)
def test_as_dockerd(rig: Rig, case: str) -> None:
    ours = ""
    try:
        rig.engine.images.pull(rig.images[case])
    except OnggiError as error:
        ours = error.message
        assert error.hint
        assert "\n" not in ours
    theirs = rig.daemon.run("pull", rig.images[case], check=False)
    if case != "sound":
        assert bool(theirs.returncode) == dockerd_refuses(MANIFESTS, case), theirs.stderr
    if case in STRICTER_MANIFESTS:
        assert (theirs.returncode, bool(ours)) == (0, True), theirs.stderr
    else:
        assert bool(ours) == bool(theirs.returncode), (ours, theirs.stderr)
    assert not (rig.top / "secret").exists()
