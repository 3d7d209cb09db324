"""Walk and remove trees by directory descriptors, few at a time, however deep the tree is."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from onggi.linux.openat2 import open_in_root, walk_in_root

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["remove", "scan_tree"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def _open(root_fd: int, path: bytes) -> int:
    """A directory below ``root_fd``, also where the path is longer than the kernel takes (4095 bytes)."""
    try:
        return open_in_root(root_fd, path, _OPEN_DIRECTORY)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return walk_in_root(root_fd, path, _OPEN_DIRECTORY)


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def scan_tree(root_fd: int, *, changing: bool = False) -> Iterator[tuple[bytes, int, list[os.DirEntry[str]]]]:
    """Each directory once, parents first, as (path below the root, descriptor, entries).

    The descriptor is closed when the iteration goes on. Links are not followed. Directories
    that the caller takes out of ``entries`` are not entered. In a tree that is ``changing``
    those that have disappeared are passed over.
    """
    pending = [b""]
    while pending:
        path = pending.pop()
        try:
            directory_fd = _open(root_fd, path)
        except (FileNotFoundError, NotADirectoryError):
            if changing:
                continue
            raise
        try:
            with os.scandir(directory_fd) as scan:
                entries = list(scan)
            yield path, directory_fd, entries
        finally:
            os.close(directory_fd)
        pending += [
            _join(path, os.fsencode(entry.name)) for entry in entries if entry.is_dir(follow_symlinks=False)
        ]


def remove(parent_fd: int, name: bytes) -> None:
    """Remove a name and all below it; a link is removed itself. Nothing there is no error."""
    try:
        os.unlink(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        _empty(parent_fd, name)
        os.rmdir(name, dir_fd=parent_fd)


def _empty(parent_fd: int, name: bytes) -> None:
    """Remove all below a directory: each directory is visited before and after its children."""
    top_fd = os.open(name, _OPEN_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        pending = [b""]
        while pending:
            full = _remove_entries(top_fd, pending[-1])
            if full:
                pending += full
            else:
                pending.pop()
    finally:
        os.close(top_fd)


def _remove_entries(top_fd: int, path: bytes) -> list[bytes]:
    """Remove the entries of one directory; gives the paths of those that must be emptied first."""
    full = []
    directory_fd = _open(top_fd, path)
    try:
        for entry in os.listdir(directory_fd):
            name = os.fsencode(entry)
            try:
                os.unlink(name, dir_fd=directory_fd)
            except IsADirectoryError:
                try:
                    os.rmdir(name, dir_fd=directory_fd)
                except OSError as error:
                    if error.errno != errno.ENOTEMPTY:
                        raise
                    full.append(_join(path, name))
    finally:
        os.close(directory_fd)
    return full
