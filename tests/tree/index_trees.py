"""Layers as trees: opened as a tar with an index, and everything that a tree tells."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from onggi.archive.erofs.writer import write_index
from onggi.archive.tar import TarReader
from onggi.tree.expected import ExpectedTree
from onggi.tree.index_layer import IndexLayer
from onggi.tree.layer_tree import LayerTree
from tests.tree.trees import NOW, Entry

__all__ = ["indexed", "told"]

_UUID = bytes(range(16))


def indexed(directory: Path, data: bytes) -> IndexLayer:
    """The archive kept in ``directory`` with its index. Raises what indexing raises."""
    tree = ExpectedTree()
    reader = TarReader([data])
    for member in reader:
        tree.add(member, reader.offset)
    tree.finish()
    image = write_index(tree.root, data_bytes=len(data), block_bits=9, uuid=_UUID)
    directory.mkdir(exist_ok=True)
    (directory / "layer.erofs").write_bytes(image)
    (directory / "layer.tar").write_bytes(data)
    return IndexLayer(directory / "layer.erofs", directory / "layer.tar")


def told(tree: LayerTree) -> dict[bytes, tuple[Entry, bool]]:
    """Every name by its path: what it is and whether it is opaque. The times of unpacking do not count."""
    found = {}
    pending = [(b"", b"")]
    while pending:
        directory, name = pending.pop()
        path = directory + b"/" + name if directory else name
        status = tree.lstat(directory, name)
        found[path] = _entry(tree, directory, name, status)
        if stat.S_ISDIR(status.st_mode):
            below = dict(tree.scan(path))
            for child, seen in below.items():
                assert _facts(seen) == _facts(tree.lstat(path, child))
            pending += [(path, child) for child in below]
    return found


def _facts(status: os.stat_result) -> tuple[object, ...]:
    return status.st_mode, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_rdev


def _entry(tree: LayerTree, directory: bytes, name: bytes, status: os.stat_result) -> tuple[Entry, bool]:
    is_directory = stat.S_ISDIR(status.st_mode)
    content = b""
    if stat.S_ISREG(status.st_mode):
        with tree.open(directory, name) as file:
            content = file.readall()
    entry = Entry(
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        0 if is_directory else status.st_size,
        0 if is_directory else status.st_nlink,
        status.st_rdev,
        tree.readlink(directory, name) if stat.S_ISLNK(status.st_mode) else b"",
        tree.xattrs(directory, name),
        content,
    )
    return entry, is_directory and tree.is_opaque(directory, name)


def without_own_times(
    found: dict[bytes, tuple[Entry, bool]], other: dict[bytes, tuple[Entry, bool]]
) -> dict[bytes, tuple[Entry, bool]]:
    """``found`` without times that neither the archive nor the other tree has: of implied directories."""
    return {
        path: (
            entry._replace(mtime_ns=NOW) if path not in other or not other[path][0].mtime_ns else entry,
            opaque,
        )
        for path, (entry, opaque) in found.items()
    }
