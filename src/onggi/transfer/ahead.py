"""Make the pieces of a stream one thread ahead of who takes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator

__all__ = ["ahead"]


def ahead(pieces: Iterable[bytes], depth: int = 8) -> Iterator[bytes]:
    """``pieces``, at most ``depth`` of them waiting; their error is raised where it belongs.

    Closing the generator ends the thread, which then closes ``pieces``.
    """
    lane = _Lane(depth)
    thread = threading.Thread(target=lane.fill, args=(pieces,), daemon=True)
    thread.start()
    try:
        yield from lane.drain()
    finally:
        lane.stop()
        thread.join()


class _Lane:
    """What lies between the two threads."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._items: deque[bytes | BaseException | None] = deque()
        self._changed = threading.Condition()
        self._stopped = False

    def fill(self, pieces: Iterable[bytes]) -> None:
        end: BaseException | None = None
        try:
            for piece in pieces:
                if not self._put(piece):
                    break
        except BaseException as error:
            end = error
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        with self._changed:
            self._items.append(end)
            self._changed.notify()

    def _put(self, piece: bytes) -> bool:
        with self._changed:
            while len(self._items) >= self._depth and not self._stopped:
                self._changed.wait()
            self._items.append(piece)
            self._changed.notify()
            return not self._stopped

    def drain(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                while not self._items:
                    self._changed.wait()
                item = self._items.popleft()
                self._changed.notify()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
