"""Index an archive, look at the index with our reader and through the kernel."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.archive.erofs.reader import Index, IndexNode
from onggi.archive.erofs.writer import write_index
from onggi.archive.tar import TarReader
from onggi.linux.mount_calls import (
    MOUNT_ATTR_RDONLY,
    fsconfig_create,
    fsconfig_string,
    fsmount,
    fsopen,
    move_mount,
    unmount,
)
from onggi.tree.expected import ExpectedTree
from tests.tree.trees import Entry

UUID = bytes(range(16))


def index_of(data: bytes) -> bytes:
    """The index of an archive in blocks of 512 bytes."""
    tree = ExpectedTree()
    reader = TarReader([data])
    for member in reader:
        tree.add(member, reader.offset)
    tree.finish()
    return bytes(write_index(tree.root, data_bytes=len(data), block_bits=9, uuid=UUID))


def entry(index: Index, data: bytes, node: IndexNode) -> Entry:
    """What ``trees.look`` says of a file, from the index and the archive alone."""
    is_directory = node.type == stat.S_IFDIR
    content = bytearray(node.size if node.type == stat.S_IFREG else 0)
    if node.type == stat.S_IFREG:
        for offset, length, position in index.fragments(node):
            content[offset : offset + length] = data[position : position + length]
    return Entry(
        node.type | node.mode,
        node.uid,
        node.gid,
        node.mtime_ns,
        0 if is_directory else node.size,
        0 if is_directory else node.links,
        node.device if node.type in (stat.S_IFCHR, stat.S_IFBLK) else 0,
        index.target(node) if node.type == stat.S_IFLNK else b"",
        {os.fsdecode(name): value for name, value in index.xattrs(node).items()},
        bytes(content),
    )


def read_all(image: bytes, data: bytes) -> dict[bytes, Entry]:
    """Every entry by path; the root is the empty path."""
    index = Index(image)
    found = {path: entry(index, data, node) for path, node in index.walk()}
    return {b"": entry(index, data, index.root), **found}


@contextmanager
def mounted(directory: Path, image: bytes, data: bytes) -> Iterator[Path]:
    """The index on a mount point, its data in the archive beside it."""
    (directory / "index").write_bytes(image)
    (directory / "layer.tar").write_bytes(data)
    point = directory / "mounted"
    point.mkdir()
    config = fsopen("erofs")
    try:
        fsconfig_string(config, "source", directory / "index")
        if data:
            fsconfig_string(config, "device", directory / "layer.tar")
        fsconfig_create(config)
        mount = fsmount(config, MOUNT_ATTR_RDONLY)
    finally:
        os.close(config)
    move_mount(mount, point)
    os.close(mount)
    try:
        yield point
    finally:
        unmount(point)
