"""The kernel's mount calls, one function each: the new mount API, mount(2), umount2(2).

Since Linux 5.2 a mount is made in steps: ``fsopen`` a configuration, ``fsconfig`` it,
``fsmount`` it into a descriptor that nothing sees yet, ``move_mount`` it to its place.
A detached mount that is closed is gone, so nothing can be left behind on the way.
The calls have the same numbers on x86-64, arm64 and 32-bit Arm.
"""

from __future__ import annotations

import ctypes
import errno
import os

from onggi.errors import FailedPrecondition

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from os import PathLike

    Name = str | bytes | PathLike[str]

__all__ = [
    "MountError",
    "fsconfig_create",
    "fsconfig_fd",
    "fsconfig_flag",
    "fsconfig_string",
    "fsmount",
    "fsopen",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "unmount",
]

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_MOUNT_SETATTR = 442

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_SET_FD = 5
_FSCONFIG_CMD_CREATE = 6
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_MOVE_MOUNT_F_EMPTY_PATH = 4
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4

MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2

FSCONFIG_STRING_MAX = 255
"""Bytes of a value that ``fsconfig`` takes as a string; the kernel answers EINVAL to more."""


class MountError(FailedPrecondition):
    """A mount could not be made or undone. ``errno`` is the kernel's; ``log`` its own words, if any."""

    def __init__(self, action: str, number: int, log: str = "") -> None:
        text = os.strerror(number)
        message = f"{action}: {text[:1].lower()}{text[1:]}" + (f" ({log})" if log else "")
        super().__init__(message, hint="mounting needs root" if number == errno.EPERM else "")
        self.errno = number
        self.log = log


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def _call(action: str, number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise MountError(action, ctypes.get_errno())
    return result


def _path(path: Name) -> ctypes.c_char_p:
    return ctypes.c_char_p(os.fsencode(path))


def _text(path: Name) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


# -- a new mount, step by step


def fsopen(filesystem: str) -> int:
    """A configuration for a mount of ``filesystem``; the caller closes it."""
    return _call(f"fsopen {filesystem}", _SYS_FSOPEN, _path(filesystem), ctypes.c_uint(_FSOPEN_CLOEXEC))


def _fsconfig(
    fd: int, command: int, key: str | None, value: bytes | None, auxiliary: int, action: str
) -> None:
    try:
        _call(
            action,
            _SYS_FSCONFIG,
            ctypes.c_int(fd),
            ctypes.c_uint(command),
            None if key is None else ctypes.c_char_p(key.encode()),
            None if value is None else ctypes.c_char_p(value),
            ctypes.c_int(auxiliary),
        )
    except MountError as error:
        raise MountError(action, error.errno, _read_log(fd)) from None


def _read_log(fd: int) -> str:
    """What the kernel says about a configuration that it refuses; ``e overlay: …`` lines."""
    lines = []
    try:
        while message := os.read(fd, 4096):
            lines.append(message.decode("utf-8", "replace").strip()[2:])
    except OSError:
        pass  # ENODATA: that was all
    return "; ".join(lines)


def fsconfig_flag(fd: int, key: str) -> None:
    """Set an option without a value."""
    _fsconfig(fd, _FSCONFIG_SET_FLAG, key, None, 0, f"fsconfig {key}")


def fsconfig_string(fd: int, key: str, value: Name) -> None:
    """Set an option; ``value`` has at most 255 bytes."""
    _fsconfig(fd, _FSCONFIG_SET_STRING, key, os.fsencode(value), 0, f"fsconfig {key}={_text(value)}")


def fsconfig_fd(fd: int, key: str, value: int) -> None:
    """Set an option to an open file, which stays the caller's."""
    _fsconfig(fd, _FSCONFIG_SET_FD, key, None, value, f"fsconfig {key}=<descriptor {value}>")


def fsconfig_create(fd: int) -> None:
    """Make the file system that is configured."""
    _fsconfig(fd, _FSCONFIG_CMD_CREATE, None, None, 0, "fsconfig create")


def fsmount(fd: int, attributes: int = 0) -> int:
    """The configured file system as a detached mount (MOUNT_ATTR_*); the caller closes it."""
    return _call(
        "fsmount", _SYS_FSMOUNT, ctypes.c_int(fd), ctypes.c_uint(_FSMOUNT_CLOEXEC), ctypes.c_uint(attributes)
    )


def open_tree(path: Name, *, recursive: bool = False) -> int:
    """A detached copy of the mount that ``path`` is in, from ``path`` down; the caller closes it."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    action = f"open_tree {_text(path)}"
    return _call(action, _SYS_OPEN_TREE, ctypes.c_int(_AT_FDCWD), _path(path), ctypes.c_uint(flags))


def mount_setattr(
    fd: int, set_attributes: int, clear_attributes: int = 0, *, recursive: bool = False
) -> None:
    """Change the attributes (MOUNT_ATTR_*) of the mount ``fd``."""
    attributes = _MountAttributes(set_attributes, clear_attributes, 0, 0)
    _call(
        "mount_setattr",
        _SYS_MOUNT_SETATTR,
        ctypes.c_int(fd),
        ctypes.c_char_p(b""),
        ctypes.c_uint(_AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )


def move_mount(fd: int, target: Name | int) -> None:
    """Attach the detached mount ``fd`` to what ``target`` names, or is open as."""
    opened = isinstance(target, int)
    action = f"mount on {f'descriptor {target}' if isinstance(target, int) else _text(target)}"
    _call(
        action,
        _SYS_MOVE_MOUNT,
        ctypes.c_int(fd),
        ctypes.c_char_p(b""),
        ctypes.c_int(target if isinstance(target, int) else _AT_FDCWD),
        ctypes.c_char_p(b"") if isinstance(target, int) else _path(target),
        ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH | (_MOVE_MOUNT_T_EMPTY_PATH if opened else 0)),
    )


# -- in one call


def mount(source: Name, target: Name, filesystem: str, flags: int = 0, options: Name = "") -> None:
    """mount(2). ``options`` must be shorter than a page."""
    result = _libc.mount(
        _path(source), _path(target), _path(filesystem), ctypes.c_ulong(flags), _path(options)
    )
    if result < 0:
        raise MountError(f"mount {filesystem or _text(source)} on {_text(target)}", ctypes.get_errno())


def unmount(target: Name, *, detach: bool = True) -> None:
    """umount2(2). With ``detach`` the mount leaves the tree at once and ends when nobody uses it any more."""
    if _libc.umount2(_path(target), ctypes.c_int(MNT_DETACH if detach else 0)) < 0:
        raise MountError(f"unmount {_text(target)}", ctypes.get_errno())
