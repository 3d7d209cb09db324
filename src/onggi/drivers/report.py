"""Differences on their way from a worker to the engine.

They leave in packets ``D`` + JSON list of ``[path or member in hex, what, expected, found]``.
"""

from __future__ import annotations

import json
from collections.abc import Callable

__all__ = ["Report", "Send"]

# Bytes of names and words in one packet; a path has at most 4095 bytes, twice that in hex.
_PACKET_BYTES = 32 * 1024

Send = Callable[[bytes], int]


class Report:
    """Gathers differences into packets."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._items: list[tuple[str, str, str, str]] = []
        self._size = 0

    def add(self, name: bytes, what: str, expected: str = "", found: str = "") -> None:
        """One difference, by the path or the verbatim name of a member."""
        self._items.append((name.hex(), what, expected, found))
        self._size += 2 * len(name) + len(what) + len(expected) + len(found)
        if self._size >= _PACKET_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what is left."""
        if self._items:
            self._send(b"D" + json.dumps(self._items).encode())
            self._items.clear()
            self._size = 0
