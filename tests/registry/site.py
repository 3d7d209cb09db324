"""An HTTP server in this process that does what a test says, misbehaviour included."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Handler", "Reply", "Request", "Site"]

_PIECE_BYTES = 16 * 1024


@dataclass(frozen=True)
class Request:
    """One request as it came; ``peer`` tells connections apart."""

    method: str
    target: str
    headers: Message
    body: bytes
    peer: tuple[str, int]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters in the order in which they were sent."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def authorization(self) -> str | None:
        return self.headers["Authorization"]

    @property
    def first_byte(self) -> int | None:
        """Where a ``Range: bytes=N-…`` begins; None without one."""
        value = self.headers["Range"]
        return None if value is None else int(value.removeprefix("bytes=").partition("-")[0])


@dataclass
class Reply:
    """One answer. ``length`` is what Content-Length says: the truth, another number, or None for no header.

    ``cut_after``: bytes of the body after which the connection ends without a word;
    ``bytes_per_s``: how fast the body comes; ``hold``: after that many bytes nothing comes any
    more, and the connection stays open.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    length: int | None = -1
    chunked: bool = False
    cut_after: int | None = None
    bytes_per_s: float | None = None
    hold: int | None = None


Handler = Callable[[Request], Reply]


class Site:
    """A server on a free port of 127.0.0.1; ``requests`` are those that came, in order."""

    def __init__(self, answer: Handler, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._server = _Server(self, tls)
        self.scheme = "http" if tls is None else "https"
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def asked(self, path: str, method: str = "GET") -> list[Request]:
        """The requests for a path."""
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, site: Site, tls: ssl.SSLContext | None) -> None:
        self.site = site
        self._tls = tls
        super().__init__(("127.0.0.1", 0), _Conversation)

    def finish_request(self, request, client_address) -> None:
        # The handshake belongs to the connection's own thread: a client that refuses our
        # certificate must not keep others waiting.
        try:
            if self._tls is not None:
                request = self._tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
        except OSError:
            pass
        finally:
            request.close()

    def handle_error(self, request, client_address) -> None:
        """Clients that go away are part of the tests; anything else shows in the test itself."""


class _Conversation(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: the second must not wait until the first is acknowledged.
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers, body, self.client_address)
        self.server.site.requests.append(request)
        self._send(self.server.site.answer(request))

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status, reply.reason)
        for name, value in reply.headers.items():
            for line in value.split("\n"):
                self.send_header(name, line)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.length is not None:
            self.send_header("Content-Length", str(len(reply.body) if reply.length < 0 else reply.length))
        else:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(reply)

    def _send_body(self, reply: Reply) -> None:
        for piece in _pieces(reply):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
            if reply.bytes_per_s:
                time.sleep(len(piece) / reply.bytes_per_s)
            if self.server.site.stopping.is_set():
                break
        if reply.hold is not None:
            self.server.site.stopping.wait()
        if reply.cut_after is not None or reply.hold is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif reply.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments) -> None:
        pass


def _pieces(reply: Reply):
    ends = [end for end in (reply.cut_after, reply.hold) if end is not None]
    body = memoryview(reply.body)[: min(ends, default=len(reply.body))]
    size = _PIECE_BYTES if reply.bytes_per_s is None else max(1, int(reply.bytes_per_s / 50))
    for start in range(0, len(body), size):
        yield body[start : start + size].tobytes()
