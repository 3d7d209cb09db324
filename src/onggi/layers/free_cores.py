"""Cores that verification has nothing left to do on, lent to the workers that are not done yet."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from onggi.drivers.packets import CORE_FREE

__all__ = ["FreeCores"]


class FreeCores:
    """Thread-safe. ``free`` cores are there from the start; a worker is told of one at most."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._lock = threading.Lock()
        self._waiting: list[socket.socket] = []

    def add(self) -> None:
        """One more."""
        with self._lock:
            self._free += 1
            self._lend()

    @contextmanager
    def wanted_by(self, control: socket.socket) -> Iterator[None]:
        """The worker behind ``control`` may have one, now or later, until the block ends."""
        with self._lock:
            self._waiting.append(control)
            self._lend()
        try:
            yield
        finally:
            with self._lock:
                if control in self._waiting:
                    self._waiting.remove(control)
                else:
                    self._free += 1
                    self._lend()

    def _lend(self) -> None:
        while self._free > 0 and self._waiting:
            self._free -= 1
            try:
                self._waiting.pop(0).send(CORE_FREE, socket.MSG_DONTWAIT)
            except OSError:
                pass  # it has ended, which who listens to it is about to see
