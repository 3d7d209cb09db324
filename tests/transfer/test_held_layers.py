"""Layers that are here under another chain are made from their files: the registry is asked for no blob."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compat.stores import layer_trees
from tests.crash.registry import CountingRegistry, counting
from tests.peers.fixtures import Onggi
from tests.peers.images import Layout, member, odd_layers, tar


@dataclass
class Shop:
    """``first`` and ``second`` have the same layers in another order; ``third`` one more than first."""

    layout: Layout
    registry: CountingRegistry
    onggi: Onggi

    def fetched(self, image: str) -> int:
        """Blobs of layers that a pull of ``image`` asks for; the config is one more."""
        self.registry.forget()
        self.onggi.run("pull", image)
        return sum(self.registry.fetched().values()) - 1


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    layout = Layout(tmp_path / "layout")
    base, upper = odd_layers()
    noise = tar([member("noise", bytes(range(256)) * 8192)])
    layout.image("library/first:latest", [base, upper, noise])
    layout.image("library/second:latest", [noise, base, upper])
    layout.image("library/zstd:latest", [noise, upper, base], compression="zstd")
    with counting(layout.directory) as registry:
        config = tmp_path / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [registry.url]}))
        yield Shop(layout, registry, Onggi(tmp_path / "root", config))


def test_no_blob_is_asked_for(shop: Shop) -> None:
    assert shop.fetched("first") == 3
    plan = json.loads(shop.onggi.output("pull", "--plan", "--json", "second"))
    assert plan["BytesToFetch"] == 0
    shop.registry.forget()
    lines = shop.onggi.output("pull", "second").splitlines()
    assert sum(shop.registry.fetched().values()) == 1
    states = [line.split(": ")[1] for line in lines[2:-3]]
    assert sorted(states) == ["Pull complete"] * 3 + ["Pulling fs layer"] * 3
    assert shop.onggi.run("doctor").returncode == 0
    assert shop.onggi.run("verify", "--all").returncode == 0


def test_the_layers_are_the_same_as_fetched(shop: Shop, tmp_path: Path) -> None:
    other = Onggi(tmp_path / "other", tmp_path / "daemon.json")
    other.run("pull", "second")
    shop.onggi.run("pull", "first")
    shop.onggi.run("pull", "second")
    ours = layer_trees(shop.onggi.data_root)
    for chain, tree in layer_trees(other.data_root).items():
        assert ours[chain] == tree
    assert list(shop.onggi.data_root.glob("onggi/blobs/*/*")) == []


def test_another_blob_of_the_same_layer_is_fetched(shop: Shop) -> None:
    """Nobody knows what it holds before it is here."""
    shop.fetched("first")
    assert shop.fetched("zstd") == 3


def test_a_changed_layer_is_not_used(shop: Shop) -> None:
    shop.fetched("first")
    (noise,) = shop.onggi.data_root.glob("overlay2/*/diff/noise")
    noise.write_bytes(b"changed")
    assert shop.fetched("second") == 1


def test_blobs_that_are_to_be_kept_are_fetched(shop: Shop) -> None:
    shop.fetched("first")
    shop.registry.forget()
    shop.onggi.run("pull", "--keep-blobs", "second")
    assert sum(shop.registry.fetched().values()) == 4
