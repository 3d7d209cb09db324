"""What a download needs of a registry: bytes from an offset on."""

from __future__ import annotations

from typing import Protocol

from onggi.cancel import CancelToken

__all__ = ["RangeBody", "RangeSource"]


class RangeBody(Protocol):
    """An open response. ``start`` is the offset of its first byte: 0 if the Range was ignored.

    ``total`` is the blob's whole size as the server tells it, or None.
    """

    start: int
    total: int | None

    def read(self, limit_bytes: int) -> bytes:
        """The next bytes, at most ``limit_bytes``; empty at the end. Raises Unavailable when cut."""

    def close(self) -> None:
        """Let go of the connection; safe to call twice and from another thread."""


class RangeSource(Protocol):
    """One blob at its registry."""

    def open(self, start: int, end: int | None, cancel: CancelToken) -> RangeBody:
        """Ask for the bytes from ``start`` on, up to ``end`` (exclusive) where given."""
