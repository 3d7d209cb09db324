"""Descriptors of the directories of a tree, resolved inside its root and kept for a while."""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from onggi.linux.openat2 import open_in_root

__all__ = ["Directories", "Directory"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY

IMPLIED_MODE = 0o755
"""Mode of a directory that an archive uses without naming it: Docker's."""


class Directory(NamedTuple):
    """An open directory. ``inherits``: what is made in it may get a group or mode of its own.

    That is so when it has the setgid bit, or another group than ours on a file system
    mounted with ``grpid``. ``fd`` belongs to :class:`Directories`.
    """

    fd: int
    inherits: bool


class Directories:
    """Opens directories by their path below ``root_fd``, links resolved as in a chroot there.

    The last ``limit`` (at least 2) descriptors stay open. :meth:`forget` must be called
    when something existing is removed, replaced or changed: any kept path may have led
    through it.
    """

    def __init__(self, root_fd: int, limit: int) -> None:
        self._root_fd = root_fd
        self._limit = limit
        self._group = os.getegid()
        self._open: dict[bytes, Directory] = {}

    def get(self, path: bytes) -> Directory:
        """The directory at a cleaned path (empty: the root).

        Raises:
            OSError: as ``open(2)``: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, …
        """
        directory = self._open.pop(path, None)
        if directory is None:
            directory = self._open_directory(path)
        self._open[path] = directory  # the youngest now
        return directory

    def _open_directory(self, path: bytes) -> Directory:
        if len(self._open) >= self._limit:
            os.close(self._open.pop(next(iter(self._open))).fd)
        fd = open_in_root(self._root_fd, path, _OPEN_DIRECTORY)
        status = os.fstat(fd)
        return Directory(fd, status.st_gid != self._group or bool(status.st_mode & stat.S_ISGID))

    def make_all(self, path: bytes) -> Directory:
        """Create what is missing of ``path``: 0755 (setgid inherited), owned by us, times of now.

        Raises:
            OSError: as ``open(2)`` and ``mkdir(2)``, with the path of the component as its
                filename. FileExistsError where a component is a link to nothing.
        """
        reached = b""
        parent = self.get(b"")
        for name in path.split(b"/"):
            reached = reached + b"/" + name if reached else name
            try:
                parent = self._get_or_make(parent, name, reached)
            except OSError as error:
                error.filename = reached
                raise
        return parent

    def _get_or_make(self, parent: Directory, name: bytes, path: bytes) -> Directory:
        try:
            return self.get(path)
        except FileNotFoundError:
            pass
        os.mkdir(name, IMPLIED_MODE, dir_fd=parent.fd)
        fresh = self.get(path)
        if fresh.inherits:
            os.fchown(fresh.fd, os.geteuid(), self._group)
        if os.fstat(fresh.fd).st_mode & 0o777 != IMPLIED_MODE:
            os.fchmod(fresh.fd, IMPLIED_MODE)
        if fresh.inherits:
            self.forget()
        return self.get(path)

    def is_dangling(self, path: bytes) -> bool:
        """Whether ``path`` is a link that leads nowhere (its parent exists)."""
        parent, _, name = path.rpartition(b"/")
        try:
            status = os.stat(name or b".", dir_fd=self.get(parent).fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        return stat.S_ISLNK(status.st_mode)

    def forget(self) -> None:
        """Close all kept descriptors."""
        for directory in self._open.values():
            os.close(directory.fd)
        self._open.clear()
