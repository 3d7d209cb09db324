"""How large a directory is: in Docker's way of counting, and in blocks on disk."""

from __future__ import annotations

import os
from pathlib import Path

from onggi.tree.walk import scan_tree

__all__ = ["disk_usage", "tree_size"]


def tree_size(root_fd: int) -> int:
    """Bytes of all that is no directory below ``root_fd``: its length, each inode once.

    So a symbolic link counts the length of its target, devices and whiteouts 0, a hard
    link nothing more; holes and attributes do not matter. Links are not followed.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    for _, _, entries in scan_tree(root_fd):
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                continue
            status = entry.stat(follow_symlinks=False)
            if status.st_nlink > 1:
                inode = (status.st_dev, status.st_ino)
                if inode in linked:
                    continue
                linked.add(inode)
            total += status.st_size
    return total


# Bytes of one unit of st_blocks, whatever the file system's own blocks are (stat(2)).
_BLOCK_BYTES = 512


def disk_usage(path: Path) -> int:
    """Bytes of blocks that a file or tree takes on its file system, as ``du -sx`` counts.

    Directories count, an inode counts once, other file systems mounted below do not. What
    disappears meanwhile, or is not there, counts nothing.
    """
    try:
        status = os.lstat(path)
        if not os.path.isdir(path) or os.path.islink(path):
            return status.st_blocks * _BLOCK_BYTES
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return (status.st_blocks + _blocks_below(root, status.st_dev)) * _BLOCK_BYTES
    finally:
        os.close(root)


def _blocks_below(root_fd: int, device: int) -> int:
    blocks = 0
    linked: set[int] = set()
    for _, _, entries in scan_tree(root_fd, changing=True):
        here = []
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_dev != device:
                continue
            here.append(entry)
            is_link = status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False)
            if not is_link or status.st_ino not in linked:
                blocks += status.st_blocks
            if is_link:
                linked.add(status.st_ino)
        entries[:] = here
    return blocks
