"""Layers that are a tar and an index: one change of each class, by name; what follows from the tar is made anew."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.layers.mend import mend_layer
from onggi.layers.verify import Believed, check_layers
from onggi.linux.mount import unmount
from onggi.oci.digest import DiffID
from tests.drivers.test_contract import Rig
from tests.layers.test_verify import SAMPLE, archive, found, info
from tests.tree.cases import CASES

TAR, INDEX, SUMS = "layer.tar", "layer.erofs", "layer.sums"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("prove") / "root", "erofs")
    yield made
    made.workers.close()


class Layer:
    """A layer of one's own, and its files to be changed."""

    def __init__(self, rig: Rig, data: bytes) -> None:
        self.rig = rig
        self.data = data
        self.record = rig.store.commit([rig.unpack(data)])[0]
        self.directory = rig.driver.path(self.record.cache_id)
        self.wanted = Believed(self.record.chain_id, self.record.diff_id, self.record.parent, True)

    def check(self, **settings):
        return next(iter(check_layers(self.rig.store, self.rig.workers, [self.wanted], **settings)))

    def mend(self) -> list[str]:
        return mend_layer(self.rig.store, self.rig.workers, self.wanted, self.check(), CancelToken())

    def write(self, at: int, data: bytes) -> None:
        with open(self.directory / TAR, "r+b") as file:
            file.seek(at)
            file.write(data)

    def header(self, member: str, **fields) -> None:
        """Write a member's header anew, its checksum right again."""
        with tarfile.open(fileobj=io.BytesIO(self.data)) as file:
            made = file.getmember(member)
        at = made.offset_data - 512
        made.pax_headers = {}
        for field, value in fields.items():
            setattr(made, field, value)
        block = made.tobuf(tarfile.USTAR_FORMAT)
        self.write(at, block[:512])

    def at(self, name: str) -> int:
        with tarfile.open(fileobj=io.BytesIO(self.data)) as file:
            return file.getmember(name).offset_data


@pytest.fixture
def layer(rig, request) -> Layer:
    return Layer(rig, archive(*SAMPLE, info("salt", request.node.name.encode())))


def files(check) -> list[str]:
    return [flaw.file for flaw in check.flaws]


