"""A stack of layer directories as one tree, read without mounting it: overlayfs's rules, in user space.

A name is looked up from the uppermost layer down::

    character device 0:0            the name is gone; what lies below is not seen
    no directory                    it wins; what lies below is not seen
    directory                       it wins, and the directories of that name below are merged into it,
      with trusted.overlay.opaque=y   … but for those below this one
      down to the first of any other kind

Layers are descriptors of their directories. Paths inside are resolved component by component in
the merged view, symbolic links too, so that nothing leads out of the image: ``..`` stops at the
root and absolute links start there. Source: Linux, Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from onggi.linux.openat2 import open_in_root, walk_in_root
from onggi.tree.whiteout import OPAQUE_XATTR, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

__all__ = ["Entry", "LayerDirectories", "Merged", "is_opaque", "scan"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A fifo put where a file was must not make us wait for its writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Descriptors of directories kept open, of all layers together.
_KEPT_DIRECTORIES = 128
_LINK_LIMIT = 40
"""Symbolic links followed in one lookup: the kernel's own limit."""


class Entry(NamedTuple):
    """A name in the merged tree.

    ``path`` is below the root, without links; the root's is empty. ``layers`` are the root
    descriptors of the layers it comes from, uppermost first: one, or for a directory all those
    merged into it. ``status`` is that of the uppermost.
    """

    path: bytes
    layers: tuple[int, ...]
    status: os.stat_result

    @property
    def name(self) -> bytes:
        """The last component."""
        return self.path.rpartition(b"/")[2]

    @property
    def is_directory(self) -> bool:
        """Whether it can have names below it."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


class LayerDirectories:
    """Descriptors of directories in several layers; the youngest stay open until :meth:`close`."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, bytes], int] = {}

    def get(self, layer: int, path: bytes) -> int:
        """The directory at ``path`` below the root ``layer``; stays ours, valid until the next call.

        Raises OSError as ``open(2)``.
        """
        key = layer, path
        fd = self._open.pop(key, None)
        if fd is None:
            if len(self._open) >= _KEPT_DIRECTORIES:
                os.close(self._open.pop(next(iter(self._open))))
            fd = _open(layer, path)
        self._open[key] = fd  # the youngest now
        return fd

    def close(self) -> None:
        """Close all."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()


def _open(layer: int, path: bytes) -> int:
    """Also where the path is longer than the kernel takes (4095 bytes)."""
    try:
        return open_in_root(layer, path, _OPEN_DIRECTORY)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return walk_in_root(layer, path, _OPEN_DIRECTORY)


def scan(directory_fd: int) -> Iterator[tuple[bytes, os.stat_result]]:
    """Names and what they are, links not followed, in the directory's order."""
    with os.scandir(directory_fd) as entries:
        for entry in entries:
            yield os.fsencode(entry.name), entry.stat(follow_symlinks=False)


