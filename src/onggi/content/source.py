"""What a download needs of a registry: bytes from an offset on."""

from __future__ import annotations

from typing import Protocol

from onggi.cancel import CancelToken

__all__ = ["RangeBody", "RangeSource"]


class RangeBody(Protocol):
    """An open answer.

    ``start`` is the offset of its first byte: 0 when the server passed over the range.
    ``end`` (exclusive) is where the server says that it will stop, ``total`` the blob's whole
    size as the server tells it; None where it does not say.
    """

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int | None: ...
    @property
    def total(self) -> int | None: ...

    def read_into(self, view: memoryview) -> int:
        """Fill ``view`` with the next bytes, perhaps in part; 0 at the end.

        Raises Unavailable when the connection breaks, Cancelled, DeadlineExceeded.
        """

    def close(self) -> None:
        """Give the connection back, or drop it when the answer is not at its end; may be called twice."""


class RangeSource(Protocol):
    """One blob at its registry and the registry's mirrors; thread-safe."""

    def open(self, start: int, end: int | None, cancel: CancelToken) -> RangeBody:
        """Ask for the bytes from ``start`` on, up to ``end`` (exclusive) where given.

        The connection is broken off when ``cancel`` fires. Raises what the source's errors
        are; ``retryable`` tells whether asking again can help, Throttled how soon.
        """

    def reject(self) -> bool:
        """The bytes were not the blob's: never ask there again. False when no other place is left."""