CHANGES = {
    "content": (lambda it: it.write(it.at("etc/passwd") + 3, b"!"), {("etc/passwd", "content")}),
    "content of a large file": (
        lambda it: it.write(it.at("bin/sh") + 1_500_000, b"!"),
        {("bin/sh", "content")},
    ),
    "mode": (lambda it: it.header("bin/su", mode=0o755), {("bin/su", "mode")}),
    "mode of a directory": (lambda it: it.header("etc", mode=0o777), {("etc", "mode")}),
    "owner": (lambda it: it.header("etc/empty", uid=7), {("etc/empty", "owner")}),
    "owner of a whiteout": (lambda it: it.header("etc/.wh.gone", uid=7), {("etc/gone", "owner")}),
    "mtime": (lambda it: it.header("salt", mtime=7), {("salt", "mtime")}),
    "xattr": (
        lambda it: it.write(it.data.index(b"as it was"), b"as it is!"),
        {("data", "xattr user.note")},
    ),
    "link target": (lambda it: it.header("lib", linkname="usr/evil"), {("lib", "link target")}),
    "type": (
        lambda it: it.header("etc/empty", type=tarfile.FIFOTYPE),
        {("etc/empty", "type")},
    ),
    "device": (lambda it: it.header("dev/null", devminor=5), {("dev/null", "device")}),
    "a whiteout became a file": (
        lambda it: it.header("etc/.wh.gone", name="etc/gone"),
        {("etc/gone", "whiteout")},
    ),
    "a file became a whiteout": (
        lambda it: it.header("etc/empty", name="etc/.wh.shadow"),
        {("etc/shadow", "added"), ("etc/empty", "missing")},
    ),
    "opaque lost": (
        lambda it: it.header("opt/.wh..wh..opq", name="opt/none"),
        {("opt", "xattr trusted.overlay.opaque"), ("opt/none", "added")},
    ),
    "a hard link became a file": (
        lambda it: it.header("bin/ash", type=tarfile.REGTYPE),
        {("bin/ash", "content"), ("bin/ash", "hard link"), ("bin/sh", "hard link")},
    ),
    "renamed": (
        lambda it: it.header("etc/passwd", name="etc/passwd-"),
        {("etc/passwd-", "added"), ("etc/passwd", "missing")},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_named(layer, name):
    change, expected = CHANGES[name]
    assert layer.check().sound and layer.check(fast=True).sound
    change(layer)
    result = layer.check()
    assert found(result) >= expected
    assert {path for path, _ in found(result)} == {path for path, _ in expected}
    assert not result.mendable
    assert [flaw.file for flaw in layer.check(fast=True).flaws] == [f"erofs/{TAR}"]


@pytest.mark.parametrize("name", ["etc/passwd", "dev/null", "lib"])
def test_a_header_that_cannot_be_read_is_named(layer, name):
    layer.write(layer.at(name) - 512 + 150, b"?")
    result = layer.check()
    assert (name, "header") in found(result)
    assert "cannot be read" in result.flaws[0].reason and files(result) == [f"erofs/{TAR}"]


def test_a_tar_that_ends_early(layer):
    os.truncate(layer.directory / TAR, layer.at("bin/sh") + 1000)
    result = layer.check()
    assert ("bin/sh", "content") in found(result) and not result.mendable
    assert not layer.check(fast=True).sound


@pytest.mark.parametrize("at", [-1, 508], ids=["behind the end", "in a padding"])
def test_what_no_path_shows_is_told_by_the_diff_id(layer, at):
    layer.write((len(layer.data) if at < 0 else layer.at("etc/passwd")) + at, b"x")
    result = layer.check()
    assert files(result) == [f"erofs/{TAR}"] and not result.changes and not result.mendable
    assert layer.record.diff_id in result.flaws[0].reason


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DERIVED = {
    "index gone": (lambda base: (base / INDEX).unlink(), [f"erofs/{INDEX}"]),
    "index empty": (lambda base: (base / INDEX).write_bytes(b""), [f"erofs/{INDEX}"]),
    "superblock": (lambda base: flip(base / INDEX, 1100), [f"erofs/{INDEX}"]),
    "an inode": (lambda base: flip(base / INDEX, 1280 + 4), [f"erofs/{INDEX}"]),
    "a name": (
        lambda base: flip(base / INDEX, (base / INDEX).read_bytes().index(b"passwd")),
        [f"erofs/{INDEX}"],
    ),
    "sums gone": (lambda base: (base / SUMS).unlink(), [f"erofs/{SUMS}"]),
    "a sum": (lambda base: flip(base / SUMS, 40), [f"erofs/{SUMS}"]),
    "both": (
        lambda base: [(base / name).write_bytes(b"x" * 4096) for name in (INDEX, SUMS)],
        [f"erofs/{INDEX}", f"erofs/{SUMS}"],
    ),
}


@pytest.mark.parametrize("name", DERIVED)
def test_what_follows_from_the_tar_is_made_anew(layer, name):
    damage, expected = DERIVED[name]
    good = {each: (layer.directory / each).read_bytes() for each in (TAR, INDEX, SUMS)}
    inode = (layer.directory / TAR).stat().st_ino
    damage(layer.directory)
    result = layer.check()
    assert files(result) == expected and result.mendable
    assert layer.mend() == expected
    assert layer.check().sound and layer.check(fast=True).sound
    assert {each: (layer.directory / each).read_bytes() for each in good} == good
    assert all((layer.directory / each).stat().st_mode & 0o777 == 0o400 for each in good)
    assert (layer.directory / TAR).stat().st_ino == inode


def test_nothing_is_derived_from_a_wrong_tar(layer):
    (layer.directory / INDEX).write_bytes(b"")
    layer.write(layer.at("etc/passwd"), b"x")
    result = layer.check()
    assert not result.mendable and f"erofs/{INDEX}" in files(result)
    assert ("etc/passwd", "content") in found(result)
    assert layer.mend() == []
    assert (layer.directory / INDEX).read_bytes() == b""


def test_a_mount_lives_on_while_its_index_is_made_anew(layer, tmp_path):
    layer.rig.driver.mount(layer.record.cache_id, tmp_path)
    try:
        (layer.directory / INDEX).unlink()
        assert layer.mend() == [f"erofs/{INDEX}"]
        assert (tmp_path / "etc/passwd").read_bytes() == b"root:x:0:0\n"
    finally:
        unmount(tmp_path)


def test_size(layer):
    path = layer.rig.store.db.path(layer.record.chain_id) / "size"
    good = path.read_bytes()
    path.write_bytes(b"")
    assert layer.mend() == ["layerdb/size"]
    assert path.read_bytes() == good


def test_fast_sees_a_file_that_was_exchanged(layer):
    fresh = layer.directory / "new"
    fresh.write_bytes((layer.directory / TAR).read_bytes())
    os.rename(fresh, layer.directory / TAR)
    assert files(layer.check(fast=True)) == [f"erofs/{TAR}"]
    assert layer.check().sound


def test_fast_reads_no_contents(layer):
    assert layer.check(fast=True).size_bytes == 0
    assert layer.check().size_bytes == len(layer.data)


def test_a_layer_that_had_to_be_unpacked(rig):
    layer = Layer(rig, CASES["default ACL"])
    assert layer.check().sound and layer.check(fast=True).sound
    (layer.directory / "diff/d/f").write_bytes(b"else")
    assert ("d/f", "content") in found(layer.check())


def test_an_empty_archive(rig):
    layer = Layer(rig, b"")
    assert layer.check().sound and layer.check(fast=True).sound


@pytest.mark.parametrize("name", CASES)
def test_whatever_can_be_kept_is_clean(rig, name):
    data = CASES[name]
    try:
        layer = Layer(rig, data)
    except Exception:
        return  # refused, as by overlay2
    result = layer.check()
    assert result.sound, (result.flaws, result.changes)
    assert layer.record.diff_id == DiffID.of(data)
