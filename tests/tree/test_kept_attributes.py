"""What the model keeps of attributes, against the kernel's own word on ext4."""

from __future__ import annotations

import os
import random
import stat
import struct

import pytest

from onggi.tree import acl
from onggi.tree.kept_attributes import kept_value

_ALL = 2**32 - 1
_TAGS = (1, 2, 2, 4, 8, 0x10, 0x20)


def packed(*entries, version=2):
    return struct.pack("<I", version) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def some_acl(rng: random.Random) -> bytes:
    """Mostly sound, sometimes out of order, incomplete, or with bits nobody knows."""
    entries = [
        (
            tag,
            rng.choice((0, 4, 5, 7, 7, 8)) if rng.random() < 0.05 else rng.randrange(8),
            rng.choice((1, 7, _ALL)),
        )
        for tag in _TAGS
        if rng.random() < 0.8
    ]
    if rng.random() < 0.1:
        rng.shuffle(entries)
    return packed(*entries, version=rng.choice((2,) * 20 + (1,))) + b"x" * (rng.random() < 0.03)


@pytest.fixture
def objects(tmp_path):
    made = {stat.S_IFREG: tmp_path / "file", stat.S_IFDIR: tmp_path / "directory"}
    made |= {stat.S_IFLNK: tmp_path / "link", stat.S_IFIFO: tmp_path / "fifo"}
    made[stat.S_IFREG].write_bytes(b"")
    made[stat.S_IFDIR].mkdir()
    made[stat.S_IFLNK].symlink_to("nowhere")
    os.mkfifo(made[stat.S_IFIFO])
    return made


def by_kernel(path, name: bytes, value: bytes) -> bytes | int | None:
    """What stands there afterwards, an errno, or None for what unpacking leaves out."""
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as error:
        return None if error.errno in (1, 95) else error.errno
    try:
        found = os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return b""
    os.removexattr(path, name, follow_symlinks=False)
    return found


def by_us(file_type: int, name: bytes, value: bytes) -> bytes | int | None:
    try:
        return kept_value(file_type, name, value)
    except OSError as error:
        return error.errno


def capability(revision: int, size: int) -> bytes:
    return struct.pack("<I", revision) + bytes(size - 4)


NAMES = [
    (b"user.a", b"1"),
    (b"user.", b"1"),
    (b"user." + b"n" * 250, b"1"),
    (b"user." + b"n" * 251, b"1"),
    (b"trusted.a", b""),
    (b"trusted.", b"1"),
    (b"security.a", b"1"),
    (b"security.", b"1"),
    (b"security.capability", capability(0x02000001, 20)),
    (b"security.capability", capability(0x02000001, 24)),
    (b"security.capability", capability(0x01000001, 12)),
    (b"security.capability", capability(0x02000002, 20)),
    (b"security.capability", capability(0x02010001, 20)),
    (b"security.capability", capability(0x03000001, 20) + struct.pack("<I", 1000)),
    (b"security.capability", capability(0x03000001, 20) + struct.pack("<I", _ALL)),
    (b"security.capability", b"xx"),
    (b"system.nfs4_acl", b"1"),
    (b"foo", b"1"),
    (b"user.a", bytes(65537)),
]


@pytest.mark.parametrize("name, value", NAMES, ids=lambda value: value[:24].decode("latin-1"))
def test_names(objects, name, value):
    for file_type, path in objects.items():
        assert by_us(file_type, name, value) == by_kernel(path, name, value), stat.filemode(file_type)


@pytest.mark.parametrize("name", [acl.ACCESS, acl.DEFAULT])
def test_access_lists(objects, name):
    rng = random.Random(7)
    values = [b"", b"x", packed(), packed(version=3), *(some_acl(rng) for _ in range(400))]
    for value in values:
        for file_type in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO):
            if name == acl.DEFAULT and file_type != stat.S_IFDIR:
                continue
            found = by_kernel(objects[file_type], name, value)
            assert by_us(file_type, name, value) == found, value.hex()


def test_default_access_list_of_a_file(objects):
    value = packed((1, 7, _ALL), (4, 5, _ALL), (0x20, 5, _ALL))
    assert by_us(stat.S_IFREG, acl.DEFAULT, value) == by_kernel(objects[stat.S_IFREG], acl.DEFAULT, value)
    assert by_us(stat.S_IFLNK, acl.ACCESS, value) == by_kernel(objects[stat.S_IFLNK], acl.ACCESS, value)


def test_a_mode_rewrites_an_access_list(objects):
    rng = random.Random(8)
    for _ in range(200):
        value, mode = some_acl(rng), rng.randrange(0o1000)
        kept = by_us(stat.S_IFREG, acl.ACCESS, value)
        if not isinstance(kept, bytes) or not kept:
            continue
        os.setxattr(objects[stat.S_IFREG], acl.ACCESS, value)
        os.chmod(objects[stat.S_IFREG], mode)
        assert acl.with_mode(kept, mode) == os.getxattr(objects[stat.S_IFREG], acl.ACCESS)
