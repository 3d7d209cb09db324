"""Receive one blob into its partial file, verified as it comes.

The calling thread keeps the *frontier*: the end of the contiguous part. Behind it every
byte is hashed and may be read by whoever follows the file::

    ├── hashed ──┤─ received by another connection ─┤─ to come ─┤─ received ─┤─ to come ─┤
                 ↑ frontier

Where the thread receives at the frontier itself it hashes what it has in hand; where
another connection, or an earlier process, was ahead, it hashes from the file
(docker-engine §2.8).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.content.errors import BlobMismatch, ShortBody, Throttled, translate_os_error
from onggi.content.helpers import Helpers
from onggi.content.partial import PartialFile
from onggi.content.ratelimit import RateLimiter
from onggi.content.receive import READ_BYTES, Receiver
from onggi.content.source import RangeSource
from onggi.content.spans import Span
from onggi.content.tuning import Tuning
from onggi.content.verify import Verifier
from onggi.errors import OnggiError
from onggi.oci.descriptor import Descriptor

__all__ = ["Download", "Watchers"]

# Bytes read back at once where the file is ahead of the hash.
_REREAD_BYTES = 1024 * 1024
# An answer that brought this much was no failure, only cut; seconds until the next one.
_WORTHWHILE_BYTES, _CUT_PAUSE_S = 64 * 1024, 1.0
# Seconds between two looks at the cancel token while others receive what is next.
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who is told. ``progress`` gets the frontier in bytes, ``retry`` the whole seconds left to a retry."""

    progress: Callable[[int], None]
    retry: Callable[[int], None]


class Download:
    """One blob's way into ``path``; used once, in one thread."""

    def __init__(
        self,
        descriptor: Descriptor,
        source: RangeSource,
        path: Path,
        *,
        watchers: Watchers,
        limiter: RateLimiter | None,
        tuning: Tuning,
        cancel: CancelToken,
    ) -> None:
        self._descriptor = descriptor
        self._source = source
        self._path = path
        self._watchers = watchers
        self._limiter = limiter
        self._tuning = tuning
        self._cancel = cancel
        self._answers = 0

    def run(self) -> None:
        """Receive and verify.

        Wrong bytes that came in several pieces are received once more from zero, and then
        from the next place the source knows. Raises BlobMismatch, BlobTooLong, BlobDiskFull,
        Cancelled, or the source's error after the last attempt. The partial file stays,
        except after a mismatch.
        """
        missing = self._descriptor.size
        try:
            with PartialFile(self._path, self._descriptor, checkpoint_s=self._tuning.checkpoint_s) as partial:
                try:
                    self._receive_right(partial)
                finally:
                    missing -= partial.held_bytes
        except OSError as error:
            raise translate_os_error(error, str(self._path), missing) from error

    def _receive_right(self, partial: PartialFile) -> None:
        pieces = partial.held_bytes > 0
        again = True
        while not self._receive_all(partial):
            partial.restart()
            self._watchers.progress(0)
            if again and (pieces or self._answers > 1):
                again = False
            elif not self._source.reject():
                raise BlobMismatch(self._descriptor.digest)
        partial.complete()

    def _receive_all(self, partial: PartialFile) -> bool:
        """Everything up to the blob's size; True when the digest is right."""
        self._answers = 0
        verifier = Verifier(self._descriptor.digest)
        receiver = Receiver(self._descriptor, self._source, partial)
        with Helpers(receiver, partial, self._tuning, self._cancel) as helpers:
            frontier = _Frontier(self, partial, verifier, receiver, helpers)
            while verifier.position < self._descriptor.size:
                self._cancel.check()
                frontier.advance()
        return verifier.matches()

    # --- patience -------------------------------------------------------------------------

    def receive_patiently(self, span: Span, ask: Callable[[], None]) -> None:
        """Ask until the span is full; raises when asking again cannot help, or has not helped."""
        failures = 0
        while span.missing:
            before = span.position
            self._answers += 1
            try:
                ask()
            except OnggiError as error:
                self._cancel.check()
                gained = span.position - before >= _WORTHWHILE_BYTES
                failures = 0 if gained else failures + 1
                self._wait(self._pause_s(error, failures))

    def _pause_s(self, error: OnggiError, failures: int) -> float:
        if not error.retryable or failures >= self._tuning.attempts:
            raise error
        if isinstance(error, Throttled):
            if error.retry_after_s is None or error.retry_after_s > self._tuning.longest_retry_after_s:
                raise error
            return error.retry_after_s
        if failures == 0:
            return min(_CUT_PAUSE_S, self._tuning.backoff_s)
        return failures * self._tuning.backoff_s

    def _wait(self, seconds: float) -> None:
        for left in range(math.ceil(seconds), 0, -1):
            self._watchers.retry(left)
            self._cancel.sleep(min(1.0, seconds))
            seconds -= 1.0

    # --- what the frontier needs ----------------------------------------------------------

    @property
    def descriptor(self) -> Descriptor:
        """The blob."""
        return self._descriptor

    @property
    def cancel(self) -> CancelToken:
        """The caller's token."""
        return self._cancel

    @property
    def limiter(self) -> RateLimiter | None:
        """The pull's bandwidth limit."""
        return self._limiter

    def tell(self, frontier_bytes: int) -> None:
        """Tell the watcher how far the file may be read."""
        self._watchers.progress(frontier_bytes)


class _Frontier:
    """Moves the end of the contiguous part forward, by receiving or by hashing what is there."""

    def __init__(
        self,
        download: Download,
        partial: PartialFile,
        verifier: Verifier,
        receiver: Receiver,
        helpers: Helpers,
    ) -> None:
        self._download = download
        self._partial = partial
        self._verifier = verifier
        self._receiver = receiver
        self._helpers = helpers

    def advance(self) -> None:
        span = self._partial.span_at(self._verifier.position)
        if span.position > self._verifier.position:
            self._hash_from_file(span.position)
        elif self._partial.claim(span):
            try:
                self._download.receive_patiently(span, lambda: self._receive(span))
            finally:
                self._partial.release(span)
        else:
            with self._partial.changed:
                self._partial.changed.wait(_POLL_S)

    def _hash_from_file(self, end: int) -> None:
        position = self._verifier.position
        while position < end:
            piece = self._partial.read(position, min(_REREAD_BYTES, end - position))
            if not piece:
                # Somebody cut the file short while we read it.
                raise ShortBody(self._download.descriptor.digest, position, self._download.descriptor.size)
            self._verifier.update(piece)
            position += len(piece)
            self._download.cancel.check()
            self._download.tell(position)

    def _receive(self, span: Span) -> None:
        started, begun_at = time.monotonic(), span.position
        limiter, cancel = self._download.limiter, self._download.cancel

        def arrived(piece: memoryview) -> None:
            self._verifier.update(piece)
            self._download.tell(self._verifier.position)
            if limiter is not None:
                limiter.take(len(piece), cancel)
            else:
                self._helpers.consider(time.monotonic() - started, span.position - begun_at, span.missing)

        piece_bytes = READ_BYTES if limiter is None else limiter.piece_bytes
        self._receiver.receive(span, arrived, cancel, piece_bytes=piece_bytes)
