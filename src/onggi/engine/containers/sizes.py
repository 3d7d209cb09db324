"""What containers take on disk: ``ps -s``, ``inspect -s``."""

from __future__ import annotations

import os
from pathlib import Path

from onggi.engine.core import Core
from onggi.errors import OnggiError
from onggi.oci.digest import ImageID
from onggi.store.containers import StoredContainer
from onggi.tree.walk import scan_tree

__all__ = ["changed_bytes", "container_sizes"]


def container_sizes(core: Core, stored: StoredContainer) -> tuple[int, int]:
    """Bytes of what the container changed, and of that with its image's layers (Docker's virtual size)."""
    try:
        own = changed_bytes(core.writable.upper(core.writable.get(stored.id)))
    except OnggiError:
        own = 0
    try:
        return own, own + core.size(core.images.get(ImageID(stored.document["Image"])))
    except OnggiError:
        return own, own


def changed_bytes(upper: Path) -> int:
    """As tree.size counts, of a directory that somebody may be changing."""
    try:
        root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return sum(_sizes(root).values())
    finally:
        os.close(root)


def _sizes(root_fd: int) -> dict[int, int]:
    """Length by inode, of all that is no directory."""
    found: dict[int, int] = {}
    for _, _, entries in scan_tree(root_fd, changing=True):
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not entry.is_dir(follow_symlinks=False):
                found[status.st_ino] = status.st_size
    return found
