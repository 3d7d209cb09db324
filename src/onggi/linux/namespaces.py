"""Namespaces, entered or made by one thread of a process and left with its end.

The kernel keeps the mount namespace, root and working directory per thread, once a thread has
unshared the last two from the others. So a process with threads can look into another namespace
without moving there, and descriptors opened there are the whole process's.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from onggi.linux.mount_calls import MS_PRIVATE, MS_REC, MountError, mount, unmount

__all__ = [
    "copied_mount_namespace",
    "empty_mount_namespace",
    "in_mount_namespace",
    "is_mount_namespace",
    "new_network_namespace",
]

_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "armv7l": 218, "armv6l": 218}

Result = TypeVar("Result")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(action: str, result: int) -> None:
    if result < 0:
        raise MountError(action, ctypes.get_errno())


def is_mount_namespace(fd: int) -> bool:
    """Whether a descriptor is of a mount namespace (a file of ``/proc/<pid>/ns``, or a bind of one)."""
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNS
    except OSError:
        return False


def in_mount_namespace(namespace: int, function: Callable[[], Result]) -> Result:
    """What ``function`` gives when called inside a mount namespace, at its root directory.

    It runs in a thread of its own. Raises MountError when the namespace cannot be entered, and
    what ``function`` raises.
    """

    def enter() -> Result:
        _check("unshare the working directory", _libc.unshare(ctypes.c_int(_CLONE_FS)))
        _check("enter the mount namespace", _libc.setns(ctypes.c_int(namespace), ctypes.c_int(_CLONE_NEWNS)))
        return function()

    return _in_thread(enter)


def empty_mount_namespace(scratch: bytes, cpu: int | None = None) -> int:
    """A new mount namespace that holds nothing but an empty file system in memory; gives a descriptor.

    ``scratch`` is an existing directory, which stays as it is; ``cpu`` where it is to be made. The
    namespace lives as long as the descriptor, or a bind mount of it.
    """

    def make() -> int:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        _check("make a mount namespace", _libc.unshare(ctypes.c_int(_CLONE_NEWNS)))
        namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            mount("", "/", "", MS_REC | MS_PRIVATE)
            mount("onggi", scratch, "tmpfs", 0, "mode=700")
            os.chdir(scratch)
            _pivot_root()
            os.chdir("/")
        except BaseException:
            os.close(namespace)
            raise
        return namespace

    return _in_thread(make)


def new_network_namespace() -> int:
    """A new network namespace with nothing in it that is up; gives a descriptor, with which it lives."""

    def make() -> int:
        _check("make a network namespace", _libc.unshare(ctypes.c_int(_CLONE_NEWNET)))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(make)


def copied_mount_namespace(function: Callable[[], Result]) -> tuple[int, Result]:
    """A new mount namespace, a private copy of ours, and what ``function`` gives when called in it.

    The caller closes the descriptor; what was mounted there is then gone. Descriptors that
    ``function`` opened see its mounts as long as the namespace lives.
    """

    def make() -> tuple[int, Result]:
        _check("make a mount namespace", _libc.unshare(ctypes.c_int(_CLONE_NEWNS)))
        mount("", "/", "", MS_REC | MS_PRIVATE)
        namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return namespace, function()
        except BaseException:
            os.close(namespace)
            raise

    return _in_thread(make)


def _pivot_root() -> None:
    """Make the working directory the root, and let go of all that was mounted before (pivot_root(2))."""
    here = ctypes.c_char_p(b".")
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise MountError("pivot_root", errno.ENOSYS)
    _check("pivot_root", _libc.syscall(ctypes.c_long(number), here, here))
    unmount(".")


def _in_thread(function: Callable[[], Result]) -> Result:
    results: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="onggi-namespace")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
