"""A TCP line to a server that breaks where a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

__all__ = ["Line"]


class Line:
    """A TCP line to a registry; ``cut(n)`` tells after how many bytes its n-th connection breaks, or None."""

    def __init__(self, port: int, cut: Callable[[int], int | None]) -> None:
        self._port = port
        self._cut = cut
        self.cuts = 0
        self._count = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            self._count += 1
            limit = self._cut(self._count)
            threading.Thread(target=self._carry, args=(near, far, limit), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, None), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(16384):
                passed += len(data)
                if limit is not None and passed > limit:
                    self.cuts += 1
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
