"""Layers with their contents on blocks of 4 KiB: the changes of test_prove.py, and those only they can have."""

from __future__ import annotations

import gzip
import json
import os
from binascii import a2b_base64, b2a_base64

import pytest

from onggi.archive.tarsplit import FileEntry, read_gzip
from onggi.drivers.aligned import placed
from onggi.linux.mount import unmount
from onggi.oci.digest import DiffID
from tests.drivers.test_contract import Rig
from tests.drivers.test_prove import CHANGES, Layer, files, flip
from tests.layers.test_verify import SAMPLE, archive, found, info
from tests.tree.cases import CASES

DATA, INDEX, SPLIT = "layer.data", "layer.erofs", "tar-split.json.gz"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("prove") / "root", "erofs 4096")
    yield made
    made.workers.close()


class AlignedLayer(Layer):
    """Its archive is written to where each byte of it is kept."""

    def write(self, at: int, data: bytes) -> None:
        lines = gzip.decompress((self.directory / SPLIT).read_bytes()).splitlines(keepends=True)
        offset = 0
        with read_gzip(self.directory / SPLIT) as entries:
            for number, (entry, position) in enumerate(placed(entries)):
                size = entry.size if isinstance(entry, FileEntry) else len(entry.payload)
                if offset <= at < offset + size:
                    if isinstance(entry, FileEntry):
                        self.pwrite(position + at - offset, data)
                    else:
                        lines[number] = segment(lines[number], at - offset, data)
                    break
                offset += size
        self.split(b"".join(lines))

    def pwrite(self, at: int, data: bytes) -> None:
        with open(self.directory / DATA, "r+b") as file:
            file.seek(at)
            file.write(data)

    def split(self, lines: bytes) -> None:
        (self.directory / SPLIT).write_bytes(gzip.compress(lines))


def segment(line: bytes, at: int, data: bytes) -> bytes:
    entry = json.loads(line)
    payload = bytearray(a2b_base64(entry["payload"]))
    payload[at : at + len(data)] = data
    entry["payload"] = b2a_base64(bytes(payload), newline=False).decode()
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def layer(rig, request) -> AlignedLayer:
    return AlignedLayer(rig, archive(*SAMPLE, info("salt", request.node.name.encode())))


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_named(layer, name):
    change, expected = CHANGES[name]
    assert layer.check().sound and layer.check(fast=True).sound
    change(layer)
    result = layer.check()
    assert found(result) >= expected
    assert {path for path, _ in found(result)} == {path for path, _ in expected}
    assert not result.mendable
    assert not layer.check(fast=True).sound


@pytest.mark.parametrize("name", ["etc/passwd", "dev/null", "lib"])
def test_a_header_that_cannot_be_read_is_named(layer, name):
    layer.write(layer.at(name) - 512 + 150, b"?")
    result = layer.check()
    assert (name, "header") in found(result)
    assert "cannot be read" in result.flaws[0].reason and files(result) == [f"erofs/{SPLIT}"]


def test_contents_that_end_early(layer):
    os.truncate(layer.directory / DATA, 5000)
    result = layer.check()
    assert ("bin/sh", "content") in found(result) and not result.mendable
    assert not layer.check(fast=True).sound


def test_contents_that_go_on(layer):
    with open(layer.directory / DATA, "ab") as file:
        file.write(b"x" * 4096)
    result = layer.check()
    assert files(result) == [f"erofs/{DATA}"] and not result.mendable
    assert "its contents end at" in result.flaws[0].reason


def test_what_lies_between_contents_is_named(layer):
    """No digest covers it, and a program that maps the file sees it."""
    layer.pwrite(100, b"x")
    assert found(layer.check()) == {("etc/passwd", "padding")} and not layer.check().mendable


@pytest.mark.parametrize("at", [-1, 508], ids=["behind the end", "in a padding"])
def test_what_no_path_shows_is_told_by_the_diff_id(layer, at):
    layer.write(len(layer.data) - 1 if at < 0 else layer.at("etc/passwd") + at, b"x")
    result = layer.check()
    assert files(result) == [f"erofs/{DATA}"] and not result.changes and not result.mendable
    assert layer.record.diff_id in result.flaws[0].reason


