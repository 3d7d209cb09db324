"""Standard streams of a process in the container, between it, the log and whoever is attached.

::

    process ── stdout, stderr (pipes) or one pty ──▶ Streams ──▶ log
                                                       └──────▶ Client, Client …  (frames)
    process ◀── stdin ─────────────────────────────── Client

A client that does not read holds the process up, as Docker's do: beyond 1 MiB that waits for
one client, nothing more is read until it has taken some. So does a log that is full.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import termios
import time
from collections.abc import Callable

from onggi.runtime.supervisor.loop import READ, WRITE, Loop
from onggi.runtime.supervisor.messages import LineSplitter
from onggi.runtime.supervisor.protocol import RESULT, STDERR, STDOUT, frame

__all__ = ["Client", "Streams"]

_READ_BYTES = 64 * 1024
_CLIENT_LIMIT_BYTES = 1024 * 1024
_STDIN_LIMIT_BYTES = 64 * 1024
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}

Sink = Callable[[str, list[tuple[bytes, int]]], None]


class Client:
    """Somebody attached by a socket; takes frames, may give standard input.

    A ``corked`` one is sent nothing until :meth:`uncork`: it is there before the process is.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        kinds: frozenset[int],
        *,
        stdin: bool,
        corked: bool = False,
    ) -> None:
        self.kinds = kinds
        self.stdin = stdin
        self.pending = bytearray()
        self._loop = loop
        self._socket = connection
        self.served = False  # to the end: the result frame was taken
        self._ending = False
        self._closed = False
        self._corked = corked
        self._streams: Streams | None = None
        connection.setblocking(False)

    def join(self, streams: Streams) -> None:
        """Take part in ``streams`` from here on."""
        self._streams = streams
        streams.clients.append(self)
        self._watch()

    def uncork(self, first: bytes, *, last: bool = False) -> None:
        """Send ``first``, then what has come since; ``last``: nothing else, and close."""
        self._corked = False
        if last:
            self.pending.clear()
            self._ending = True
        self.pending[:0] = first
        self._flush()

    def _watch(self) -> None:
        if self._closed or self._corked:
            return
        events = WRITE if self.pending else 0
        if self.stdin and self._streams is not None and self._streams.wants_input:
            events |= READ
        self._loop.watch(self._socket.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        if self.pending:
            self._flush()
        if events & ~WRITE and not self._closed:
            self._receive()

    def _receive(self) -> None:
        """Input, or the end of the client's side; without stdin anything said is passed over."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            if self.stdin and self._streams is not None:
                self._streams.feed(data)
        elif self.stdin:
            self.stdin = False
            if self._streams is not None:
                self._streams.input_ended()
        else:
            self.close()
            return
        self._watch()

    def send(self, kind: int, payload: bytes) -> None:
        """Queue a frame."""
        if self._closed:
            return
        idle = not self.pending
        self.pending += frame(kind, payload)
        if idle and not self._corked:
            self._flush()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self.pending)
            del self.pending[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._ending and not self.pending:
            self.served = True
            self.close()
            return
        self._watch()
        if self._streams is not None:
            self._streams.drained()

    def finish(self, result: bytes) -> None:
        """The result frame, and the end once everything is sent."""
        if self._ending:
            return
        self._ending = True
        self.send(RESULT, result)

    def close(self) -> None:
        """Let go at once. A client that leaves ends the input it gave, if that is said so."""
        if self._closed:
            return
        self._closed = True
        self.pending.clear()
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        if self._streams is not None:
            self._streams.leave(self)

    @property
    def closed(self) -> bool:
        """True when there is nothing more to send it."""
        return self._closed

    def rewatch(self) -> None:
        """The streams want input again."""
        self._watch()


class Streams:
    """``close_input``: the end of a client's input is the end of the process's.

    ``on_end`` is called once, when every output has come to its end.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        sink: Sink | None = None,
        sink_is_full: Callable[[], bool] = lambda: False,
        close_input: bool = True,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.clients: list[Client] = []
        self._loop = loop
        self._sink = sink
        self._sink_is_full = sink_is_full
        self._may_hold_up = True
        self._close_input = close_input
        self._on_end = on_end
        self._outputs: dict[int, tuple[int, LineSplitter]] = {}
        self._stdin = -1
        self._stdin_pending = bytearray()
        self._stdin_ending = False
        self._terminal = -1
        self._size: tuple[int, int] | None = None
        self._paused = False

    # --- wiring -----------------------------------------------------------------------------

    def pipes(self, *, stdin: bool) -> tuple[int, int, int]:
        """Make pipes; returns the process's ends (stdin -1 without), which the caller closes."""
        theirs_in = -1
        if stdin:
            theirs_in, self._stdin = os.pipe()
            os.set_blocking(self._stdin, False)
        ends = []
        for kind in (STDOUT, STDERR):
            ours, theirs = os.pipe()
            self._add_output(ours, kind)
            ends.append(theirs)
        return theirs_in, ends[0], ends[1]

    def terminal(self, fd: int) -> None:
        """Use a pty's controlling side (owned from here on): output and input are one."""
        self._terminal = self._stdin = fd
        if self._size is not None:
            self.resize(*self._size)
        self._add_output(fd, STDOUT)

    def _add_output(self, fd: int, kind: int) -> None:
        os.set_blocking(fd, False)
        self._outputs[fd] = (kind, LineSplitter())
        self._watch_output(fd)

    def _watch_output(self, fd: int) -> None:
        if self._paused:
            self._loop.unwatch(fd)  # wholly: an end that is not taken would be told over and over
            return
        events = READ | WRITE if fd == self._terminal and self._stdin_pending else READ
        self._loop.watch(fd, events, lambda events: self._output_ready(fd, events))

    @property
    def ended(self) -> bool:
        """True when no more output can come."""
        return not self._outputs

    def resize(self, height: int, width: int) -> None:
        """Tell the terminal, now or when there is one."""
        self._size = (height, width)
        if self._terminal >= 0:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    # --- output -----------------------------------------------------------------------------

    def _output_ready(self, fd: int, events: int) -> None:
        if events & WRITE and fd == self._terminal:
            self._write_input()
        if self._paused or not events & ~WRITE:
            return
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # a pty's way to say that nobody has the other side
                raise
            data = b""
        if data:
            self._take(fd, data)
        else:
            self._end_output(fd)

    def _take(self, fd: int, data: bytes) -> None:
        kind, splitter = self._outputs[fd]
        if self._sink is not None:
            pieces = splitter.feed(data, time.time_ns())
            if pieces:
                self._sink(_NAMES[kind], pieces)
        for client in tuple(self.clients):
            if kind in client.kinds:
                client.send(kind, data)
        self._pause(self._is_full())

    def _is_full(self) -> bool:
        """True when the process is to be held up: for the log, or for somebody who does not read."""
        if not self._may_hold_up:
            return False
        clients_are = any(len(client.pending) > _CLIENT_LIMIT_BYTES for client in self.clients)
        return clients_are or self._sink_is_full()

    def _pause(self, paused: bool) -> None:
        if paused != self._paused:
            self._paused = paused
            for fd in self._outputs:
                self._watch_output(fd)

    def drained(self) -> None:
        """A client or the log has taken something, or a client has left."""
        if self._paused:
            self._pause(self._is_full())

    def _end_output(self, fd: int) -> None:
        kind, splitter = self._outputs.pop(fd)
        left = splitter.end(time.time_ns())
        if left and self._sink is not None:
            self._sink(_NAMES[kind], left)
        self._loop.unwatch(fd)
        if fd == self._terminal:
            self._terminal = self._stdin = -1
        os.close(fd)
        if not self._outputs:
            self._on_end()

    def abandon(self) -> None:
        """Read what is there and come to an end: whoever still holds the pipes is not waited for."""
        self._may_hold_up = False
        self._pause(False)
        for fd in tuple(self._outputs):
            while fd in self._outputs and _readable(fd):
                self._output_ready(fd, READ)
            if fd in self._outputs:
                self._end_output(fd)

    # --- input ------------------------------------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """False while too much waits already, or nobody reads."""
        return len(self._stdin_pending) < _STDIN_LIMIT_BYTES

    def feed(self, data: bytes) -> None:
        """Standard input from a client; dropped when the process has none."""
        if self._stdin < 0 or self._stdin_ending:
            return
        self._stdin_pending += data
        self._write_input()

    def input_ended(self) -> None:
        """A client has no more input."""
        if self._close_input and self._terminal < 0:
            self._stdin_ending = True
            self._write_input()

    def _write_input(self) -> None:
        wanted = self.wants_input
        while self._stdin >= 0 and self._stdin_pending:
            try:
                sent = os.write(self._stdin, self._stdin_pending)
            except BlockingIOError:
                break
            except OSError:  # nobody reads any more
                self.close_input()
                return
            del self._stdin_pending[:sent]
        if self._stdin_ending and not self._stdin_pending:
            self.close_input()
            return
        self._watch_input()
        if not wanted and self.wants_input:
            for client in self.clients:
                client.rewatch()

    def _watch_input(self) -> None:
        if self._stdin < 0:
            return
        if self._stdin == self._terminal:
            self._watch_output(self._terminal)
        elif self._stdin_pending:
            self._loop.watch(self._stdin, WRITE, lambda events: self._write_input())
        else:
            self._loop.unwatch(self._stdin)

    def close_input(self) -> None:
        """The end of standard input; a terminal stays open for its output."""
        self._stdin_pending.clear()
        if self._stdin >= 0 and self._stdin != self._terminal:
            self._loop.unwatch(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    # --- clients ----------------------------------------------------------------------------

    def leave(self, client: Client) -> None:
        """A client is gone; what it did not say about the end of input its leaving says."""
        if client in self.clients:
            self.clients.remove(client)
        if client.stdin:
            self.input_ended()
        self.drained()

    def finish(self, result: bytes) -> None:
        """Tell every client how it ended."""
        for client in tuple(self.clients):
            client.finish(result)
        self.close_input()


def _readable(fd: int) -> bool:
    """True when a read would not block."""
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))
