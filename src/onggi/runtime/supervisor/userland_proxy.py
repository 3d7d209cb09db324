"""What arrives at the host's IPv6 addresses for a container that has only IPv4: carried there by hand.

The firewall translates addresses within a family, not between them; so what comes to a published
port by IPv6 is taken here, and sent on to the container's IPv4 address, as docker-proxy does. A
stream's two ends close one by one; a datagram's sender is remembered for as long as it is heard of.

Source: moby ``cmd/docker-proxy`` (tcp_proxy.go, udp_proxy.go).
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

from onggi.runtime.supervisor.loop import READ, WRITE, Loop

__all__ = ["named", "serve"]

_BUFFER_BYTES = 64 * 1024
_DATAGRAM_BYTES = 65507
_SENDER_S = 90.0
_MAX_SENDERS = 1024
"""Of one port: who comes later is not heard until one falls silent (each costs a descriptor)."""

Address = tuple[str, int]


def named(held: socket.socket) -> tuple[str, str, int]:
    """Protocol, address and port of a socket."""
    address, port = held.getsockname()[:2]
    return "tcp" if held.type == socket.SOCK_STREAM else "udp", address, port


def serve(loop: Loop, held: socket.socket, target: Address) -> None:
    """Carry what comes to ``held``, a listening stream's socket or a datagram's, to ``target``."""
    held.setblocking(False)
    if held.type == socket.SOCK_STREAM:
        loop.watch(held.fileno(), READ, lambda events: _accept(loop, held, target))
    else:
        datagrams = _Datagrams(loop, held, target)
        loop.watch(held.fileno(), READ, lambda events: datagrams.received())


def _accept(loop: Loop, held: socket.socket, target: Address) -> None:
    try:
        caller, _ = held.accept()
    except OSError:
        return  # it has gone again, or there are no descriptors: the next one's turn
    inside = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    caller.setblocking(False)
    inside.setblocking(False)
    if inside.connect_ex(target) not in (0, errno.EINPROGRESS):
        caller.close()
        inside.close()
        return
    _Stream(loop, caller, inside)


class _Stream:
    """Two connected sockets; what one sends the other gets. ``ends`` are both ways of it."""

    def __init__(self, loop: Loop, caller: socket.socket, inside: socket.socket) -> None:
        self._loop = loop
        self._sockets = (caller, inside)
        self._ways = (_Way(caller, inside), _Way(inside, caller))
        for one in self._sockets:
            loop.watch(one.fileno(), READ | WRITE, lambda events: self._ready())

    def _ready(self) -> None:
        try:
            for way in self._ways:
                way.carry()
        except OSError:
            self._close()
            return
        if all(way.done for way in self._ways):
            self._close()
            return
        for one in self._sockets:
            events = self._events(one)
            if events:
                self._loop.watch(one.fileno(), events, lambda events: self._ready())
            else:
                self._loop.unwatch(one.fileno())  # its end would be told again and again

    def _events(self, one: socket.socket) -> int:
        reads = any(way.reads and way.source is one for way in self._ways)
        writes = any(way.waiting and way.sink is one for way in self._ways)
        return (READ if reads else 0) | (WRITE if writes else 0)

    def _close(self) -> None:
        for one in self._sockets:
            self._loop.unwatch(one.fileno())
            one.close()


class _Way:
    """One direction; ``done`` when all that its source sent has arrived."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.done = False
        self._pending = b""
        self._ended = False

    @property
    def reads(self) -> bool:
        """True when it can take more."""
        return not self._ended and not self._pending

    @property
    def waiting(self) -> bool:
        """True when something waits for its sink."""
        return bool(self._pending)

    def carry(self) -> None:
        """What can be carried without waiting. Raises OSError when an end is broken."""
        try:
            if self.reads:
                self._pending = self.source.recv(_BUFFER_BYTES)
                self._ended = not self._pending
            if self._pending:
                self._pending = self._pending[self.sink.send(self._pending) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # it is still being connected
                raise
            return
        if self._ended and not self._pending and not self.done:
            self.done = True
            self.sink.shutdown(socket.SHUT_WR)


class _Datagrams:
    """One port's senders, each with a socket of its own inside: so answers find their way back."""

    def __init__(self, loop: Loop, held: socket.socket, target: Address) -> None:
        self._loop = loop
        self._held = held
        self._target = target
        self._senders: dict[tuple[object, ...], _Sender] = {}

    def received(self) -> None:
        """One datagram from outside."""
        try:
            data, source = self._held.recvfrom(_DATAGRAM_BYTES)
            sender = self._senders.get(source)
            if sender is None:
                if len(self._senders) >= _MAX_SENDERS:
                    return
                sender = self._senders[source] = self._new(source)
            sender.heard()
            sender.socket.send(data)
        except OSError:
            return  # as the network loses one

    def _new(self, source: tuple[object, ...]) -> _Sender:
        inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        inside.setblocking(False)
        inside.connect(self._target)
        return _Sender(
            self._loop, inside, lambda data: self._answer(data, source), lambda: self._gone(source)
        )

    def _answer(self, data: bytes, source: tuple[object, ...]) -> None:
        try:
            self._held.sendto(data, source)
        except OSError:
            return

    def _gone(self, source: tuple[object, ...]) -> None:
        self._senders.pop(source, None)


class _Sender:
    """Who sent datagrams of late; ``gone`` is called when it has been silent."""

    def __init__(
        self, loop: Loop, inside: socket.socket, answer: Callable[[bytes], None], gone: Callable[[], None]
    ) -> None:
        self.socket = inside
        self._loop = loop
        self._answer = answer
        self._gone = gone
        self._heard_at = 0.0
        self.heard()
        loop.watch(inside.fileno(), READ, lambda events: self._received())
        loop.after(_SENDER_S, self._leave_if_silent)

    def heard(self) -> None:
        """From either side: it stays."""
        self._heard_at = time.monotonic()

    def _received(self) -> None:
        try:
            data = self.socket.recv(_DATAGRAM_BYTES)
        except OSError:
            return  # nobody listens inside
        self.heard()
        self._answer(data)

    def _leave_if_silent(self) -> None:
        """One timer serves all its datagrams: it waits for what is left, or the sender goes."""
        left_s = self._heard_at + _SENDER_S - time.monotonic()
        if left_s > 0:
            self._loop.after(left_s, self._leave_if_silent)
            return
        self._loop.unwatch(self.socket.fileno())
        self.socket.close()
        self._gone()
