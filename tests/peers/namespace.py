"""A mount namespace for the test run: what a test mounts, nobody else sees, and it ends with the run.

Even when a run is killed, no overlay, loop device or bind mount of dockerd's is left behind: the
kernel takes a namespace's mounts away with its last process.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["enter_private_mounts"]

_CLONE_NEWNS = 0x00020000
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
