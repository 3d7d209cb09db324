"""A worker's input: the growing blob as uncompressed, hashed pieces; and its walls.

Four lanes run side by side: the engine receives the blob into a file and says how far it is; a
thread here inflates, one hashes (both without the GIL); the worker's own thread takes the pieces.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

from onggi.archive.compression import decompressed, load, sniff
from onggi.drivers.packets import NUMBER, Abandoned
from onggi.linux.process import drop_capabilities

__all__ = ["CAPABILITIES", "Flusher", "Follower", "Stream", "confine"]

# Bytes read from the blob at once: large enough that inflate runs without the GIL, small
# enough that a small layer starts early.
_READ_BYTES = 256 * 1024
# Seconds between two reports of how far a worker is: nobody is shown more (Docker's limit is 100 ms),
# and every one wakes two processes up. An engine that has gone is noticed by it too.
_REPORT_S = 0.05
# Pieces of at most 1 MiB that may wait between the inflating thread and each of the others.
_QUEUE_PIECES = 4
# Bytes of tar between two flushes on the way: a fraction of a second of any disk.
_FLUSH_BYTES = 32 * 1024 * 1024
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_SYS_ADMIN",
)
"""What unpacking as root needs: owners, modes, devices, file capabilities, trusted.* attributes."""


def confine(root: int, capabilities: Iterable[str] = CAPABILITIES) -> None:
    """Let this process see the layer's directory and nothing else, with the rights it needs.

    The directory descriptors of ``tree`` already keep every member inside; this is the
    second wall. No module may be imported behind it: the import path would be resolved in
    a tree that a stranger wrote.
    """
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.meta_path.clear()
    os.umask(0)
    if os.geteuid() == 0:
        os.fchdir(root)
        try:
            os.chroot(".")
        except PermissionError:
            pass
        drop_capabilities(capabilities)


class Follower:
    """Reads a blob that is still growing; iterates pieces of at most ``_READ_BYTES``.

    It begins at ``start`` of its file; all positions are counted from there.
    """

    def __init__(self, control: socket.socket, blob: int, start: int = 0) -> None:
        self._control = control
        self._blob = blob
        self._start = start
        self._available = 0
        self._complete = False
        self._position = 0
        self._reported_at = 0.0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            while self._position == self._available:
                if self._complete:
                    self._report()
                    return
                self._listen()
            length = min(_READ_BYTES, self._available - self._position)
            piece = os.pread(self._blob, length, self._start + self._position)
            if not piece:
                raise Abandoned
            self._position += len(piece)
            if time.monotonic() - self._reported_at >= _REPORT_S:
                self._report()
            yield piece

    def _listen(self) -> None:
        packet = self._control.recv(16)
        if not packet:
            raise Abandoned
        letter, self._available = NUMBER.unpack(packet)
        self._complete = letter == b"E"

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        try:
            self._control.send(NUMBER.pack(b"P", self._position), socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass


class Flusher:
    """Lets the disk work while a layer is written, so that the flush at its end finds little left.

    Nobody relies on these flushes; but an error that the kernel tells here it tells nobody
    again, so it must not be lost. ``flush`` is called in a thread of its own.
    """

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._next = _FLUSH_BYTES
        self._wanted = threading.Event()
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def note(self, position: int) -> None:
        """So many bytes have been written."""
        if position < self._next:
            return
        self._next = position + _FLUSH_BYTES
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            try:
                self._flush()
            except OSError as error:
                self._error = error
                return

    def check(self) -> None:
        """Raise what a flush ran into."""
        if self._error is not None:
            raise self._error


class _Handover:
    """Pieces on their way from one thread to another, a few at most; the end may be an error."""

    def __init__(self) -> None:
        self._queue: deque[bytes | BaseException | None] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: bytes | BaseException | None) -> None:
        """The next piece, once there is room for it; None, or an error to be raised, at the end."""
        with self._changed:
            while len(self._queue) >= _QUEUE_PIECES and not self._closed:
                self._changed.wait()
            if not self._closed:
                self._queue.append(item)
                self._changed.notify()

    def close(self) -> None:
        """Nobody takes any more: what is put from here on is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                item = self._queue.popleft()
                self._changed.notify()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item


class Stream:
    """The uncompressed tar as pieces; inflated one thread ahead of the reader, hashed in another.

    ``take`` is given every piece in the thread that hashes, ``at_end`` called there behind the
    last one.
    """

    def __init__(
        self,
        source: Follower,
        *,
        take: Callable[[bytes], None] | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        self._take = take
        self._at_end = at_end
        self._late: BaseException | None = None
        pieces = iter(source)
        first = next(pieces, b"")
        self.compression = sniff(first)
        load(self.compression)
        self._pieces = decompressed(_chain(first, pieces))
        self._hash = sha256()
        self.size_bytes = 0
        """Of the stream; whole once the reader has met its end."""
        self._to_reader, self._to_hash = _Handover(), _Handover()
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._inflate, self._digest)
        ]
        for thread in self._threads:
            thread.start()

    def _inflate(self) -> None:
        end: BaseException | None = None
        try:
            for piece in self._pieces:
                self.size_bytes += len(piece)
                self._to_hash.put(piece)
                self._to_reader.put(piece)
                if self._late is not None:
                    raise self._late
        except BaseException as error:
            end = error
        self._to_hash.put(end)
        self._to_reader.put(end)

    def _digest(self) -> None:
        try:
            for piece in self._to_hash:
                self._hash.update(piece)
                if self._take is not None:
                    self._take(piece)
            if self._at_end is not None:
                self._at_end()
        except BaseException as error:
            self._late = error
            # The inflating thread may be waiting for room; it meets the error at its next piece.
            self._to_hash.close()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._to_reader)

    def finish(self) -> None:
        """Wait for the threads; call after the last piece. Raises what ``take`` or ``at_end`` raised."""
        for thread in self._threads:
            thread.join()
        if self._late is not None:
            raise self._late

    @property
    def diff_id(self) -> str:
        """sha256 of every byte of the stream; whole only after :meth:`finish`."""
        return f"sha256:{self._hash.hexdigest()}"


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest
