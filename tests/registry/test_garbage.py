"""Servers that speak no HTTP, or half of it: a clear error of one line, soon."""

from __future__ import annotations

import random
import socketserver
import threading

import pytest

from onggi.errors import OnggiError
from onggi.oci.reference import Reference

_OK = b"HTTP/1.1 200 OK\r\n"
_MANIFEST = b"Content-Type: application/vnd.oci.image.manifest.v1+json\r\n"


@pytest.fixture
def answering():
    """``answering(raw)`` gives the address of a server that answers every request with these bytes."""
    servers = []

    def start(raw: bytes) -> str:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                # Read the request's head, whatever it is, so that closing resets nothing.
                self.connection.settimeout(5)
                if self.connection.recv(65536):
                    self.wfile.write(raw)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda request, client_address: None
        threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 \x1b[2J\r\n\r\n",
        b"HTTP/1.1 500 \x1b[2J\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
        _OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        _OK + b"".join(b"X%d: y\r\n" % n for n in range(1000)) + b"\r\n",
        _OK + b"no colon\r\n\r\nbody",
        _OK + _MANIFEST + b"Content-Length: -5\r\n\r\n{}",
        _OK + _MANIFEST + b"Content-Length: abc\r\n\r\n{}",
        _OK + _MANIFEST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}{}{}",
        _OK + _MANIFEST + b"Content-Length: 5, 6\r\n\r\n{}{}{}",
        _OK + _MANIFEST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        _OK + _MANIFEST + b"Content-Length: 100\r\n\r\n{}",
        _OK + _MANIFEST + b"Transfer-Encoding: chunked\r\n\r\n",
        _OK + _MANIFEST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        _OK + _MANIFEST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n0\r\n\r\n",
        _OK + _MANIFEST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{}",
        _OK + _MANIFEST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000,
        random.Random(7).randbytes(5000),
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_an_error_of_one_line(world, answering, cancel, raw):
    host = answering(raw)
    digest = "sha256:" + "0" * 64
    reference = Reference.parse(f"{host}/some/image@{digest}")
    with pytest.raises(OnggiError) as caught:
        world.client().repository(reference).resolve(reference, cancel)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert cancel.remaining_s() > 40
