"""A small internet behind an HTTP proxy: names of hosts lead to servers in this process.

Loopback addresses are never verified and never proxied (Docker's rule), so tests of TLS and of
proxies need real names. A client that uses this proxy meets them; nothing leaves the machine.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from urllib.parse import urlsplit

from tests.registry.site import Site

__all__ = ["Internet"]


class Internet:
    """A proxy for ``CONNECT`` and for plain requests; ``sites`` maps ``host:port`` to servers.

    ``passed`` are the first lines of what came; ``passwords`` the ``Proxy-Authorization`` headers.
    """

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.passed: list[str] = []
        self.passwords: list[str] = []
        self.password: str | None = None
        self._server = _Proxy(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, internet: Internet) -> None:
        self.internet = internet
        super().__init__(("127.0.0.1", 0), _Way)

    def handle_error(self, request, client_address) -> None:
        """Connections that break are what the tests are about."""


class _Way(socketserver.StreamRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        internet = self.server.internet
        first = self.rfile.readline().decode("latin-1").strip()
        headers = list(iter(self.rfile.readline, b"\r\n"))
        if not first:
            return
        internet.passed.append(first)
        internet.passwords += [
            line.decode().partition(":")[2].strip()
            for line in headers
            if line.lower().startswith(b"proxy-authorization")
        ]
        if internet.password is not None and internet.password not in internet.passwords:
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        self._pass_on(first, headers)

    def _pass_on(self, first: str, headers: list[bytes]) -> None:
        method, target, version = first.split(" ")
        address = target if method == "CONNECT" else _address(target)
        site = self.server.internet.sites.get(address)
        if site is None:
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", site.port)) as there:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(target)
                rest = parts.path + (f"?{parts.query}" if parts.query else "")
                kept = [line for line in headers if not line.lower().startswith((b"proxy-", b"connection"))]
                there.sendall(
                    b"".join([f"{method} {rest} {version}\r\n".encode(), *kept, b"Connection: close\r\n\r\n"])
                )
            _join(self.connection, there)


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 80}"


def _join(here: socket.socket, there: socket.socket) -> None:
    """Carry bytes both ways until either side is done."""
    back = threading.Thread(target=_carry, args=(there, here), daemon=True)
    back.start()
    _carry(here, there)
    back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