@pytest.mark.parametrize("change", ["cut", "no gzip", "empty", "no line", "gone"])
def test_a_tar_split_that_cannot_be_read(layer, change):
    path = layer.directory / SPLIT
    data = path.read_bytes()
    if change == "gone":
        path.unlink()
    elif change == "no line":
        layer.split(b"?\n")
    else:
        path.write_bytes({"cut": data[:100], "no gzip": b"x" * 100, "empty": b""}[change])
    result = layer.check()
    assert f"erofs/{SPLIT}" in files(result) or result.changes
    assert not result.mendable and layer.mend() == []


def test_a_wrong_checksum_is_no_wrong_content(layer):
    lines = gzip.decompress((layer.directory / SPLIT).read_bytes())
    start = lines.index(b'"payload"', lines.index(b"etc/passwd"))
    layer.split(lines[: start + 11] + b"AAAAAAAAAAA=" + lines[start + 23 :])
    result = layer.check()
    assert files(result) == [f"erofs/{SPLIT}"] and not result.changes and not result.mendable


DERIVED = {
    "index gone": lambda base: (base / INDEX).unlink(),
    "index empty": lambda base: (base / INDEX).write_bytes(b""),
    "superblock": lambda base: flip(base / INDEX, 1100),
    "an inode": lambda base: flip(base / INDEX, 1280 + 4),
    "a name": lambda base: flip(base / INDEX, (base / INDEX).read_bytes().index(b"passwd")),
}


@pytest.mark.parametrize("name", DERIVED)
def test_what_follows_from_the_content_is_made_anew(layer, name):
    good = {each: (layer.directory / each).read_bytes() for each in (DATA, INDEX, SPLIT)}
    DERIVED[name](layer.directory)
    result = layer.check()
    assert files(result) == [f"erofs/{INDEX}"] and result.mendable
    assert layer.mend() == [f"erofs/{INDEX}"]
    assert layer.check().sound and layer.check(fast=True).sound
    assert {each: (layer.directory / each).read_bytes() for each in good} == good
    assert all((layer.directory / each).stat().st_mode & 0o777 == 0o400 for each in good)


def test_nothing_is_derived_from_wrong_contents(layer):
    (layer.directory / INDEX).write_bytes(b"")
    layer.write(layer.at("etc/passwd"), b"x")
    result = layer.check()
    assert not result.mendable and f"erofs/{INDEX}" in files(result)
    assert ("etc/passwd", "content") in found(result)
    assert layer.mend() == [] and (layer.directory / INDEX).read_bytes() == b""


def test_a_mount_lives_on_while_its_index_is_made_anew(layer, tmp_path):
    layer.rig.driver.mount(layer.record.cache_id, tmp_path)
    try:
        (layer.directory / INDEX).unlink()
        assert layer.mend() == [f"erofs/{INDEX}"]
        assert (tmp_path / "etc/passwd").read_bytes() == b"root:x:0:0\n"
    finally:
        unmount(tmp_path)


@pytest.mark.parametrize("name", [DATA, INDEX, SPLIT])
def test_fast_sees_a_file_that_was_exchanged(layer, name):
    fresh = layer.directory / "new"
    fresh.write_bytes((layer.directory / name).read_bytes())
    os.rename(fresh, layer.directory / name)
    assert not layer.check(fast=True).sound
    assert layer.check().sound


def test_fast_reads_no_contents(layer):
    assert layer.check(fast=True).size_bytes == 0
    assert layer.check().size_bytes == len(layer.data)


def test_contents_are_read_in_one_pass(layer):
    """Whatever changed: the second look that a tar needs to name its contents is not needed here."""
    layer.write(layer.at("etc/passwd"), b"x")
    result = layer.check()
    assert result.size_bytes == len(layer.data) and found(result) == {("etc/passwd", "content")}


@pytest.mark.parametrize("name", ["default ACL", *list(CASES)[:3]])
def test_whatever_can_be_kept_is_clean(rig, name):
    layer = AlignedLayer(rig, CASES[name])
    assert layer.check().sound and layer.record.diff_id == DiffID.of(CASES[name])
