"""File system calls that Python's ``os`` lacks."""

from __future__ import annotations

import ctypes
import errno
import os

from onggi.record import record

__all__ = [
    "FILESYSTEM_NAMES",
    "MountLine",
    "forget_bytes",
    "is_mountpoint",
    "mounts_on",
    "renameat2_exchange",
    "renameat2_noreplace",
    "statfs_type",
    "syncfs",
    "write_back",
]

FILESYSTEM_NAMES = {
    0x61756673: "aufs",
    0x9123683E: "btrfs",
    0x28CD3D45: "cramfs",
    0xF15F: "ecryptfs",
    0xEF53: "extfs",
    0xF2F52010: "f2fs",
    0x65735546: "fuse",
    0x47504653: "gpfs",
    0x000072B6: "jffs",
    0x3153464A: "jfs",
    0x6969: "nfs",
    0x794C7630: "overlayfs",
    0x858458F6: "ramfs",
    0x52654973: "reiserfs",
    0x517B: "smb",
    0x73717368: "squashfs",
    0x01021994: "tmpfs",
    0xA501FCF5: "vxfs",
    0x58465342: "xfs",
    0x2FC12FC1: "zfs",
}
"""Docker's names for ``f_type`` of statfs(2), as ``docker info`` shows them."""

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of fallocate(2)
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4  # of sync_file_range(2)
_STATFS_SIZE = 256  # bytes; more than struct statfs has on any architecture

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, *paths: str | bytes) -> None:
    if result < 0:
        number = ctypes.get_errno()
        if len(paths) == 2:
            raise OSError(number, os.strerror(number), paths[0], None, paths[1])
        raise OSError(number, os.strerror(number), *paths)


def syncfs(fd: int) -> None:
    """Write all of the file system that ``fd`` is on to its disk; waits for it.

    Raises:
        OSError: the descriptor is bad, or (Linux ≥ 5.8) some write has failed since it was opened.
    """
    _check(_libc.syncfs(ctypes.c_int(fd)))


def write_back(fd: int) -> None:
    """Have the data of a file written to its disk, and wait; no promise of anything (sync_file_range(2)).

    Neither its size nor the disk's own cache is flushed: that is left to an fsync, which then
    finds little to do. After this one journal commit serves the fsyncs of many files.

    Raises:
        OSError: some write has failed.
    """
    flags = _WAIT_BEFORE | _WRITE | _WAIT_AFTER
    result = _libc.sync_file_range(
        ctypes.c_int(fd), ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(flags)
    )
    if result < 0 and ctypes.get_errno() not in (errno.ENOSYS, errno.ESPIPE):
        _check(result)


def forget_bytes(fd: int, start: int, size: int) -> None:
    """Make a hole of a part of a file, so that what is not on the disk yet need not get there.

    Nothing is done where the file system has no holes.
    """
    _libc.fallocate(
        ctypes.c_int(fd),
        ctypes.c_int(_KEEP_SIZE | _PUNCH_HOLE),
        ctypes.c_int64(start),
        ctypes.c_int64(size),
    )


def statfs_type(path: str | bytes) -> str:
    """Docker's name for the file system that ``path`` is on, ``<unknown>`` for others."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    # statfs64 also answers for large disks on 32-bit machines; the type stands first in both.
    call = getattr(_libc, "statfs64", _libc.statfs)
    _check(call(ctypes.c_char_p(os.fsencode(path)), buffer), path)
    magic = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return FILESYSTEM_NAMES.get(magic, "<unknown>")


def renameat2_exchange(first: str | bytes, second: str | bytes) -> None:
    """Swap two existing names atomically.

    Raises:
        OSError: EINVAL where the file system cannot.
    """
    _renameat2(first, second, _RENAME_EXCHANGE)


def renameat2_noreplace(source: str | bytes, target: str | bytes) -> None:
    """Rename, but never over something.

    Raises:
        FileExistsError: ``target`` exists.
        OSError: EINVAL where the file system cannot.
    """
    _renameat2(source, target, _RENAME_NOREPLACE)


def _renameat2(source: str | bytes, target: str | bytes, flags: int) -> None:
    if not hasattr(_libc, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), source, None, target)
    result = _libc.renameat2(
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(source)),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(flags),
    )
    _check(result, source, target)


@record
class MountLine:
    """One mount of the kernel's table: its file system's ``type``, and the whole line."""

    type: bytes
    text: bytes


def mounts_on(path: str | bytes) -> list[MountLine]:
    """What is mounted on ``path`` itself, the uppermost last; bind mounts of the same file system too."""
    real = os.path.realpath(os.fsencode(path))
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            return [_mount_line(line) for line in table if _unescape(line.split(b" ", 5)[4]) == real]
    except FileNotFoundError:
        return [MountLine(b"", b"")] if os.path.ismount(real) else []


def is_mountpoint(path: str | bytes) -> bool:
    """Whether something is mounted on ``path``."""
    return bool(mounts_on(path))


def _mount_line(line: bytes) -> MountLine:
    """``36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`` (proc_pid_mountinfo(5))."""
    _, _, rest = line.partition(b" - ")
    return MountLine(rest.split(b" ", 1)[0], line)


def _unescape(field: bytes) -> bytes:
    """The kernel writes space, tab, newline and backslash as ``\\ooo``."""
    if b"\\" not in field:
        return field
    for character in b" \t\n\\":
        field = field.replace(b"\\%03o" % character, bytes((character,)))
    return field
