"""Hostile layers pulled by a real dockerd and by Onggi: the same trees, or refused by both.

Where Onggi is stricter, ``STRICTER_LAYERS`` says why. Nothing outside a data root changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

import onggi
from onggi.config import Config
from onggi.errors import OnggiError
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from onggi.oci.digest import ChainID, DiffID, chain_ids
from tests.compat.hostile import STRICTER_LAYERS, hostile_layers, names
from tests.compat.hostile_table import dockerd_refuses
from tests.compat.stores import layer_trees
from tests.peers.daemon import Daemon
from tests.peers.images import Layout
from tests.tree.trees import Entry, snapshot

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("dockerd")]

LAYERS = "tests/compat/test_hostile_layers.py"
CASES = list(hostile_layers(b"/outside"))


@dataclass
class Rig:
    """Both engines on roots of their own below ``top``, and all images at one registry."""

    top: Path
    images: dict[str, str]
    chains: dict[str, tuple[ChainID, ...]]
    daemon: Daemon
    engine: onggi.Engine

    def canary(self) -> dict[bytes, Entry]:
        """Everything beside the two data roots."""
        return snapshot(self.top / "outside")

    def by_docker(self, case: str) -> dict[str, dict[str, tuple[object, ...]]] | str:
        """Layer trees by chain, or the words of the refusal."""
        done = self.daemon.run("pull", self.images[case], check=False)
        if done.returncode:
            return done.stderr.strip()
        trees = self._trees(case, self.daemon.data_root)
        self.daemon.run("rmi", self.images[case])
        return trees

    def _trees(self, case: str, root: Path) -> dict[str, dict[str, tuple[object, ...]]]:
        """Of this image's layers: a refused image leaves its lower ones to Onggi's next pull."""
        chains = {chain.hex for chain in self.chains[case]}
        return {chain: tree for chain, tree in layer_trees(root).items() if chain in chains}

    def by_us(self, case: str) -> dict[str, dict[str, tuple[object, ...]]] | str:
        try:
            self.engine.images.pull(self.images[case])
        except OnggiError as error:
            assert error.hint
            return error.message
        trees = self._trees(case, self.engine.config.data_root)
        self.engine.images.remove(self.images[case])
        return trees


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[Rig]:
    top = tmp_path_factory.mktemp("hostile")
    outside = top / "outside"
    outside.mkdir()
    (outside / "secret").write_text("untouched")
    (outside / "evil.d").mkdir()
    for path in (outside / "secret", outside / "evil.d", outside):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    layout = Layout(top / "layout")
    images = dict(zip(CASES, names(CASES), strict=True))
    chains = {}
    for case, layers in hostile_layers(os.fsencode(outside)).items():
        layout.image(f"library/{images[case]}:latest", layers)
        chains[case] = tuple(chain_ids([DiffID(f"sha256:{sha256(layer).hexdigest()}") for layer in layers]))
    with (
        serving(OCILayout(layout.directory)) as url,
        Daemon(top / "docker", top / "work") as daemon,
    ):
        host = url.removeprefix("http://")
        named = {case: f"{host}/library/{image}" for case, image in images.items()}
        config = Config(data_root=top / "onggi", exec_root=top / "run", compat="20.10")
        with onggi.open(config=config) as engine:
            yield Rig(top, named, chains, daemon, engine)


@pytest.mark.parametrize("case", CASES)
def test_as_dockerd(rig: Rig, case: str) -> None:
    before, current = rig.canary(), os.listdir(".")
    ours = rig.by_us(case)
    assert rig.canary() == before
    assert os.listdir(".") == current
    assert_nothing_left(rig.engine.config.data_root)
    theirs = rig.by_docker(case)
    assert isinstance(theirs, str) == dockerd_refuses(LAYERS, case), theirs
    assert not isinstance(theirs, str) or "failed to register layer" in theirs
    if case in STRICTER_LAYERS:
        assert not isinstance(theirs, str), theirs
        assert ours != theirs
    elif isinstance(theirs, str) or isinstance(ours, str):
        assert isinstance(ours, str), f"docker refuses: {theirs}"
        assert isinstance(theirs, str), f"docker takes it, we say: {ours}"
        # Where a parent leads nowhere we name the marker, Docker what it stands for: the cause is one.
        assert theirs.rstrip(": )").rsplit(": ", 1)[-1].rpartition("(")[2] in ours
    else:
        assert ours == theirs


def assert_nothing_left(root: Path) -> None:
    """No stage of a layer, refused or not."""
    for place in ("onggi/staging", "image/overlay2/layerdb/tmp"):
        assert not (root / place).is_dir() or os.listdir(root / place) == []
