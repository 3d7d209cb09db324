"""Receive one blob into its partial file, verified as it comes.

The calling thread keeps the *frontier*: the end of the contiguous part. Behind it every
byte is hashed and may be read by whoever follows the file. Where the thread receives at
the frontier itself, it hashes what it has in hand; where another connection was ahead, it
hashes from the file (docker-engine §2.8).
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from hashlib import new as new_hash
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.content.errors import BlobDiskFull, BlobMismatch, BlobTooLong
from onggi.content.ratelimit import RateLimiter
from onggi.content.source import RangeBody, RangeSource
from onggi.content.spans import Span, load_spans, save_spans, steal
from onggi.errors import OnggiError, Unavailable
from onggi.oci.descriptor import Descriptor

__all__ = ["Download", "ShortBody"]

# Bytes asked of the socket at once.
_READ_BYTES = 256 * 1024
# Seconds between two flushes of the partial file: what a power cut can cost.
_CHECKPOINT_S = 5.0
# Seconds a first connection has to show its speed, and bytes per second below which others help.
_TRIAL_S, _SLOW_BYTES_PER_S = 1.0, 40_000_000
# Further connections of one blob, and the least bytes worth a connection.
_HELPERS, _LEAST_SPAN_BYTES = 3, 8 * 1024 * 1024
# Seconds added to the wait with each failed attempt (Docker: 5, 10, 15, …).
_BACKOFF_S = 5


class ShortBody(Unavailable):
    """The connection ended before the blob did."""

    def __init__(self, descriptor: Descriptor, position: int) -> None:
        super().__init__(
            f"download {descriptor.digest}: connection cut after {position} of {descriptor.size} bytes",
            hint="pull again: it goes on from there",
        )


class Download:
    """One blob's way into ``partial``; used once."""

    def __init__(
        self,
        descriptor: Descriptor,
        source: RangeSource,
        partial: Path,
        *,
        on_progress: Callable[[int], None],
        on_retry: Callable[[int], None],
        limiter: RateLimiter | None,
        cancel: CancelToken,
        attempts: int,
        parallel_min_bytes: int,
    ) -> None:
        self._descriptor = descriptor
        self._source = source
        self._partial = partial
        self._sidecar = partial.with_suffix(".spans")
        self._on_progress = on_progress
        self._on_retry = on_retry
        self._limiter = limiter
        self._cancel = cancel
        self._attempts = attempts
        self._parallel_min_bytes = parallel_min_bytes
        self._lock = threading.Condition()
        self._helpers: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._stopped = False
        self._fd = -1
        self._spans: list[Span] = []
        self._frontier = 0
        self._hash = new_hash(descriptor.digest.algorithm)
        self._checkpoint = time.monotonic()

    def run(self) -> None:
        """Receive and verify; a mismatch of a resumed blob starts over once.

        Raises BlobMismatch, BlobTooLong, BlobDiskFull, Cancelled, or the source's error after
        the last attempt. The partial file stays, except after a mismatch.
        """
        self._fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._spans = load_spans(self._partial, self._sidecar, self._descriptor.size)
            resumed = any(span.position > span.start for span in self._spans)
            if self._receive_all():
                return
            self._start_over()
            if not resumed or not self._receive_all():
                self._start_over()
                raise BlobMismatch(self._descriptor.digest)
        except OSError as error:
            raise self._translate(error) from error
        finally:
            os.close(self._fd)

    def _start_over(self) -> None:
        os.ftruncate(self._fd, 0)
        self._sidecar.unlink(missing_ok=True)
        self._spans = [Span(0, 0, self._descriptor.size)]
        self._on_progress(0)

    def _translate(self, error: OSError) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            missing = sum(span.missing for span in self._spans)
            return BlobDiskFull(str(self._partial), missing)
        return error

    # --- the frontier ---------------------------------------------------------------------

    def _receive_all(self) -> bool:
        """Everything up to the blob's size; True when the digest is right."""
        digest = self._descriptor.digest
        self._hash = new_hash(digest.algorithm)
        self._frontier = 0
        try:
            while self._frontier < self._descriptor.size:
                self._cancel.check()
                self._advance()
        finally:
            self._end_helpers()
        self._sidecar.unlink(missing_ok=True)
        return self._hash.hexdigest() == digest.hex

    def _advance(self) -> None:
        span = next(span for span in self._spans if span.start <= self._frontier < span.end)
        if span.position > self._frontier:
            self._hash_from_file(span.position)
            return
        with self._lock:
            mine = not span.owned
            span.owned = True
            if not mine:
                if self._error is not None:
                    raise self._error
                self._lock.wait(0.2)
        if mine:
            self._with_retries(span, at_frontier=True)

    def _hash_from_file(self, end: int) -> None:
        while self._frontier < end:
            piece = os.pread(self._fd, min(_READ_BYTES * 4, end - self._frontier), self._frontier)
            if not piece:
                raise ShortBody(self._descriptor, self._frontier)
            self._hash.update(piece)
            self._frontier += len(piece)
            self._cancel.check()
        self._on_progress(self._frontier)

    # --- receiving ------------------------------------------------------------------------

    def _with_retries(self, span: Span, *, at_frontier: bool) -> None:
        failures = 0
        while span.missing and not self._stopped:
            before = span.position
            try:
                self._receive(span, at_frontier=at_frontier)
            except OnggiError as error:
                failures = 1 if span.position > before else failures + 1
                if not error.retryable or failures >= self._attempts:
                    raise
                self._wait(failures * _BACKOFF_S)
        span.owned = False

    def _wait(self, seconds: int) -> None:
        for left in range(seconds, 0, -1):
            self._on_retry(left)
            self._cancel.sleep(1)

    def _receive(self, span: Span, *, at_frontier: bool) -> None:
        size = self._descriptor.size
        end = span.end if span.end < size else None
        body = self._source.open(span.position, end, self._cancel)
        forget = self._cancel.on_cancel(body.close)
        try:
            if body.total is not None and body.total != size:
                raise BlobTooLong(self._descriptor.digest, size, body.total)
            self._skip(body, span.position - body.start)
            self._copy(body, span, at_frontier=at_frontier)
        finally:
            forget()
            body.close()
        self._cancel.check()

    def _skip(self, body: RangeBody, amount: int) -> None:
        """Pass over what is held already: the server ignored the Range."""
        while amount > 0:
            piece = body.read(min(_READ_BYTES, amount))
            if not piece:
                raise ShortBody(self._descriptor, 0)
            amount -= len(piece)

    def _copy(self, body: RangeBody, span: Span, *, at_frontier: bool) -> None:
        started, begun_at = time.monotonic(), span.position
        while span.missing and not self._stopped:
            piece = body.read(_READ_BYTES)
            if not piece:
                self._cancel.check()
                raise ShortBody(self._descriptor, span.position)
            if self._limiter is not None:
                self._limiter.take(len(piece), self._cancel)
            self._store(span, piece, at_frontier=at_frontier)
            if at_frontier and not self._helpers:
                self._consider_helpers(span, time.monotonic() - started, span.position - begun_at)
        if span.end == self._descriptor.size and not span.missing and body.read(1):
            raise BlobTooLong(self._descriptor.digest, self._descriptor.size, self._descriptor.size + 1)

    def _store(self, span: Span, piece: bytes, *, at_frontier: bool) -> None:
        with self._lock:
            piece = piece[: span.missing]
        _pwrite_all(self._fd, piece, span.position)
        if at_frontier:
            self._hash.update(piece)
            self._frontier += len(piece)
        with self._lock:
            span.position += len(piece)
            self._lock.notify_all()
        if at_frontier:
            self._on_progress(self._frontier)
        self._flush_sometimes()

    def _flush_sometimes(self) -> None:
        now = time.monotonic()
        if now - self._checkpoint < _CHECKPOINT_S:
            return
        self._checkpoint = now
        os.fdatasync(self._fd)
        self._save()

    def _save(self) -> None:
        with self._lock:
            if len(self._spans) > 1:
                save_spans(self._sidecar, self._spans)

    # --- further connections --------------------------------------------------------------

    def _consider_helpers(self, span: Span, elapsed_s: float, received: int) -> None:
        if elapsed_s < _TRIAL_S or span.missing < self._parallel_min_bytes:
            return
        if self._limiter is None and received / elapsed_s < _SLOW_BYTES_PER_S:
            for _ in range(_HELPERS):
                thread = threading.Thread(target=self._help, daemon=True)
                self._helpers.append(thread)
                thread.start()

    def _help(self) -> None:
        while not self._stopped:
            with self._lock:
                span = steal(self._spans, _LEAST_SPAN_BYTES)
            if span is None:
                return
            self._save()
            try:
                self._with_retries(span, at_frontier=False)
            except BaseException as error:
                with self._lock:
                    self._error = self._error or error
                    self._lock.notify_all()
                return

    def _end_helpers(self) -> None:
        self._stopped = bool(self._helpers)
        for thread in self._helpers:
            thread.join()
        self._helpers.clear()
        self._stopped = False
        self._save()


def _pwrite_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
