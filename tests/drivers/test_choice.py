"""Which driver a data root gets, and that it never changes by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onggi.drivers.choice import AUTO, choose, open_driver
from onggi.errors import InvalidArgument
from onggi.linux.mount_calls import mount, unmount
from onggi.store.dataroot import DriverMismatch
from onggi.store.layout import Layout


def fill(root: Path, driver: str) -> None:
    images = Layout(root, driver).imagedb / "content" / "sha256"
    images.mkdir(parents=True)
    (images / ("0" * 64)).write_bytes(b"{}")


@pytest.fixture
def memory(tmp_path):
    mount("none", tmp_path, "tmpfs")
    yield tmp_path
    unmount(tmp_path)


@pytest.mark.parametrize("wanted", ["", AUTO])
@pytest.mark.parametrize("driver", ["overlay2", "erofs"])
def test_a_filled_root_keeps_its_driver(tmp_path, driver, wanted):
    fill(tmp_path, driver)
    assert choose(tmp_path, wanted).name == driver
    assert choose(tmp_path, driver).reason == "as configured"
    other = {"overlay2": "erofs", "erofs": "overlay2"}[driver]
    with pytest.raises(DriverMismatch, match=f"images of storage driver {driver}"):
        choose(tmp_path, other)


def test_an_emptied_root_keeps_it_until_told(tmp_path):
    (tmp_path / "image/erofs").mkdir(parents=True)
    assert choose(tmp_path, "").name == "erofs"
    assert choose(tmp_path, "overlay2").name == "overlay2"


def test_a_new_root(tmp_path):
    assert choose(tmp_path / "new", "").name == "overlay2"
    assert choose(tmp_path / "new", AUTO).name == "erofs"
    assert os.listdir(tmp_path) == []


def test_the_best_where_erofs_cannot_be_mounted(memory):
    chosen = choose(memory / "new", AUTO)
    assert chosen.name == "overlay2"
    assert "a file on tmpfs" in chosen.reason


def test_the_best_where_nothing_can_be_mounted(memory):
    """overlay2 layers are not kept on overlayfs; images can be, and copied from."""
    for name in ("below", "upper", "work", "root"):
        (memory / name).mkdir()
    options = f"lowerdir={memory}/below,upperdir={memory}/upper,workdir={memory}/work"
    mount("none", memory / "root", "overlay", options=options)
    try:
        chosen = choose(memory / "root/new", AUTO)
    finally:
        unmount(memory / "root")
    assert chosen.name == "erofs"
    assert "a file on overlayfs" in chosen.reason


def test_without_root(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert choose(tmp_path, "").name == choose(tmp_path, AUTO).name == "erofs"


def test_unknown_drivers(tmp_path):
    with pytest.raises(InvalidArgument, match="'zfs' is not supported") as caught:
        choose(tmp_path, "zfs")
    assert caught.value.hint == "supported here: overlay2, erofs, auto"
    fill(tmp_path, "btrfs")
    for wanted in ("", AUTO, "erofs"):
        with pytest.raises(DriverMismatch, match="btrfs"):
            choose(tmp_path, wanted)


@pytest.mark.parametrize("driver", ["overlay2", "erofs"])
def test_it_is_opened(tmp_path, driver):
    assert open_driver(Layout(tmp_path, driver), tmp_path).name == driver
