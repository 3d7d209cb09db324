"""The few kernel calls that the standard library does not have."""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct
import sys

__all__ = [
    "attach_mount",
    "become_subreaper",
    "die_with",
    "enter_mount_namespace",
    "enter_namespace",
    "lock_alone",
    "make_place",
    "mount",
    "mount_namespace",
    "remove_places",
    "reset_reserved_signals",
    "unmount",
]

_CLONE_NEWNS = 0x0002_0000
_MS_REC, _MS_SLAVE = 0x4000, 0x8_0000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SYS_MOVE_MOUNT = 429  # the same on x86-64, arm64 and 32-bit Arm
_AT_FDCWD = -100
_MOVE_MOUNT_F_EMPTY_PATH = 4
# rt_sigaction, by machine. All zero is SIG_DFL, without flags; the set of signals has 8 bytes.
_SYS_SIGACTION = {"x86_64": 13, "aarch64": 134, "riscv64": 134}
_SIGSET_BYTES = 8
_DEFAULT_ACTION = bytes(64)
# glibc keeps these to itself: posix_spawn starts programs that ignore the first, and sigaction refuses both.
_RESERVED_SIGNALS = (32, 33)
# struct flock: l_type, l_whence, l_start, l_len, l_pid (store/locks.py uses the same locks).
_FLOCK = struct.Struct("@hhqqi0q")

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


def reset_reserved_signals() -> None:
    """Have what glibc lets nobody set at its default, where the number of the call is known."""
    call = _SYS_SIGACTION.get(os.uname().machine, 0) if sys.maxsize > 1 << 32 else 0
    for number in _RESERVED_SIGNALS if call else ():
        _libc.syscall(
            ctypes.c_long(call),
            ctypes.c_int(number),
            _DEFAULT_ACTION,
            None,
            ctypes.c_size_t(_SIGSET_BYTES),
        )


def enter_mount_namespace() -> None:
    """See mounts of our own from here on; the host's changes still arrive, ours do not go out."""
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare the mount namespace")
    mount("none", "/", "", _MS_REC | _MS_SLAVE)


def mount_namespace() -> int:
    """The mount namespace that this process is in now."""
    return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def enter_namespace(fd: int) -> None:
    """See the mounts of the namespace ``fd`` from here on."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(_CLONE_NEWNS)), "enter the mount namespace")


def lock_alone(path: str) -> int:
    """A descriptor that holds the lock, -1 when others hold it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        os.close(fd)
        return -1
    return fd


def make_place(fd: int, target: str) -> None:
    """An empty directory, or file, for the detached mount ``fd``."""
    os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
    if stat.S_ISDIR(os.stat(fd).st_mode):
        os.mkdir(target, 0o700)
    else:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def remove_places(targets: list[str]) -> None:
    """Delete files and empty directories, in this order; what cannot be is left."""
    for target in targets:
        try:
            if os.path.isdir(target):
                os.rmdir(target)
            else:
                os.unlink(target)
        except OSError:
            continue


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
