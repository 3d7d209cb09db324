"""Apply archives to directories and look at what came out."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from typing import NamedTuple

from onggi.archive.tar import TarReader
from onggi.tree.apply import Applied, ApplyLimits, apply_layer

NOW = -1
"""Stands for a time of about now: what the archive does not set."""


class Entry(NamedTuple):
    """Everything that matters of one name."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    nlink: int
    device: int
    target: bytes
    xattrs: dict[str, bytes]
    content: bytes


def look(path: bytes) -> Entry:
    """One entry, links not followed. Sizes and link counts of directories do not matter."""
    status = os.lstat(path)
    directory = stat.S_ISDIR(status.st_mode)
    recent = abs(status.st_mtime - time.time()) < 3600
    names = os.listxattr(path, follow_symlinks=False)
    return Entry(
        status.st_mode,
        status.st_uid,
        status.st_gid,
        NOW if recent else status.st_mtime_ns,
        0 if directory else status.st_size,
        0 if directory else status.st_nlink,
        status.st_rdev,
        os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"",
        {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
        _content(path) if stat.S_ISREG(status.st_mode) else b"",
    )


def _content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def snapshot(root: Path) -> dict[bytes, Entry]:
    """All entries below ``root`` by path; the root itself is the empty path."""
    top = os.fsencode(root)
    found = {b"": look(top)}
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(directory, name)
            found[path[len(top) + 1 :]] = look(path)
    return found


def unpack(root: Path, data: bytes, *, size: int = 4096, limits: ApplyLimits | None = None) -> Applied:
    """Apply an archive to a fresh directory ``root``."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(mode=0o755)
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        chunks = (data[start : start + size] for start in range(0, len(data), size))
        return apply_layer(TarReader(chunks), root_fd, limits=limits)
    finally:
        os.close(root_fd)
