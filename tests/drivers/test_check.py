"""A worker's check without the worker: what it reads, and what it says of what it cannot read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from onggi.archive.tar import TarReader
from onggi.archive.tarsplit import TarSplitWriter, gzip_writer
from onggi.drivers.check import check
from onggi.oci.digest import DiffID
from onggi.tree.apply import apply_layer
from tests.archive.tar_blocks import END, member


def unpacked(directory: Path, data: bytes) -> dict[str, object]:
    """A request for the ``content`` of a layer made of an archive."""
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


def test_every_byte_is_read(tmp_path: Path) -> None:
    sizes = (0, 1, 511, 262_143, 262_144, 1_048_575, 1_048_576, 1_048_577, 3_000_000)
    data = b"".join(member(b"f%d" % size, os.urandom(size)) for size in sizes) + END
    request = unpacked(tmp_path, data)
    before = rchar()
    result = check(request, lambda packet: 1 // 0)
    assert rchar() - before >= sum(sizes)
    assert result == {"flaws": [], "file": "", "diff_id": DiffID.of(data), "bytes": len(data)}


def test_a_large_segment(tmp_path: Path) -> None:
    """What follows the end of an archive is part of it, megabytes of it too."""
    data = member(b"f", b"1") + END + os.urandom(2_500_000)
    result = check(unpacked(tmp_path, data), lambda packet: 1 // 0)
    assert result["diff_id"] == DiffID.of(data)


def test_lengths_around_the_buffer(tmp_path: Path) -> None:
    """One byte more or less is told, wherever in the buffer the file ends."""
    data = b"".join(member(b"f%d" % n, os.urandom(350_000)) for n in range(8)) + END
    request = unpacked(tmp_path, data)
    for number in range(8):
        path = tmp_path / "diff" / f"f{number}"
        good = path.read_bytes()
        for bad in (good + b"x", good[:-1], good[:-1] + bytes([good[-1] ^ 1])):
            packets: list[bytes] = []
            path.write_bytes(bad)
            check(request, lambda packet, into=packets: into.append(packet) or 1)
            assert len(packets) == 1 and f"f{number}".encode().hex().encode() in packets[0]
        path.write_bytes(good)
    assert check(request, lambda packet: 1 // 0)["diff_id"] == DiffID.of(data)


def test_headers_and_sizes_of_tar_split_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contents are passed over where the tree is compared, and their lengths counted all the same."""
    monkeypatch.chdir(tmp_path)  # a comparison moves about
    data = member(b"a", b"x" * 3000) + member(b"b", b"y" * 700) + END
    request = {**unpacked(tmp_path, data), "part": "tree"}
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
        ((file, text, mendable),) = check(request, lambda packet: 1 // 0)["flaws"]
        assert file == "layerdb/tar-split.json.gz" and reason in text and not mendable
