"""Flush a file while it is written, so that the flush at its end finds little left."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

__all__ = ["flushed_meanwhile"]

# Bytes between two flushes: a fraction of a second of any disk.
_FLUSH_BYTES = 32 * 1024 * 1024


class _Written:
    """Counts what is written and asks for a flush now and then."""

    def __init__(self, file: BinaryIO, wanted: threading.Semaphore) -> None:
        self._file = file
        self._wanted = wanted
        self._unflushed = 0

    def write(self, data: bytes, /) -> int:
        self._unflushed += len(data)
        if self._unflushed >= _FLUSH_BYTES:
            self._unflushed = 0
            self._wanted.release()
        return self._file.write(data)


@contextmanager
def flushed_meanwhile(file: BinaryIO) -> Iterator[_Written]:
    """What is written in the block goes to ``file``, and on to its disk beside the writing.

    Nobody may rely on these flushes but to save time; an error that one of them runs into is
    raised at the end of the block, since the kernel tells it only once.
    """
    wanted = threading.Semaphore(0)
    ended = threading.Event()
    errors: list[OSError] = []

    def flush() -> None:
        while wanted.acquire() and not ended.is_set():
            try:
                os.fdatasync(file.fileno())
            except OSError as error:
                errors.append(error)
                return

    thread = threading.Thread(target=flush, name="onggi-flush", daemon=True)
    thread.start()
    try:
        yield _Written(file, wanted)
    finally:
        ended.set()
        wanted.release()
        thread.join()
    if errors:
        raise errors[0]
