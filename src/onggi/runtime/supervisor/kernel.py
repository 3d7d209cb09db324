"""The few kernel calls that the standard library does not have."""

from __future__ import annotations

import ctypes
import os

__all__ = ["attach_mount", "become_subreaper", "die_with", "enter_mount_namespace", "mount", "unmount"]

_CLONE_NEWNS = 0x0002_0000
_MS_REC, _MS_SLAVE = 0x4000, 0x8_0000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SYS_MOVE_MOUNT = 429  # the same on x86-64, arm64 and 32-bit Arm
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 4

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, action: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{action}: {os.strerror(number)}")


def become_subreaper() -> None:
    """Orphans below this process become its children: the container's first process does."""
    unused = [ctypes.c_ulong(0)] * 3
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), *unused), "become subreaper")


def die_with(parent: int) -> None:
    """Be killed when the parent is; at once if it has gone already."""
    unused = [ctypes.c_ulong(0)] * 3
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(9), *unused), "die with the parent")
    if os.getppid() != parent:
        os._exit(1)


def enter_mount_namespace() -> None:
    """See mounts of our own from here on; the host's changes still arrive, ours do not go out."""
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare the mount namespace")
    mount("none", "/", "", _MS_REC | _MS_SLAVE)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    words = [os.fsencode(word) for word in (source, target, kind)]
    result = _libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options))
    _checked(result, f"mount {kind or source} on {target}")


def attach_mount(fd: int, target: str) -> None:
    """Attach the detached mount ``fd`` to a directory."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOVE_MOUNT),
        ctypes.c_int(fd),
        b"",
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
    )
    _checked(result, f"mount the root on {target}")


def unmount(target: str) -> None:
    """Take a mount out of the tree; what still uses it keeps it alive."""
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"unmount {target}")
