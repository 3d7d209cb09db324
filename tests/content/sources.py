"""A blob's source without a network: says what it is told to, once per request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from onggi.cancel import CancelToken
from onggi.errors import Cancelled
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest

__all__ = ["Body", "Source", "describe"]


def describe(data: bytes) -> Descriptor:
    return Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", Digest.of(data), len(data))


@dataclass
class Body:
    """An answer over ``data``; ``fail`` is raised when it is used up, ``gate`` is passed before each read."""

    data: bytes
    start: int = 0
    end: int | None = None
    total: int | None = None
    fail: Exception | None = None
    piece_bytes: int = 1 << 20
    gate: Callable[[], None] | None = None
    closed: bool = False
    position: int = 0

    def read_into(self, view: memoryview) -> int:
        if self.gate is not None:
            self.gate()
        piece = self.data[self.position : self.position + min(len(view), self.piece_bytes)]
        if not piece and self.fail is not None:
            raise self.fail
        view[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

    def close(self) -> None:
        self.closed = True


Answer = Callable[[int, int | None], Body]


@dataclass
class Source:
    """Serves ``data`` with ranges, except where ``answers`` has something else for the next requests.

    ``asked`` are the ranges; ``others`` is how many further places :meth:`reject` can name.
    """

    data: bytes
    answers: list[Answer | Exception] = field(default_factory=list)
    asked: list[tuple[int, int | None]] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    others: int = 0
    rejected: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, start: int, end: int | None, cancel: CancelToken) -> Body:
        if cancel.cancelled:
            raise Cancelled("operation cancelled")
        with self.lock:
            self.asked.append((start, end))
            answer = self.answers.pop(0) if self.answers else self.whole
            if isinstance(answer, Exception):
                raise answer
            body = answer(start, end)
            self.bodies.append(body)
        return body

    def whole(self, start: int, end: int | None) -> Body:
        last = len(self.data) if end is None else end
        return Body(self.data[start:last], start, last, len(self.data))

    def reject(self) -> bool:
        self.rejected += 1
        return self.rejected <= self.others
