"""The real program on a real store, filled from our own registry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.fixtures import Onggi
from tests.peers.images import Layout, member, odd_layers, tar

BIG_BYTES = 3_000_000


def _step(created_by: str, **more: object) -> dict[str, object]:
    return {"created": "2019-11-23T01:12:31.338Z", "created_by": created_by, **more}


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Iterator[str]:
    """URL of a registry with library/web (v1, v2 on the same base) and library/big."""
    layout = Layout(tmp_path_factory.mktemp("shop") / "layout")
    base, first, second = (
        tar([member(name, b"x" * size)]) for name, size in (("b", 5000), ("f", 22), ("s", 7))
    )
    history = [
        _step("/bin/sh -c #(nop) ADD file:d252ae1c97d5c80e7 in / "),
        _step('/bin/sh -c #(nop)  CMD ["nginx" "-g" "daemon off;"]', empty_layer=True),
        _step(
            "/bin/sh -c set -x     && addgroup --system \t&& echo 'long enough to be cut' <&>", comment="c"
        ),
    ]
    config = {"Cmd": ["nginx", "-g", "daemon off;"], "Env": ["A=1", "B=2"], "Labels": {"maintainer": "NGINX"}}
    layout.image("library/web:v1", [base, first], config=config, history=history)
    layout.image("library/web:v2", [base, second], config=config, history=history)
    layout.image("library/big:latest", [tar([member("big", os.urandom(BIG_BYTES))])])
    with serving(OCILayout(layout.directory)) as url:
        yield url


def _onggi(directory: Path, shop: str) -> Onggi:
    config = directory / "daemon.json"
    config.write_text(json.dumps({"registry-mirrors": [shop], "labels": ["where=here"]}))
    return Onggi(directory / "root", config)


@pytest.fixture
def empty(tmp_path: Path, shop: str) -> Onggi:
    """A program on a root with nothing in it."""
    return _onggi(tmp_path, shop)


@pytest.fixture
def full(empty: Onggi) -> Onggi:
    """A root of one's own with web:v1 and web:v2."""
    empty.run("pull", "-q", "-a", "web")
    return empty


@pytest.fixture(scope="session")
def web(tmp_path_factory, shop: str) -> Onggi:
    """The same, shared by tests that only look."""
    onggi = _onggi(tmp_path_factory.mktemp("web"), shop)
    onggi.run("pull", "-q", "-a", "web")
    return onggi


@pytest.fixture(scope="session", params=["overlay2", "erofs"])
def insides(request, tmp_path_factory) -> Iterator[Onggi]:
    """A root with library/odd (two layers with everything) and library/wide (one with many files).

    Each driver has one: what looks into layers says the same of both.
    """
    directory = tmp_path_factory.mktemp("insides")
    layout = Layout(directory / "layout")
    layout.image("library/odd:latest", odd_layers())
    many = [member(f"many/file{n:05d}", b"") for n in range(8_000)]
    layout.image("library/wide:latest", [tar([*many, member("big", bytes(30_000_000))])])
    with serving(OCILayout(layout.directory)) as url:
        config = directory / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [url], "storage-driver": request.param}))
        made = Onggi(directory / "root", config)
        made.run("pull", "-q", "odd")
        made.run("pull", "-q", "wide")
        yield made
