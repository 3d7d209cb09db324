"""Pieces made one thread ahead of who uses them: reading and compressing beside sending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

__all__ = ["Ahead"]

# Pieces that may wait: about 2 MiB of a compressed layer.
_WAITING = 8
# Seconds between two looks whether anybody still wants the pieces.
_POLL_S = 0.2


class Ahead:
    """``with Ahead(pieces) as ahead: for piece in ahead``; the source is closed at the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING)
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onggi-ahead", daemon=True)

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return self._taken()

    def __exit__(self, *exception: object) -> None:
        self._unwanted.set()
        self._thread.join()

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for piece in self._pieces:
                if not self._put(piece):
                    break
        except BaseException as error:
            end = error
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
        self._put(end)

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._unwanted.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def _taken(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
