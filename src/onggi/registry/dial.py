"""Connect by name, to the first address that answers (RFC 8305, "Happy Eyeballs").

A host whose IPv6 route leads nowhere must not cost the connect timeout: the next address is
tried 300 ms later (Go's number) while the first may still answer.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from typing import Any

from onggi.cancel import CancelToken
from onggi.registry.errors import Unreachable

__all__ = ["dial"]

_NEXT_ADDRESS_S = 0.3
# Seconds between two looks at the cancel token.
_POLL_S = 0.1


def dial(host: str, port: int, timeout_s: float, cancel: CancelToken) -> socket.socket:
    """A connected TCP socket with ``timeout_s`` set. Raises Unreachable with Go's texts, Cancelled."""
    attempts = _Attempts(_resolve(host, port), timeout_s)
    try:
        while True:
            cancel.check()
            connected = attempts.step()
            if connected is not None:
                return _ready(connected, timeout_s)
    finally:
        attempts.close()


def _resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        # Bytes: names in ASCII need no tables of international ones, which take milliseconds to load.
        name = host.encode() if host.isascii() else host
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        temporary = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        reason = "Temporary failure in name resolution" if temporary else "no such host"
        raise Unreachable(
            f"dial tcp: lookup {host}: {reason}", hint="check the name, and that this host can resolve names"
        ) from error
    return _interleaved(found)


def _interleaved(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Families by turns, beginning with the resolver's favourite."""
    first = [entry for entry in found if entry[0] == found[0][0]]
    second = [entry for entry in found if entry[0] != found[0][0]]
    mixed = []
    for index in range(max(len(first), len(second))):
        mixed += first[index : index + 1] + second[index : index + 1]
    return mixed


class _Attempts:
    """Connections under way to several addresses of one host."""

    def __init__(self, addresses: list[tuple[Any, ...]], timeout_s: float) -> None:
        self._waiting = addresses
        self._deadline = time.monotonic() + timeout_s
        self._next_at = 0.0
        self._open: dict[int, tuple[socket.socket, Any]] = {}
        self._poll = select.poll()
        self._last_error = ""
        self._last_address: Any = addresses[0][4] if addresses else ("", 0)

    def step(self) -> socket.socket | None:
        """Start the next attempt when it is time, wait a little, return who is connected."""
        now = time.monotonic()
        if self._waiting and (now >= self._next_at or not self._open):
            self._next_at = now + _NEXT_ADDRESS_S
            self._start(self._waiting.pop(0))
        if not self._open and not self._waiting:
            raise self._failure(self._last_error or "no such host")
        if now >= self._deadline:
            raise self._failure("i/o timeout")
        for fd, _ in self._poll.poll(_POLL_S * 1000):
            connected = self._finish(fd)
            if connected is not None:
                return connected
        return None

    def _start(self, address: tuple[Any, ...]) -> None:
        family, kind, protocol, _, where = address
        self._last_address = where
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            self._last_error = _connect_text(error.errno or 0)
            return
        sock.setblocking(False)
        code = sock.connect_ex(where)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self._last_error = _connect_text(code)
            return
        self._open[sock.fileno()] = sock, where
        self._poll.register(sock, select.POLLOUT)

    def _finish(self, fd: int) -> socket.socket | None:
        sock, where = self._open.pop(fd)
        self._poll.unregister(fd)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            return sock
        sock.close()
        self._last_error, self._last_address = _connect_text(code), where
        self._next_at = 0.0
        return None

    def _failure(self, text: str) -> Unreachable:
        name, port = self._last_address[:2]
        where = f"[{name}]:{port}" if ":" in str(name) else f"{name}:{port}"
        hint = "is the registry running there?" if "refused" in text else "check the network, or a proxy"
        return Unreachable(f"dial tcp {where}: {text}", hint=hint)

    def close(self) -> None:
        """Drop whoever has not made it."""
        for sock, _ in self._open.values():
            sock.close()


def _connect_text(code: int) -> str:
    return f"connect: {os.strerror(code).lower()}"


def _ready(sock: socket.socket, timeout_s: float) -> socket.socket:
    sock.settimeout(timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock
