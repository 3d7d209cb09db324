"""Owner, attributes, mode and times of what was made, in Docker's order and with its clamps.

The order matters: a change of owner clears setuid bits and capabilities, an ACL changes
the mode, and every write changes the times.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from onggi.tree.errors import errno_text, failure, printable, shortened
from onggi.tree.whiteout import belongs_to_overlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.archive.tar import Member

__all__ = ["clamped_times", "kernel_id", "set_mode", "set_owner", "set_xattrs", "set_xattrs_at"]

_TIME_MAX = 2**63 - 1
"""The last nanosecond that Go's int64 holds, in the year 2262. Later and earlier than 1970 becomes 0."""


def clamped_times(member: Member) -> tuple[int, int]:
    """(atime, mtime) in nanoseconds: access never before modification, both in Docker's bounds."""
    mtime = member.mtime_ns
    atime = member.atime_ns
    if atime is None or atime < mtime:
        atime = mtime
    if not 0 <= mtime <= _TIME_MAX:
        mtime = 0
    if not 0 <= atime <= _TIME_MAX:
        atime = 0
    return atime, mtime


def kernel_id(number: int) -> int:
    """A user or group number as the kernel takes it: 32 bits, all ones meaning unchanged."""
    number &= 0xFFFFFFFF
    return -1 if number == 0xFFFFFFFF else number


def set_owner(target: int | bytes, member: Member, path: bytes, parent_fd: int | None = None) -> None:
    """chown a descriptor, or a name in ``parent_fd`` without following it."""
    uid, gid = kernel_id(member.uid), kernel_id(member.gid)
    try:
        if isinstance(target, int):
            os.fchown(target, uid, gid)
        else:
            os.chown(target, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
    except OSError as error:
        name = printable(path)
        what = f'failed to Lchown "{name}" for UID {member.uid}, GID {member.gid}: lchown {name}'
        raise failure(error, what, path) from None


def set_mode(target: int | bytes, mode: int, path: bytes, parent_fd: int | None = None) -> None:
    """chmod a descriptor, or a name in ``parent_fd`` that is known to be no link."""
    try:
        if isinstance(target, int):
            os.fchmod(target, mode)
        else:
            os.chmod(target, mode, dir_fd=parent_fd)
    except OSError as error:
        raise failure(error, f"chmod {printable(path)}", path) from None


def set_xattrs(target: int | bytes, member: Member, path: bytes, warn: Callable[[str], None]) -> None:
    """Set the member's attributes on an open file or directory, or on a name in the working directory.

    What the file system does not know (ENOTSUP) or does not allow (EPERM) is left out
    with a warning, as Docker 20.10 does; 28 refuses a layer for ENOTSUP.

    Raises:
        InvalidLayer: any other failure, such as EINVAL for a malformed capability.
    """
    for name, value in member.xattrs.items():
        label = shortened(name)
        if belongs_to_overlay(name):
            warn(f"{printable(path)}: ignored attribute {label}: it belongs to overlayfs")
            continue
        try:
            os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise failure(error, f"lsetxattr {label} {printable(path)}", path) from None
            warn(f"{printable(path)}: ignored attribute {label}: {errno_text(error.errno)}")


def set_xattrs_at(
    parent_fd: int, name: bytes, member: Member, path: bytes, warn: Callable[[str], None]
) -> None:
    """Set the member's attributes on a name that cannot be opened: a link, a device, a fifo.

    Linux has had no ``setxattrat`` before 6.13 and /proc is not there in a chroot, so the
    working directory, which belongs to the whole process, is moved for the moment.
    """
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(parent_fd)
        set_xattrs(name, member, path, warn)
    finally:
        os.fchdir(before)
        os.close(before)
