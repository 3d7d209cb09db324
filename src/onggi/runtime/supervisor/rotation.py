"""A log file that is left for a new one when it is full: ``<log>``, ``<log>.1`` …, the higher the older.

Source: moby ``loggerutils/logfile.go``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

__all__ = ["RotatingFile"]


class RotatingFile:
    """``max_bytes`` 0 never rotates; ``max_files`` counts the live one; ``compress``: the others by gzip.

    ``whole`` cuts off what a crash left of an entry: it gets the descriptor, and gives the size.
    """

    def __init__(
        self, path: str, whole: Callable[[int], int], *, max_bytes: int, max_files: int, compress: bool
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max(1, max_files)
        self._compress = compress
        self._fd = _open(path)
        self._size = whole(self._fd)

    def has_room(self, size: int) -> bool:
        """True when entries of so many bytes go into this file."""
        return not self._max_bytes or self._size + size <= self._max_bytes

    def append(self, data: bytes) -> None:
        """Write entries to the live file. Raises OSError."""
        self._size += os.write(self._fd, data)

    def append_each(self, entries: Iterable[bytes]) -> None:
        """As Docker does: a file that has reached its size is left before the next entry. Raises OSError."""
        waiting: list[bytes] = []
        size = self._size
        for entry in entries:
            if self._max_bytes and size >= self._max_bytes:
                self.append(b"".join(waiting))
                waiting.clear()
                self._rotate()
                size = self._size
            waiting.append(entry)
            size += len(entry)
        self.append(b"".join(waiting))

    def _rotate(self) -> None:
        try:
            if self._max_files == 1:
                os.ftruncate(self._fd, 0)
                self._size = 0
                return
            self._shift()
            fresh = _open(self._path)
        except OSError:
            return  # a full disk: go on in the old file
        os.close(self._fd)
        self._fd, self._size = fresh, 0
        if self._compress:
            _compress(self._named(1))

    def _shift(self) -> None:
        """Every file gets the next number; the oldest one goes."""
        for number in range(self._max_files - 1, 0, -1):
            newer, older = self._named(number - 1), self._named(number)
            for end in ("", ".gz"):
                if os.path.exists(newer + end):
                    os.rename(newer + end, older + end)
                elif os.path.exists(older + end):
                    os.unlink(older + end)

    def _named(self, number: int) -> str:
        return f"{self._path}.{number}" if number else self._path

    def close(self) -> None:
        """No more writes."""
        os.close(self._fd)


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _compress(path: str) -> None:
    """Best effort: the log is whole without."""
    try:
        _write_compressed(path)
    except OSError:
        return


def _write_compressed(path: str) -> None:
    import zlib  # only who asks for it pays for it

    packer = zlib.compressobj(wbits=31)
    with open(path, "rb") as source, open(f"{path}.gz.tmp", "wb") as target:
        while piece := source.read(256 * 1024):
            target.write(packer.compress(piece))
        target.write(packer.flush())
    os.rename(f"{path}.gz.tmp", f"{path}.gz")
    os.unlink(path)
