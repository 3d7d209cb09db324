"""What netavark does not do for a bridge: hold its address, and take it away while it has ports.

Source: Linux ``include/uapi/linux/sockios.h``, ``net/bridge/br_ioctl.c``, ``net/bridge/br_stp_if.c``.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

__all__ = ["hold_address", "remove_bridge", "remove_stray"]

_SIOCSIFFLAGS, _SIOCGIFADDR, _SIOCSIFHWADDR, _SIOCGIFHWADDR, _SIOCBRDELBR = (
    0x8914,
    0x8915,
    0x8924,
    0x8927,
    0x89A1,
)
_IFREQ = struct.Struct("16sh22x")
_ADDRESS = slice(20, 24)  # of struct ifreq with a struct sockaddr_in
_NAME = struct.Struct("16s")


def hold_address(name: str) -> None:
    """Keep a bridge's hardware address; what is gone, or is no bridge, is left as it is.

    The kernel gives a bridge the least address of its ports until somebody has set one. With every
    container that comes or goes it may be another, and the others look for their gateway, and for who
    resolves names there, at the old one until their ARP entries are stale.
    """
    if not os.path.isdir(f"/sys/class/net/{name}/bridge"):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            current = fcntl.ioctl(control, _SIOCGIFHWADDR, _IFREQ.pack(name.encode(), 0))
            fcntl.ioctl(control, _SIOCSIFHWADDR, current)
        except OSError:
            return


def remove_bridge(name: str) -> None:
    """Take it down and away; one that is gone, or is no bridge, is left as it is.

    Interfaces of a namespace that has ended go by and by; netavark waits for the last of them.
    """
    encoded = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(encoded, 0))
            fcntl.ioctl(control, _SIOCBRDELBR, _NAME.pack(encoded))
        except OSError:
            return


def remove_stray(name: str, address: str) -> None:
    """Take a bridge without ports away whose IPv4 address is another one.

    It is left of a data root that is gone; netavark takes a bridge that is there for the right one.
    """
    try:
        if os.listdir(f"/sys/class/net/{name}/brif"):
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            found = fcntl.ioctl(control, _SIOCGIFADDR, _IFREQ.pack(name.encode(), socket.AF_INET))
    except OSError:
        return
    if socket.inet_ntoa(found[_ADDRESS]) != address:
        remove_bridge(name)
