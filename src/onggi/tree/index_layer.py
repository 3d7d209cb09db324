"""A layer that is a tar and an index of it, read as a tree: no mount, no root, nothing trusted.

The index tells names, owners, modes, times and where contents lie; the tar is opened when the
first content is asked for. What somebody changed in the index is refused: numbers and positions by
:class:`~onggi.archive.erofs.reader.Index`, and here that every directory has one place, so that
walking the tree comes to an end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from onggi.archive.erofs.format import InvalidIndex
from onggi.archive.erofs.reader import Index, IndexNode
from onggi.errors import DataLoss
from onggi.tree.layer_file import LayerFile
from onggi.tree.layer_tree import require_regular
from onggi.tree.whiteout import OPAQUE_XATTR, belongs_to_overlay

__all__ = ["ContentsGone", "IndexLayer"]

# Directories whose inodes are remembered by their paths.
_KEPT_DIRECTORIES = 256
_SECOND_NS = 1_000_000_000
_READ = os.O_RDONLY | os.O_CLOEXEC


class ContentsGone(DataLoss):
    """The index is there, what it is an index of is not."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            f"read {os.fspath(path)}: the layer's contents are gone", hint="'onggi repair' gets them anew"
        )


class IndexLayer:
    """A :class:`~onggi.tree.layer_tree.LayerTree` of an index and the file with the contents.

    ``data`` is the path of the layer's tar (or of repacked contents). Raises OSError, InvalidIndex.
    """

    def __init__(self, index: str | os.PathLike[str], data: str | os.PathLike[str]) -> None:
        self._name = os.fspath(index)
        with open(index, "rb", buffering=0) as file:
            self._index = Index(file.readall(), self._name)
        self._data = data
        # Apart from any real device, and the same for nobody else: the uuid is the layer's own.
        self._device = int.from_bytes(self._index.uuid[:7], "big") << 8 | 0xFF
        self._known: dict[bytes, IndexNode] = {b"": self._index.root}

    def scan(self, directory: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """See LayerTree. Sorted."""
        seen: set[int] = set()
        for name, node in self._index.entries(self._directory(directory)):
            if node.type == stat.S_IFDIR:
                if node.number in seen:
                    raise InvalidIndex("a directory has two names", self._name)
                seen.add(node.number)
            yield name, self._status(node)

    def lstat(self, directory: bytes, name: bytes) -> os.stat_result | None:
        """See LayerTree."""
        node = self._child(directory, name)
        return None if node is None else self._status(node)

    def is_opaque(self, directory: bytes, name: bytes) -> bool:
        """See LayerTree."""
        return self._index.xattrs(self._node(directory, name)).get(OPAQUE_XATTR) == b"y"

    def open(self, directory: bytes, name: bytes) -> LayerFile:
        """See LayerTree."""
        path = directory + b"/" + name if directory else name
        node = self._node(directory, name)
        require_regular(path, self._status(node))
        fragments = self._index.fragments(node)
        try:
            fd = os.open(self._data, _READ)
        except FileNotFoundError:
            raise ContentsGone(self._data) from None
        return LayerFile(fd, node.size, fragments, path)

    def readlink(self, directory: bytes, name: bytes) -> bytes:
        """See LayerTree."""
        node = self._node(directory, name)
        if node.type != stat.S_IFLNK:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        return self._index.target(node)

    def xattrs(self, directory: bytes, name: bytes) -> dict[str, bytes]:
        """See LayerTree. All of them, for every user."""
        found = self._index.xattrs(self._node(directory, name))
        return {os.fsdecode(key): value for key, value in found.items() if not belongs_to_overlay(key)}

    def close(self) -> None:
        """See LayerTree."""
        self._known.clear()

    # --- nodes ----------------------------------------------------------------------------

    def _node(self, directory: bytes, name: bytes) -> IndexNode:
        node = self._child(directory, name)
        if node is None:
            path = directory + b"/" + name if directory else name
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node

    def _child(self, directory: bytes, name: bytes) -> IndexNode | None:
        node = self._directory(directory)
        return self._index.child(node, name) if name else node

    def _directory(self, path: bytes) -> IndexNode:
        """The inode of a directory; those on the way are remembered too."""
        node = self._known.get(path)
        if node is not None:
            return node
        known = path
        while known not in self._known:
            known = known.rpartition(b"/")[0]
        node = self._known[known]
        for name in path[len(known) :].strip(b"/").split(b"/"):
            known = known + b"/" + name if known else name
            node = self._step(node, name, known)
            self._remember(known, node)
        return node

    def _step(self, parent: IndexNode, name: bytes, path: bytes) -> IndexNode:
        node = self._index.child(parent, name)
        if node is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if node.type != stat.S_IFDIR:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        above = self._index.child(node, b"..")
        if above is None or above.number != parent.number:
            raise InvalidIndex("a directory does not lead back to the one it is in", self._name)
        return node

    def _remember(self, path: bytes, node: IndexNode) -> None:
        if len(self._known) > _KEPT_DIRECTORIES:
            self._known = {b"": self._known[b""]}
        self._known[path] = node

    def _status(self, node: IndexNode) -> os.stat_result:
        """``lstat``'s answer. There is one time, and blocks are counted as if nothing were a hole."""
        device = node.device if node.type in (stat.S_IFCHR, stat.S_IFBLK) else 0
        ns = node.mtime_ns
        seconds = ns // _SECOND_NS
        return os.stat_result(
            (
                node.type | node.mode,
                node.number,
                self._device,
                node.links,
                node.uid,
                node.gid,
                node.size,
                seconds,
                seconds,
                seconds,
            ),
            {
                "st_atime": ns / _SECOND_NS,
                "st_mtime": ns / _SECOND_NS,
                "st_ctime": ns / _SECOND_NS,
                "st_atime_ns": ns,
                "st_mtime_ns": ns,
                "st_ctime_ns": ns,
                "st_rdev": device,
                "st_blksize": 4096,
                "st_blocks": -(-node.size // 512),
            },
        )
