"""One layer as a tree of names, as ``merged``, ``waste`` and ``copy_out`` ask for it.

A layer is kept as a directory (:class:`DirectoryLayer`, here) or as a tar with an index
(:class:`~onggi.tree.index_layer.IndexLayer`). Either way whiteouts are character devices 0:0 and
a directory that hides those below it is *opaque*: the form that overlayfs reads.

Names are given as the directory they are in (a path below the layer's root without links; empty:
the root) and the last component. The root itself is the empty name in the empty directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from onggi.linux.openat2 import open_in_root, walk_in_root
from onggi.tree.layer_file import LayerFile
from onggi.tree.whiteout import OPAQUE_XATTR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["DirectoryLayer", "KeptDirectories", "LayerTree", "OpenLayers", "require_regular"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A fifo put where a file was must not make us wait for its writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Descriptors of directories kept open, of all layers together.
_KEPT_DIRECTORIES = 128
_OVERLAYS_OWN = ("trusted.overlay.", "user.overlay.")


class LayerTree(Protocol):
    """What can be asked of a layer. Two views that hold the same object share the layer.

    Every method raises OSError as the system call of its name (ENOENT, ENOTDIR, …), and DataLoss
    where what the layer is kept in is damaged.
    """

    def scan(self, directory: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """Names in a directory and what they are, links not followed, in any order."""

    def lstat(self, directory: bytes, name: bytes) -> os.stat_result | None:
        """What a name is, or None where there is none in a directory that exists.

        ``st_dev`` and ``st_ino`` together are the same for the names of one file, in all layers.
        """

    def is_opaque(self, directory: bytes, name: bytes) -> bool:
        """Whether a directory hides those of the same name in the layers below."""

    def open(self, directory: bytes, name: bytes) -> LayerFile:
        """A regular file's content; the caller closes it. EINVAL for what is no regular file."""

    def readlink(self, directory: bytes, name: bytes) -> bytes:
        """The target of a symbolic link, verbatim."""

    def xattrs(self, directory: bytes, name: bytes) -> dict[str, bytes]:
        """Extended attributes, overlayfs's own left out."""

    def close(self) -> None:
        """Give back what it holds; again is no error. Files opened from it stay open."""


def require_regular(name: bytes, status: os.stat_result) -> None:
    """Raise OSError EINVAL for what is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)


class KeptDirectories:
    """Descriptors of directories in several layers; the youngest stay open until :meth:`close`."""

    def __init__(self) -> None:
        self._open: dict[tuple[DirectoryLayer, bytes], int] = {}

    def get(self, layer: DirectoryLayer, path: bytes) -> int:
        """The directory at ``path``; stays ours, valid until the next call. Raises OSError as open(2)."""
        key = layer, path
        fd = self._open.pop(key, None)
        if fd is None:
            if len(self._open) >= _KEPT_DIRECTORIES:
                os.close(self._open.pop(next(iter(self._open))))
            fd = _open(layer.root_fd, path)
        self._open[key] = fd  # the youngest now
        return fd

    def close(self) -> None:
        """Close all."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()


def _open(root_fd: int, path: bytes) -> int:
    """Also where the path is longer than the kernel takes (4095 bytes)."""
    try:
        return open_in_root(root_fd, path, _OPEN_DIRECTORY)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return walk_in_root(root_fd, path, _OPEN_DIRECTORY)


class DirectoryLayer:
    """A layer whose files lie in a directory; ``root_fd`` is open there and becomes its own.

    ``kept`` is shared by the layers of a stack, so that hundreds of them do not use up the
    process's descriptors; whoever made it closes it after the layers.
    """

    def __init__(self, root_fd: int, kept: KeptDirectories) -> None:
        self.root_fd = root_fd
        self._kept = kept

    def scan(self, directory: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        """See LayerTree. In the directory's own order; what is removed meanwhile is left out."""
        with os.scandir(self._kept.get(self, directory)) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield os.fsencode(entry.name), status

    def lstat(self, directory: bytes, name: bytes) -> os.stat_result | None:
        """See LayerTree."""
        directory_fd = self._kept.get(self, directory)
        try:
            return os.stat(name or b".", dir_fd=directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_opaque(self, directory: bytes, name: bytes) -> bool:
        """See LayerTree."""
        flags = _OPEN_DIRECTORY | os.O_CLOEXEC
        fd = os.open(name or b".", flags, dir_fd=self._kept.get(self, directory))
        try:
            return os.getxattr(fd, OPAQUE_XATTR) == b"y"
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                return False
            raise
        finally:
            os.close(fd)

    def open(self, directory: bytes, name: bytes) -> LayerFile:
        """See LayerTree."""
        fd = os.open(name or b".", _READ, dir_fd=self._kept.get(self, directory))
        try:
            status = os.fstat(fd)
            require_regular(name, status)
        except BaseException:
            os.close(fd)
            raise
        fragments = ((0, status.st_size, 0),) if status.st_size else ()
        return LayerFile(fd, status.st_size, fragments, directory + b"/" + name if directory else name)

    def readlink(self, directory: bytes, name: bytes) -> bytes:
        """See LayerTree."""
        return os.readlink(name, dir_fd=self._kept.get(self, directory))

    def xattrs(self, directory: bytes, name: bytes) -> dict[str, bytes]:
        """See LayerTree. Those of ``trusted.`` are seen by root only."""
        path = f"/proc/self/fd/{self._kept.get(self, directory)}/".encode() + (name or b".")
        return {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if not key.startswith(_OVERLAYS_OWN)
        }

    def close(self) -> None:
        """See LayerTree."""
        if self.root_fd >= 0:
            os.close(self.root_fd)
        self.root_fd = -1


class OpenLayers:
    """Layers opened together, closed together at the end of the ``with``; none of them twice."""

    def __init__(self) -> None:
        self.kept = KeptDirectories()
        self._layers: list[LayerTree] = []

    def add(self, layer: LayerTree) -> LayerTree:
        """Have it closed with the others; gives it back."""
        self._layers.append(layer)
        return layer

    def directories(self, paths: Sequence[str | bytes | os.PathLike[str]]) -> list[LayerTree]:
        """Layers that are directories, in the order given. Raises OSError."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        return [self.add(DirectoryLayer(os.open(path, flags), self.kept)) for path in paths]

    def __enter__(self) -> OpenLayers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for layer in self._layers:
            layer.close()
        self.kept.close()