def is_opaque(parent_fd: int, name: bytes) -> bool:
    """Whether a layer's directory hides those of the same name below it."""
    fd = os.open(name or b".", _OPEN_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        return os.getxattr(fd, OPAQUE_XATTR) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
    finally:
        os.close(fd)


def _lstat(directory_fd: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


class Merged:
    """The view of ``layers``, descriptors of directories, uppermost first; they stay the caller's.

    Two views that share descriptors share layers: an entry with the same ``layers`` in both is
    the same. A context manager: its end closes what is kept open.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self._layers = tuple(layers)
        self._directories = LayerDirectories()

    def __enter__(self) -> Merged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories kept open."""
        self._directories.close()

    @property
    def root(self) -> Entry:
        """The top directory: all layers'. Raises OSError ENOENT for a view of no layers."""
        if not self._layers:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), b"")
        return Entry(b"", self._layers, os.fstat(self._layers[0]))

    # --- one name -------------------------------------------------------------------------

    def lookup(self, directory: Entry, name: bytes) -> Entry | None:
        """The entry of that name, links not followed."""
        merged: list[int] = []
        status: os.stat_result | None = None
        for layer in directory.layers:
            directory_fd = self._directories.get(layer, directory.path)
            found = _lstat(directory_fd, name)
            if found is None:
                continue
            if is_whiteout(found):
                break
            if not stat.S_ISDIR(found.st_mode):
                if status is None:
                    return Entry(_join(directory.path, name), (layer,), found)
                break
            merged.append(layer)
            status = status or found
            if layer != directory.layers[-1] and is_opaque(directory_fd, name):
                break
        return None if status is None else Entry(_join(directory.path, name), tuple(merged), status)

    def resolve(self, path: bytes, *, follow: bool = True) -> Entry:
        """The entry at ``path``, links on the way followed inside the image; ``follow``: the last too.

        Raises OSError: ENOENT, ENOTDIR, ELOOP with the path as its filename.
        """
        trail = [self.root]
        pending = _steps(path)
        links = 0
        while pending:
            part = pending.pop()
            if not trail[-1].is_directory:
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if part == b"..":
                del trail[max(1, len(trail) - 1) :]
            if part in (b".", b".."):
                continue
            entry = self.lookup(trail[-1], part)
            if entry is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if not entry.is_link or not (pending or follow):
                trail.append(entry)
                continue
            links += 1
            if links > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = self.readlink(entry)
            if target[:1] == b"/":
                del trail[1:]
            pending += _steps(target)
        return trail[-1]

    def place(self, path: bytes) -> bytes:
        """Where ``path`` would be: links of its directories followed as far as they exist, not its own."""
        reached = self.root
        parts = _steps(path)[::-1]
        for index, part in enumerate(parts[:-1]):
            try:
                reached = self.resolve(_join(reached.path, part))
            except OSError:
                return b"/".join([part for part in (reached.path, *parts[index:]) if part])
        return _join(reached.path, parts[-1]) if parts else b""

    def open(self, entry: Entry) -> int:
        """A descriptor of a regular file, for reading; the caller closes it.

        Raises OSError: EISDIR, EINVAL for what is neither file nor directory.
        """
        if entry.is_directory:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), entry.path)
        fd = os.open(entry.name, _READ, dir_fd=self.parent_fd(entry))
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", entry.path)
        return fd

    def parent_fd(self, entry: Entry) -> int:
        """The directory that has ``entry`` in its uppermost layer; ours, valid until the next call."""
        return self._directories.get(entry.layers[0], entry.path.rpartition(b"/")[0])

    def readlink(self, entry: Entry) -> bytes:
        """The target of a symbolic link, verbatim."""
        return os.readlink(entry.name, dir_fd=self.parent_fd(entry))

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """Its extended attributes, overlayfs's own left out."""
        path = f"/proc/self/fd/{self.parent_fd(entry)}/".encode() + (entry.name or b".")
        found = {}
        for name in os.listxattr(path, follow_symlinks=False):
            if not name.startswith(("trusted.overlay.", "user.overlay.")):
                found[name] = os.getxattr(path, name, follow_symlinks=False)
        return found

    # --- many names -----------------------------------------------------------------------

    def listing(self, directory: Entry) -> dict[bytes, Entry]:
        """The entries of a directory by name, sorted bytewise."""
        merged: dict[bytes, tuple[list[int], os.stat_result]] = {}
        decided: set[bytes] = set()
        for layer in directory.layers:
            directory_fd = self._directories.get(layer, directory.path)
            for name, status in scan(directory_fd):
                if name in decided:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    decided.add(name)
                    if name not in merged and not is_whiteout(status):
                        merged[name] = [layer], status
                    continue
                merged.setdefault(name, ([], status))[0].append(layer)
                if layer != directory.layers[-1] and is_opaque(directory_fd, name):
                    decided.add(name)
        return {
            name: Entry(_join(directory.path, name), tuple(layers), status)
            for name, (layers, status) in sorted(merged.items())
        }

    def walk(self, top: Entry) -> Iterator[Entry]:
        """``top`` and everything below it: a directory before what it holds, siblings sorted bytewise."""
        pending = [top]
        while pending:
            entry = pending.pop()
            yield entry
            if entry.is_directory:
                pending += reversed(self.listing(entry).values())


def _steps(path: bytes) -> list[bytes]:
    """Components, the last first. A slash at the end is a ``.``: what is before it must be a directory."""
    steps = [part for part in path.split(b"/") if part]
    if path[-1:] == b"/":
        steps.append(b".")
    return steps[::-1]
