"""A log that a collector (collectors/) sends to somebody else; here is the supervisor's side of it.

What is written waits in ``_waiting`` until the collector takes it. Beyond a limit the container is held
up (:attr:`RemoteLog.full`), or with ``buffer_bytes`` (``mode=non-blocking``) what comes is dropped.
With a cache everything also goes to a file, for ``logs``.

settings = { type: "remote", command: [ words ], environment: { name: value }, collector: { … },
             buffer_bytes,                    0: the container is held up
             cache: { path, max_bytes, max_files, compress } | null }
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import deque
from collections.abc import Callable

from onggi.runtime.collectors.protocol import FRAME, LENGTH, STREAM_NUMBERS
from onggi.runtime.supervisor.local_log import LocalFile
from onggi.runtime.supervisor.loop import READ, WRITE, Loop, Timer
from onggi.runtime.supervisor.sink import Log

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

__all__ = ["RemoteLog"]

_HELD_BYTES = 256 * 1024
_ANSWER_BYTES = 64 * 1024
_OPEN_S, _CLOSE_S = 60.0, 10.0
"""Seconds for a collector to connect, and at the end to send what it has (Docker's)."""
_AGAIN_S = 1.0
"""Seconds after which a collector that died is started again."""


class RemoteLog(Log):
    """One run of the container. ``drained``: called when it is no longer :attr:`full`."""

    def __init__(self, loop: Loop, settings: dict[str, Any], drained: Callable[[], None]) -> None:
        self._loop = loop
        self._settings = settings
        self._drained = drained
        self._cache = LocalFile(**settings["cache"]) if settings["cache"] else None
        self._buffer_bytes = int(settings["buffer_bytes"])
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._sending = b""
        self._socket: socket.socket | None = None
        self._pid = 0
        self._connected = False
        self._ready: Callable[[str], None] | None = None
        self._closed: Callable[[], None] | None = None
        self._timer: Timer | None = None

    # --- the collector ------------------------------------------------------------------------

    def open(self, ready: Callable[[str], None]) -> None:
        """Start it; ``ready`` hears what it complains of, empty when it is connected."""
        self._ready = ready
        self._timer = self._loop.after(_OPEN_S, self._kill)
        self._spawn()

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._pid = self._execute(theirs.fileno())
            except OSError as error:
                ours.close()
                self._not_spawned(f"{self._settings['command'][0]}: {error.strerror}")
                return
        ours.setblocking(False)
        self._socket = ours
        settings = json.dumps(self._settings["collector"]).encode()
        self._sending = LENGTH.pack(len(settings)) + settings
        self._loop.on_exit(self._pid, lambda status: self._ended())
        self._flush()

    def _not_spawned(self, complaint: str) -> None:
        if self._ready is not None:
            self._tell(complaint)
        else:
            self._begin_again()

    def _execute(self, fd: int) -> int:
        command, environment = self._settings["command"], self._settings["environment"]
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, fd, 0),
        ]
        defaults = (signal.SIGPIPE, signal.SIGCHLD)
        return os.posix_spawn(command[0], command, environment, file_actions=actions, setsigdef=defaults)

    def _happened(self, events: int) -> None:
        if events & ~WRITE:
            self._receive()
        if self._socket is not None and events & WRITE:
            self._flush()

    def _receive(self) -> None:
        """The one answer, small enough to come whole; then its end."""
        assert self._socket is not None
        try:
            data = self._socket.recv(_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._disconnect()
            return
        answer = json.loads(data)
        self._connected = "error" not in answer
        self._tell(answer.get("error", ""))

    def _tell(self, complaint: str) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            self._cancel()
            ready(complaint)

    def _ended(self) -> None:
        self._pid = 0
        if self._socket is not None:
            self._receive()
        self._disconnect()
        if self._closed is not None:
            self._finish()
        elif self._ready is not None:
            self._tell("the collector of logs died")
        else:
            self._begin_again()

    def _begin_again(self) -> None:
        """One that cannot even connect must not hold the container up: what waits is lost then."""
        if not self._connected:
            self._waiting.clear()
            self._waiting_bytes = 0
            self._drained()
        self._connected = False
        self._timer = self._loop.after(_AGAIN_S, self._spawn)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._sending = b""

    def _kill(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- what is written ----------------------------------------------------------------------

    def write(self, stream: str, pieces: list[tuple[bytes, int]]) -> None:
        """Pass pieces on, and keep them where that is asked for."""
        if self._cache is not None:
            self._cache.write(stream, pieces)
        number = STREAM_NUMBERS[stream]
        for piece, time_ns in pieces:
            # One by one where some may be dropped; else as they came.
            for part in _lines(piece) if self._buffer_bytes else (piece,):
                self._queue(FRAME.pack(len(part), number, time_ns) + part)
        self._flush()

    def _queue(self, frame: bytes) -> None:
        if self._buffer_bytes and self._waiting and self._waiting_bytes + len(frame) > self._buffer_bytes:
            return  # what comes is dropped, as Docker does, not what waits
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)

    @property
    def full(self) -> bool:
        """True while the container is to be held up."""
        return not self._buffer_bytes and self._waiting_bytes > _HELD_BYTES

    def _flush(self) -> None:
        connection = self._socket
        if connection is None:
            return
        was_full = self.full
        try:
            while self._sending or self._waiting:
                if not self._sending:
                    self._sending = self._waiting.popleft()
                    self._waiting_bytes -= len(self._sending)
                sent = connection.send(self._sending)
                self._sending = self._sending[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._disconnect()  # it has ended, which is told soon
            return
        waits = bool(self._sending)
        self._loop.watch(connection.fileno(), READ | WRITE if waits else READ, self._happened)
        if self._closed is not None and not waits:
            _end(connection)
        if was_full and not self.full:
            self._drained()

    def close(self, done: Callable[[], None] = lambda: None) -> None:
        """No more writes; ``done`` when everything is sent, or it has taken too long."""
        self._cancel()
        self._closed = done
        if not self._pid:
            self._finish()
            return
        self._timer = self._loop.after(_CLOSE_S, self._kill)
        self._flush()

    def _finish(self) -> None:
        self._cancel()
        if self._cache is not None:
            self._cache.close()
        done, self._closed = self._closed, None
        if done is not None:
            done()


def _lines(piece: bytes) -> list[bytes]:
    *lines, rest = piece.split(b"\n")
    whole = [line + b"\n" for line in lines]
    return [*whole, rest] if rest else whole


def _end(connection: socket.socket) -> None:
    """Nothing more comes; no error when the other side has gone."""
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return
