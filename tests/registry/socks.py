"""A SOCKS5 server in this process: names lead to the servers of a test."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading

from tests.registry.internet import _join
from tests.registry.site import Site

__all__ = ["SocksProxy"]


class SocksProxy:
    """``sites`` maps ``host:port`` to servers; ``asked`` are the addresses that came, ``users`` the pairs.

    ``password`` as ``user:password`` is then required; ``refusal`` is the code of every answer;
    ``greeting`` replaces the first answer.
    """

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.asked: list[str] = []
        self.users: list[str] = []
        self.password = ""
        self.refusal = 0
        self.greeting = b""
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, proxy: SocksProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Way)

    def handle_error(self, request, client_address) -> None:
        """Connections that break are what the tests are about."""


class _Way(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        proxy = self.server.proxy
        if not self._greet(proxy):
            return
        _, _, _, kind = self._read(4)
        raw = self._read({1: 4, 4: 16}.get(kind) or self._read(1)[0])
        name = raw.decode() if kind == 3 else socket.inet_ntop({1: 2, 4: 10}[kind], raw)
        address = f"{name}:{struct.unpack('>H', self._read(2))[0]}"
        proxy.asked.append(address)
        site = proxy.sites.get(address)
        code = proxy.refusal or (0 if site else 4)
        self.request.sendall(bytes([5, code, 0, 1]) + bytes(6))
        if not code:
            with socket.create_connection(("127.0.0.1", site.port)) as there:
                _join(self.request, there)

    def _greet(self, proxy: SocksProxy) -> bool:
        version, count = self._read(2)
        methods = self._read(count)
        if proxy.greeting:
            self.request.sendall(proxy.greeting)
            return False
        if not proxy.password:
            self.request.sendall(bytes([version, 0]))
            return True
        if 2 not in methods:
            self.request.sendall(bytes([version, 0xFF]))
            return False
        self.request.sendall(bytes([version, 2]))
        self._read(1)
        user, password = (self._read(self._read(1)[0]).decode() for _ in range(2))
        proxy.users.append(f"{user}:{password}")
        welcome = proxy.users[-1] == proxy.password
        self.request.sendall(bytes([1, not welcome]))
        return welcome

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.request.recv(count - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data
