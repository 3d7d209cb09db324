"""Sockets of AF_UNIX: the class below the standard library's, which loads at a fifth of its price.

``socket`` brings selectors, arrays and enumerations, three milliseconds that every ``run`` and
``exec`` would pay; what they need is five calls. Objects of ``socket.socket`` fit everywhere a
:class:`UnixSocket` is asked for.
"""

from __future__ import annotations

import os
import sys
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    SCM_RIGHTS,
    SHUT_RDWR,
    SHUT_WR,
    SO_SNDBUF,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
)
from _socket import socket as UnixSocket  # noqa: N812  a class, whatever the case of its name
from _socket import socketpair as _socketpair

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "SHUT_RDWR",
    "SHUT_WR",
    "UnixSocket",
    "packet_pair",
    "receive_with",
    "send_with",
    "stream_pair",
    "stream_socket",
]

_INT_BYTES = 4


def stream_socket() -> UnixSocket:
    """A new stream socket."""
    return UnixSocket(AF_UNIX, SOCK_STREAM)


def stream_pair() -> tuple[UnixSocket, UnixSocket]:
    """Two connected stream sockets."""
    return _socketpair(AF_UNIX, SOCK_STREAM)


def packet_pair() -> tuple[UnixSocket, UnixSocket]:
    """Two connected sockets that keep messages apart."""
    return _socketpair(AF_UNIX, SOCK_SEQPACKET)


def send_with(socket: UnixSocket, data: bytes, descriptors: Sequence[int]) -> None:
    """One message with descriptors, whatever its size."""
    socket.setsockopt(SOL_SOCKET, SO_SNDBUF, 2 * len(data))
    numbers = b"".join(fd.to_bytes(_INT_BYTES, sys.byteorder) for fd in descriptors)
    socket.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, numbers)])


def receive_with(socket: UnixSocket, size: int, count: int) -> tuple[bytes, list[int]]:
    """What came, and up to ``count`` descriptors with it, closed on exec."""
    data, ancillary, _, _ = socket.recvmsg(size, CMSG_SPACE(count * _INT_BYTES))
    found: list[int] = []
    for level, kind, numbers in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            whole = len(numbers) - len(numbers) % _INT_BYTES
            found += memoryview(numbers[:whole]).cast("i")
    for fd in found:
        os.set_inheritable(fd, False)
    return data, found
