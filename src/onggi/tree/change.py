"""One thing of a layer that is not as it was, and the words for it."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

__all__ = ["Change", "kind_text", "shown_text", "time_text"]

_TYPES = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class Change(NamedTuple):
    """One thing that is not as it was: ``what``, and how it was and is, where that can be said."""

    what: str
    expected: str = ""
    found: str = ""


def kind_text(file_type: int, device: int) -> str:
    """What an inode is, in words; the device 0:0 is a whiteout."""
    if file_type == stat.S_IFCHR and device == 0:
        return "whiteout"
    kind = _TYPES.get(file_type, "unknown")
    if file_type in (stat.S_IFCHR, stat.S_IFBLK):
        return f"{kind} {os.major(device)}:{os.minor(device)}"
    return kind


def shown_text(data: bytes) -> str:
    """Bytes of a name for a message."""
    return data.decode("utf-8", "backslashreplace")


def time_text(time_ns: int) -> str:
    """Seconds since 1970 with nanoseconds."""
    return f"{time_ns // 10**9}.{time_ns % 10**9:09d}"
