"""How large a layer's directory is, in Docker's way of counting."""

from __future__ import annotations

from onggi.tree.walk import scan_tree

__all__ = ["tree_size"]


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
