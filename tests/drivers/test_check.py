"""A worker's check without the worker: what it reads, and what it says of what it cannot read."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import pytest

from onggi.archive.tar import TarReader
from onggi.archive.tarsplit_writer import TarSplitWriter, gzip_writer
from onggi.drivers.check import check
from onggi.oci.digest import DiffID
from onggi.tree.apply import apply_layer
from tests.archive.tar_blocks import END, directory, member, symlink


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison moves about."""
    monkeypatch.chdir(tmp_path)


def unpacked(directory: Path, data: bytes) -> dict[str, object]:
    """A request for the check of a layer made of an archive."""
    (directory / "diff").mkdir()
    root = os.open(directory / "diff", os.O_RDONLY)
    split = os.open(directory / "split", os.O_WRONLY | os.O_CREAT)
    with gzip_writer(split) as out:
        apply_layer(TarReader([data], observer=TarSplitWriter(out)), root)
    os.close(split)
    os.close(root)
    paths = {"diff": str(directory / "diff"), "split": str(directory / "split")}
    return {"part": "content", "unpacked_ns": None, **paths}


def rchar() -> int:
    """Bytes that this process has read by any call."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


CORE_FREE = pytest.mark.parametrize("core_free", [False, True])


@CORE_FREE
def test_every_byte_is_read(tmp_path: Path, core_free: bool) -> None:
    sizes = (0, 1, 511, 262_143, 262_144, 524_287, 524_288, 524_289, 1_048_576, 3_000_000)
    data = b"".join(member(b"f%d" % size, os.urandom(size)) for size in sizes) + END
    request = unpacked(tmp_path, data)
    before = rchar()
    result = check(request, lambda packet: 1 // 0, lambda: core_free)
    assert rchar() - before >= sum(sizes)
    assert result == {
        "flaws": [],
        "file": "",
        "diff_id": DiffID.of(data),
        "bytes": len(data),
        "size": sum(sizes),
        "header_size": sum(sizes),
        "shadowed": 0,
    }


@CORE_FREE
def test_a_large_segment(tmp_path: Path, core_free: bool) -> None:
    """What follows the end of an archive is part of it, megabytes of it too."""
    data = member(b"f", b"1") + END + os.urandom(2_500_000)
    result = check(unpacked(tmp_path, data), lambda packet: 1 // 0, lambda: core_free)
    assert result["diff_id"] == DiffID.of(data)


def test_a_core_that_becomes_free_on_the_way(tmp_path: Path) -> None:
    """The thread that hashes from then on goes on where the others are; nobody is asked again."""
    data = b"".join(member(b"f%d" % number, os.urandom(300_000)) for number in range(20)) + END
    request = unpacked(tmp_path, data)
    asked: list[bool] = []

    def is_core_free() -> bool:
        asked.append(len(asked) == 4)
        return asked[-1]

    assert check(request, lambda packet: 1 // 0, is_core_free)["diff_id"] == DiffID.of(data)
    assert asked == [False, False, False, False, True]


def test_lengths_around_the_pieces(tmp_path: Path) -> None:
    """One byte more, less or another is told, wherever a file ends in the pieces that it is read in."""
    sizes = (1, 523_775, 524_287, 524_288, 524_289, 1_048_576)
    data = b"".join(member(b"f%d" % size, os.urandom(size)) for size in sizes) + END
    request = unpacked(tmp_path, data)
    for size in sizes:
        path = tmp_path / "diff" / f"f{size}"
        good = path.read_bytes()
        for bad in (good + b"x", good[:-1], good[:-1] + bytes([good[-1] ^ 1])):
            packets: list[bytes] = []
            rewrite(path, bad)
            check(request, lambda packet, into=packets: into.append(packet) or 1)
            ((name, what, *_), *more) = [change for packet in packets for change in json.loads(packet[1:])]
            assert (bytes.fromhex(name), what) == (path.name.encode(), "content")
            assert [change[:2] for change in more] == [[name, what]] * (len(bad) != len(good))
        rewrite(path, good)
    assert check(request, lambda packet: 1 // 0)["diff_id"] == DiffID.of(data)


def rewrite(path: Path, data: bytes) -> None:
    """Change a file's content and nothing else."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_link_that_gave_its_file_a_mode_and_is_no_more(tmp_path: Path) -> None:
    """What was seen of a file while it was open holds until another header speaks of it."""
    link = member(b"d/g", kind=b"1", linkname=b"f", mode=0o600)
    data = member(b"f", b"1") + directory(b"d") + symlink(b"e", b"d") + link + member(b"e/g", b"2") + END
    request = unpacked(tmp_path, data)
    assert check(request, lambda packet: 1 // 0)["diff_id"] == DiffID.of(data)
    (tmp_path / "diff/f").chmod(0o644)
    packets: list[bytes] = []
    check(request, lambda packet: packets.append(packet) or 1)
    assert json.loads(packets[0][1:]) == [[b"f".hex(), "mode", "0600", "0644"]]


@pytest.mark.parametrize("fast", [False, True])
def test_headers_and_sizes_of_tar_split_belong_together(tmp_path: Path, fast: bool) -> None:
    """Contents are passed over where the tree is compared, and their lengths counted all the same."""
    data = member(b"a", b"x" * 3000) + member(b"b", b"y" * 700) + END
    request = unpacked(tmp_path, data)
    if fast:
        request |= {"part": "tree", "unpacked_ns": time.time_ns() + 10**9}
    split = tmp_path / "split"
    lines = gzip.decompress(split.read_bytes()).splitlines(keepends=True)
    assert check(request, lambda packet: 1 // 0)["flaws"] == []
    (number,) = (n for n, line in enumerate(lines) if b'"name":"a"' in line)
    changed = {
        "its header tells of another size": lines[number].replace(b'"size":3000', b'"size":3001'),
        "1 bytes of content are missing": lines[number].replace(b'"size":3000', b'"size":2999'),
        "3000 bytes of content are missing": b"",
    }
    for reason, line in changed.items():
        split.write_bytes(gzip.compress(b"".join([*lines[:number], line, *lines[number + 1 :]])))
        ((file, text, mendable),) = check(request, len)["flaws"]
        assert file == "layerdb/tar-split.json.gz" and reason in text and not mendable
