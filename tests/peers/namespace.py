"""Namespaces for the test run: what a test mounts or connects, nobody else sees, and it ends with the run.

Even when a run is killed, no overlay, loop device, bind mount, bridge or rule of a firewall is left
behind: the kernel takes a namespace's mounts and interfaces away with its last process. And two
runs, or a run's two workers, can give the same addresses and ports to their containers.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import tempfile

__all__ = ["enter_private_mounts", "enter_private_network"]

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_MS_BIND = 0x1000
_INTERFACES = (b"/class/net", b"/devices/virtual/net")
_MS_REC, _MS_SLAVE = 0x4000, 0x80000


def enter_private_mounts() -> None:
    """Move the calling thread, and all it will start, there; without root, do nothing.

    Mounts that the host makes later still arrive (slave), ours do not go out. Raises OSError.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare the mount namespace")
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None) != 0:
        raise OSError(ctypes.get_errno(), "make mounts private")


def enter_private_network() -> None:
    """Move the calling thread, and all it will start, to a network of its own; without root, do nothing.

    Nothing is there but the loopback interface. Raises OSError.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare the network namespace")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    _show_own_interfaces(libc)


def _show_own_interfaces(libc: ctypes.CDLL) -> None:
    """In ``/sys``: it shows the interfaces of who mounted it. What else is mounted there stays."""
    with tempfile.TemporaryDirectory() as directory:
        own = directory.encode()
        mounts = [(b"sysfs", own, b"sysfs", 0)]
        mounts += [(own + part, b"/sys" + part, None, _MS_BIND) for part in _INTERFACES]
        for source, target, kind, flags in mounts:
            if libc.mount(source, target, kind, ctypes.c_ulong(flags), None) != 0:
                raise OSError(ctypes.get_errno(), f"mount {target.decode()}")
        libc.umount2(own, 2)
