"""A bridge that is taken away although the kernel has not yet taken away its ports.

Interfaces of a namespace that has ended go by and by; netavark leaves a bridge alone that still has one.

Source: Linux ``include/uapi/linux/sockios.h``, ``net/bridge/br_ioctl.c``.
"""

from __future__ import annotations

import fcntl
import socket
import struct

__all__ = ["remove_bridge"]

_SIOCSIFFLAGS, _SIOCBRDELBR = 0x8914, 0x89A1
_IFREQ = struct.Struct("16sh14x")
_NAME = struct.Struct("16s")


def remove_bridge(name: str) -> None:
    """Take it down and away; one that is gone, or is no bridge, is left as it is."""
    encoded = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(encoded, 0))
            fcntl.ioctl(control, _SIOCBRDELBR, _NAME.pack(encoded))
        except OSError:
            return
