"""Collectors of logs that write down what they get: sockets of every kind, and HTTP."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.peers.processes import wait_until

__all__ = ["Datagrams", "Events", "Stream", "closing", "unpack"]


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


class Datagrams:
    """A socket of datagrams: UDP on 127.0.0.1, or at a path. ``received`` are whole ones, and files sent."""

    def __init__(self, path: Path | None = None) -> None:
        self.received: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0) if path is None else str(path))
        self.address = _address(self._socket) if path is None else str(path)
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 18, 4)
            except OSError:
                return
            for fd in descriptors:
                data += os.pread(fd, 1 << 24, 0)
                os.close(fd)
            self.received.append(data)

    def wait(self, count: int) -> list[bytes]:
        """Until so many have come."""
        wait_until(lambda: len(self.received) >= count, f"{count} datagrams")
        return self.received

    def close(self) -> None:
        self._socket.close()


class Stream:
    """A stream socket, by TCP (and TLS) or at a path; ``received`` is all that came on all connections.

    ``acknowledge`` answers each read.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        acknowledge=None,
        reads: bool = True,
    ) -> None:
        self.received = bytearray()
        self.connections: list[socket.socket] = []
        self._acknowledge = acknowledge
        self._tls = tls
        self._reads = reads
        self._socket = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port) if path is None else str(path))
        self._socket.listen()
        self.address = _address(self._socket) if path is None else str(path)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self.connections.append(connection)
            if self._reads:
                threading.Thread(target=self._receive, args=(connection,), daemon=True).start()

    def _receive(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while data := connection.recv(1 << 16):
                self.received += data
                if self._acknowledge is not None:
                    connection.sendall(self._acknowledge(data))

    def wait(self, ends: bytes) -> bytes:
        """Until that has come."""
        wait_until(lambda: ends in self.received, repr(ends))
        return bytes(self.received)

    def close(self) -> None:
        """Nobody listens any more, and every connection breaks."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class Events:
    """Splunk's HTTP event collector: ``requests`` are (method, path, headers, body as it was meant)."""

    def __init__(self, *, status: int = 200) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = status
        events = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                events.requests.append((self.command, self.path, dict(self.headers.items()), body))
                self.send_response(events.status)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"said")

            do_OPTIONS = do_POST = _serve  # noqa: N815  http.server's names

            def log_message(self, *words: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def posted(self) -> bytes:
        """All events, one after the other."""
        return b"".join(body for method, _, _, body in self.requests if method == "POST")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def closing(listener) -> Iterator:
    """The listener, closed at the end."""
    try:
        yield listener
    finally:
        listener.close()


def unpack(data: bytes) -> list[object]:
    """MessagePack values, one after the other: arrays, maps, strings, 32-bit numbers, Fluentd's times."""
    values, position = [], 0
    while position < len(data):
        value, position = _unpack(data, position)
        values.append(value)
    return values


def _unpack(data: bytes, at: int) -> tuple[object, int]:
    first = data[at]
    if first & 0xF0 in (0x80, 0x90):
        count, items = first & 0x0F, []
        at += 1
        for _ in range(count * (2 if first < 0x90 else 1)):
            item, at = _unpack(data, at)
            items.append(item)
        return (dict(zip(items[::2], items[1::2], strict=True)) if first < 0x90 else items), at
    if first & 0xE0 == 0xA0:
        return data[at + 1 : at + 1 + (first & 0x1F)], at + 1 + (first & 0x1F)
    if first in (0xD9, 0xDA):
        head = at + (2 if first == 0xD9 else 3)
        size = int.from_bytes(data[at + 1 : head])
        return data[head : head + size], head + size
    if first == 0xD2:
        return int.from_bytes(data[at + 1 : at + 5]), at + 5
    assert data[at : at + 2] == b"\xd7\x00", data[at:]
    seconds, ns = (int.from_bytes(data[start : start + 4]) for start in (at + 2, at + 6))
    return (seconds, ns), at + 10
