"""Flags of inodes (ioctl_iflags(2)): what nobody may change, not even root, until the flag is taken away."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

__all__ = ["has_verity", "is_immutable", "make_mutable", "set_immutable"]

# _IOR('f', 1, long) and _IOW('f', 2, long); the kernel reads and writes an int all the same.
_LONG = struct.calcsize("l")
_GETFLAGS = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1
_SETFLAGS = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2
_FLAGS = struct.Struct("=i4x")
_IMMUTABLE = 0x10  # FS_IMMUTABLE_FL

# _IOWR('f', 134, struct fsverity_digest): its size and the algorithm's number; the digest follows.
_MEASURE_VERITY = 3 << 30 | 4 << 16 | ord("f") << 8 | 134
_DIGEST = struct.Struct("=HH64x")


def _flags(fd: int) -> int:
    buffer = bytearray(_FLAGS.size)
    fcntl.ioctl(fd, _GETFLAGS, buffer)
    return int(_FLAGS.unpack(buffer)[0])


def is_immutable(fd: int) -> bool:
    """Whether a file cannot be changed, renamed or deleted; False where the file system has no flags."""
    try:
        return bool(_flags(fd) & _IMMUTABLE)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise


def set_immutable(fd: int, on: bool) -> None:
    """Set or take away the flag; its inode's ctime changes where it does.

    Raises OSError: EPERM without CAP_LINUX_IMMUTABLE; ENOTTY, EOPNOTSUPP where there are no flags.
    """
    flags = _flags(fd)
    wanted = flags | _IMMUTABLE if on else flags & ~_IMMUTABLE
    if wanted != flags:
        fcntl.ioctl(fd, _SETFLAGS, _FLAGS.pack(wanted))


def has_verity(fd: int) -> bool:
    """Whether the kernel and the file system of a file know fs-verity (Linux, ``fsverity.rst``)."""
    buffer = bytearray(_DIGEST.pack(0, 64))
    try:
        fcntl.ioctl(fd, _MEASURE_VERITY, buffer)
    except OSError as error:
        return error.errno == errno.ENODATA  # it could be switched on, and is not
    return True


def make_mutable(path: str | os.PathLike[str]) -> None:
    """Take the flag from the file at a path, no link followed. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        set_immutable(fd, False)
    finally:
        os.close(fd)
