"""Indexes within indexes: which manifest a pull takes, by Docker 28's rule and by 20.10's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.fixtures import Onggi
from tests.peers.images import Layout, member, tar

AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
I386 = {"os": "linux", "architecture": "386"}
Build = Callable[[Layout], dict[str, Any]]


def image(layout: Layout, architecture: str) -> dict[str, Any]:
    return layout.manifest([tar([member("arch", architecture.encode())])], architecture=architecture)


def empty_first(layout: Layout) -> dict[str, Any]:
    """Two indexes for amd64, the first without anything for it."""
    empty = layout.index([(image(layout, "arm64"), ARM64)])
    full = layout.index([(image(layout, "amd64"), AMD64)])
    return layout.index([(empty, AMD64), (full, AMD64)])


def only_empty(layout: Layout) -> dict[str, Any]:
    return layout.index([(layout.index([(image(layout, "arm64"), ARM64)]), AMD64)])


def less_good_but_there(layout: Layout) -> dict[str, Any]:
    """What fits best has nothing; 32 bits run too."""
    empty = layout.index([(image(layout, "arm64"), ARM64)])
    return layout.index([(image(layout, "386"), I386), (empty, AMD64)])


def nested(depth: int) -> Build:
    def build(layout: Layout) -> dict[str, Any]:
        document = image(layout, "amd64")
        for _ in range(depth):
            document = layout.index([(document, AMD64)])
        return document

    return build


def many_empty(layout: Layout) -> dict[str, Any]:
    indexes = [layout.index([(image(layout, f"mips{n}"), {**ARM64, "variant": f"v{n}"})]) for n in range(40)]
    return layout.index([(index, AMD64) for index in indexes])


NO_MATCH = "no matching manifest for linux/amd64 in the manifest list entries (it has linux/arm64: choose"


@pytest.mark.parametrize(
    "build, compat, outcome",
    [
        (empty_first, "28", "amd64"),
        (empty_first, "20.10", NO_MATCH),
        (only_empty, "28", NO_MATCH),
        (less_good_but_there, "28", "386"),
        (less_good_but_there, "20.10", NO_MATCH),
        (nested(4), "28", "amd64"),
        (nested(5), "28", "indexes are nested deeper than 4"),
        (many_empty, "28", "32 of its nested indexes have nothing for the platform"),
    ],
)
def test_nested_indexes(tmp_path: Path, build: Build, compat: str, outcome: str) -> None:
    layout = Layout(tmp_path / "layout")
    layout.name("library/nest:latest", build(layout))
    with serving(OCILayout(layout.directory)) as url:
        config = tmp_path / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [url], "compat": compat}))
        onggi = Onggi(tmp_path / "root", config)
        done = onggi.run("pull", "-q", "--platform", "linux/amd64", "nest", check=False)
        if done.returncode:
            assert outcome in done.stderr
        else:
            assert onggi.output("inspect", "-f", "{{.Architecture}}", "nest").strip() == outcome
