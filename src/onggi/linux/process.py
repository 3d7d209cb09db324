"""What a process gives up for good: capabilities, and life without its parent."""

from __future__ import annotations

import ctypes
import errno
import os

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CAPABILITIES", "bounding_set", "drop_capabilities", "effective_set", "set_parent_death_signal"]

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Names by number (capability.h)."""

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_NUMBERS = 64  # bits of the two words that capset(2) takes; the kernel tells where its own end is


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: int) -> int:
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = _libc.prctl(ctypes.c_int(option), *words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def set_parent_death_signal(signal: int) -> None:
    """Have the kernel send ``signal`` to this process when the thread that made it ends.

    A parent that is gone already sends nothing any more: compare ``os.getppid`` with the
    expected parent afterwards, or hold a pipe whose other end is the parent's.
    """
    _prctl(_PR_SET_PDEATHSIG, signal)


def bounding_set() -> frozenset[str]:
    """Capabilities that this process, or a program it executes, can still have."""
    return frozenset(name for number, name in enumerate(CAPABILITIES) if _is_bounded(number))


def _is_bounded(number: int) -> bool:
    try:
        return _prctl(_PR_CAPBSET_READ, number) == 1
    except OSError:
        return False  # a kernel older than the capability


def effective_set() -> frozenset[str]:
    """Capabilities in force now."""
    effective, _ = _read_sets()
    return frozenset(name for number, name in enumerate(CAPABILITIES) if effective >> number & 1)


def _read_sets() -> tuple[int, int]:
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    words = (_CapabilityData * 2)()
    if _libc.capget(ctypes.byref(header), words) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    low, high = words
    return low.effective | high.effective << 32, low.permitted | high.permitted << 32


def drop_capabilities(keep: Iterable[str]) -> None:
    """Give up all capabilities but ``keep``, for this process and whatever it executes.

    Effective and permitted become what is held of ``keep``, inheritable and ambient empty;
    no executed program gains privileges any more (no_new_privs). The bounding set shrinks
    too where CAP_SETPCAP allows it. Only the calling thread changes: call it while there
    is one thread.

    Raises:
        ValueError: an unknown name.
        OSError: the kernel refuses.
    """
    names = frozenset(keep)
    if unknown := names.difference(CAPABILITIES):
        raise ValueError(f"unknown capabilities: {', '.join(sorted(unknown))}")
    kept = sum(1 << CAPABILITIES.index(name) for name in names)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _clear_ambient()
    _shrink_bounding_set(kept)
    _, permitted = _read_sets()
    kept &= permitted
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    words = (_CapabilityData * 2)()
    for index, word in enumerate(words):
        word.effective = word.permitted = kept >> 32 * index & 0xFFFFFFFF
    if _libc.capset(ctypes.byref(header), words) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _clear_ambient() -> None:
    try:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError as error:
        if error.errno != errno.EINVAL:  # before Linux 4.3: there are none
            raise


def _shrink_bounding_set(kept: int) -> None:
    for number in range(_NUMBERS):
        if kept >> number & 1:
            continue
        try:
            _prctl(_PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EPERM):  # the last one is past; or we may not
                return
            raise
