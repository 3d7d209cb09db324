"""A data root with three images, pulled once and copied for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import onggi
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.crash.child import open_engine
from tests.peers.images import Layout, member, tar

BIG_BYTES = 500_000


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory) -> Iterator[str]:
    """URL of a registry with web:v1 and web:v2 on one base, and big:latest."""
    layout = Layout(tmp_path_factory.mktemp("small-shop") / "layout")
    base = tar([member("b", b"x" * 5000), member("etc/", None)])
    first, second = (tar([member(name, b"x" * size)]) for name, size in (("f", 22), ("s", 7)))
    layout.image("library/web:v1", [base, first], config={"Labels": {"keep": "no"}})
    layout.image("library/web:v2", [base, second])
    layout.image("library/big:latest", [tar([member("big", os.urandom(BIG_BYTES))])])
    with serving(OCILayout(layout.directory)) as url:
        yield url


@pytest.fixture(scope="session")
def _filled(tmp_path_factory, small_shop: str) -> Path:
    root = tmp_path_factory.mktemp("filled-root") / "root"
    with open_engine(root, small_shop) as engine:
        for name in ("web:v1", "web:v2", "big"):
            engine.images.pull(name)
        engine.gc()  # lock files of blobs
    return root


@pytest.fixture
def root(tmp_path: Path, _filled: Path) -> Iterator[Path]:
    """A data root of one's own with all three."""
    path = tmp_path / "root"
    subprocess.run(["cp", "-a", _filled, path], check=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def engine(root: Path, small_shop: str) -> Iterator[onggi.Engine]:
    with open_engine(root, small_shop) as opened:
        yield opened
