"""How a terminal comes from the runtime: it makes the pty inside, and sends its other side out."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from onggi.runtime.supervisor.loop import READ, Loop

__all__ = ["Console"]


class Console:
    """A socket for ``--console-socket``; hands the one descriptor that comes to ``taken``."""

    def __init__(self, loop: Loop, directory: str, taken: Callable[[int], None]) -> None:
        self._loop = loop
        self._taken = taken
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = f"console-{os.urandom(4).hex()}"
        # Short whatever the directory's name: an address of AF_UNIX has 107 bytes.
        self.path = f"/proc/{os.getpid()}/fd/{self._directory}/{self._name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(self.path)
        self._socket.listen(1)
        loop.watch(self._socket.fileno(), READ, self._accept)

    def _accept(self, events: int) -> None:
        connection, _ = self._socket.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        for fd in descriptors:
            os.set_inheritable(fd, False)
            self._taken(fd)

    def close(self) -> None:
        """The runtime has done its part."""
        self._loop.unwatch(self._socket.fileno())
        self._take_late()
        self._socket.close()
        try:
            os.unlink(self._name, dir_fd=self._directory)
        except FileNotFoundError:
            pass
        os.close(self._directory)

    def _take_late(self) -> None:
        """The runtime may have ended before the loop saw the connection."""
        self._socket.setblocking(False)
        try:
            self._accept(READ)
        except BlockingIOError:
            return
