"""Packing a directory: dockerd's bytes, and what a tree that changes meanwhile comes to."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onggi.tree.layer_tree import DirectoryLayer, KeptDirectories
from onggi.tree.pack import PackRules, pack

OLD = PackRules(type_bits=True, user=lambda number: b"root", group=lambda number: b"root", layer=True)
NEW = PackRules(layer=True)


@contextmanager
def opened(directory: Path) -> Iterator[DirectoryLayer]:
    kept = KeptDirectories()
    layer = DirectoryLayer(os.open(directory, os.O_RDONLY), kept)
    yield layer
    layer.close()
    kept.close()


def packed(directory: Path, rules: PackRules, top: bytes = b"", name: bytes = b"") -> bytes:
    with opened(directory) as layer:
        return b"".join(pack(layer, rules, top, name))


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR)


def run_step(root: Path) -> None:
    """docker-engine A.1: ``echo hello > /hello && rm /etc/group``."""
    (root / "etc").mkdir(mode=0o755)
    whiteout(root / "etc/group")
    (root / "hello").write_bytes(b"hello\n")
    for name in ("etc/group", "hello", "etc"):
        os.utime(root / name, (0o15301167172, 0o15301167172))


def copy_step(root: Path) -> None:
    """docker-engine A.2."""
    (root / "data").mkdir(mode=0o755)
    (root / "data/f.txt").write_bytes(b"data\n")
    os.utime(root / "data/f.txt", (0o15301167036, 0o15301167036))
    os.utime(root / "data", (0o15301167172, 0o15301167172))


@pytest.mark.parametrize(
    ("step", "rules", "diff_id"),
    [
        (run_step, OLD, "01c484450103b5b8b0bf7b30b0537f3e1c3698b996aacc9429a30fd4a3ecaf23"),
        (run_step, NEW, "9109091ecc95669fb98abace3097ffc87df693056d361cd95395f475e2bd307e"),
        (copy_step, OLD, "1f81be580c204eba117e9f931ed11a43b44daa60c678923ef192f72bdd996aeb"),
        (copy_step, NEW, "834af71d4c32bdf33eeb89212fd3a62c1b4c4aba48453f604f2758da26c2274a"),
    ],
)
def test_the_bytes_of_dockerd(tmp_path: Path, step, rules: PackRules, diff_id: str) -> None:
    umask = os.umask(0o022)
    step(tmp_path)
    os.umask(umask)
    assert hashlib.sha256(packed(tmp_path, rules)).hexdigest() == diff_id


def test_order_links_and_what_is_left_out(tmp_path: Path) -> None:
    for name in ("a", "a/b", "nd"):
        (tmp_path / name).mkdir()
    for name in ("a.txt", "a/b/c", "a-", "nd/first"):
        (tmp_path / name).write_bytes(name.encode())
    os.link(tmp_path / "a/b/c", tmp_path / "nd/again")
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
    found = members(packed(tmp_path, NEW))
    assert [member.name for member in found] == [
        *("a", "a/b", "a/b/c", "a-", "a.txt", "link", "nd", "nd/again", "nd/first", "null", "pipe"),
    ]
    by_name = {member.name: member for member in found}
    assert (by_name["nd/again"].type, by_name["nd/again"].linkname) == (tarfile.LNKTYPE, "a/b/c")
    assert by_name["link"].linkname == "/etc/passwd"
    assert (by_name["null"].devmajor, by_name["null"].devminor) == (1, 3)
    assert by_name["a.txt"].size == 5


def test_whiteouts_of_one_inode_keep_dockers_link_name(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    whiteout(tmp_path / "bin/cat")
    os.link(tmp_path / "bin/cat", tmp_path / "bin/ls")
    (tmp_path / "data").mkdir(mode=0o750)
    os.setxattr(tmp_path / "data", "trusted.overlay.opaque", b"y")
    found = [
        (member.name, member.type, member.mode, member.linkname, member.size)
        for member in members(packed(tmp_path, NEW))
        if not member.isdir()
    ]
    assert found == [
        ("bin/.wh.cat", b"0", 0o600, "", 0),
        ("bin/.wh.ls", b"0", 0o600, "bin/cat", 0),
        ("data/.wh..wh..opq", b"0", (tmp_path / "data").stat().st_mode & 0o777, "", 0),
    ]
    # Of a root file system they are what they look like.
    plain = {member.name: member.type for member in members(packed(tmp_path, PackRules()))}
    assert plain["bin/cat"] == tarfile.CHRTYPE
    assert "data/.wh..wh..opq" not in plain


def test_capabilities_without_their_namespace(tmp_path: Path) -> None:
    file = tmp_path / "ping"
    file.write_bytes(b"p")
    os.setxattr(file, "user.note", b"lost, as with Docker")
    os.setxattr(file, "security.capability", b"\x01\x00\x00\x03" + b"\x04" + bytes(15) + b"\x0a\x00\x00\x00")
    (member,) = members(packed(tmp_path, NEW))
    value = member.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape")
    assert value == b"\x01\x00\x00\x02" + b"\x04" + bytes(15)
    assert list(member.pax_headers) == ["SCHILY.xattr.security.capability"]


def test_a_name_for_the_top(tmp_path: Path) -> None:
    (tmp_path / "srv/site").mkdir(parents=True)
    (tmp_path / "srv/site/index").write_bytes(b"x")
    names = [member.name for member in members(packed(tmp_path, NEW, b"srv/site", b"www"))]
    assert names == ["www", "www/index"]
    assert [member.name for member in members(packed(tmp_path, NEW, b"srv/site/index", b"i"))] == ["i"]
    assert [member.name for member in members(packed(tmp_path, NEW, b"srv"))] == ["site", "site/index"]


def test_a_tree_that_changes_meanwhile(tmp_path: Path) -> None:
    """Gone: left out. Shorter: filled up. Longer: cut. The archive is whole."""
    big = 3 << 20
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode() * big)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/e").write_bytes(b"e")
    pieces = []
    with opened(tmp_path) as layer:
        for piece in pack(layer, NEW):
            pieces.append(piece)
            if len(pieces) == 2:
                os.truncate(tmp_path / "a", big // 2)
                (tmp_path / "b").unlink()
                (tmp_path / "d/e").unlink()
                (tmp_path / "d").rmdir()
                (tmp_path / "d").symlink_to("/etc")
                (tmp_path / "c").write_bytes(b"c" * (big + 7))
    data = b"".join(pieces)
    assert [(member.name, member.size) for member in members(data)] == [("a", big), ("c", big + 7), ("d", 0)]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        content = archive.extractfile("a").read()
        assert content.rstrip(b"\0").strip(b"a") == b""
    assert data.endswith(bytes(1024)) and len(data) % 512 == 0
    assert max(map(len, pieces)) <= 1 << 20
