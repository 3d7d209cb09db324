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

import time
from collections.abc import Callable
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.content.errors import BlobMismatch, BlobTooLong, ShortBody, translate_os_error
from onggi.content.helpers import Helpers
from onggi.content.partial import PartialFile
from onggi.content.patience import Patience
from onggi.content.ratelimit import RateLimiter
from onggi.content.receive import READ_BYTES, Receiver
from onggi.content.source import RangeSource
from onggi.content.spans import Span
from onggi.content.tuning import Tuning
from onggi.content.verify import Verifier
from onggi.oci.descriptor import Descriptor
from onggi.record import record

__all__ = ["Download", "Watchers"]

# Bytes read back at once where the file is ahead of the hash.
_REREAD_BYTES = 1024 * 1024
# Seconds between two looks at the cancel token while others receive what is next.
_POLL_S = 0.2


@record
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

    def run(self) -> None:
        """Receive and verify.

        Wrong bytes that came in several pieces are received once more from zero, and then, as
        too many bytes are, from the next place the source knows. Raises BlobMismatch,
        BlobTooLong, BlobDiskFull, Cancelled, or the source's error after the last attempt. The
        partial file stays, except after a mismatch.
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
        resumed = partial.held_bytes > 0
        started_over = False
        while True:
            try:
                right, in_pieces = self._receive_all(partial)
            except BlobTooLong:
                if not self._source.reject():
                    raise
                self._start_over(partial)
                continue
            if right:
                partial.complete()
                return
            self._start_over(partial)
            if (resumed or in_pieces) and not started_over:
                started_over = True
            elif not self._source.reject():
                raise BlobMismatch(self._descriptor.digest)

    def _start_over(self, partial: PartialFile) -> None:
        partial.restart()
        self._watchers.progress(0)

    def _receive_all(self, partial: PartialFile) -> tuple[bool, bool]:
        """Everything up to the blob's size: was the digest right, and did it come in several answers."""
        verifier = Verifier(self._descriptor.digest)
        receiver = Receiver(self._descriptor, self._source, partial)
        patience = Patience(self._tuning, self._watchers.retry, self._cancel)
        with Helpers(receiver, partial, self._tuning, self._cancel) as helpers:
            frontier = _Frontier(
                partial, verifier, receiver, helpers, patience, self._watchers, self._limiter, self._cancel
            )
            while verifier.position < self._descriptor.size:
                self._cancel.check()
                frontier.advance()
        return verifier.matches(), patience.answers > 1 or helpers.called


@record
class _Frontier:
    """Moves the end of the contiguous part forward, by receiving or by hashing what is there."""

    partial: PartialFile
    verifier: Verifier
    receiver: Receiver
    helpers: Helpers
    patience: Patience
    watchers: Watchers
    limiter: RateLimiter | None
    cancel: CancelToken

    def advance(self) -> None:
        span = self.partial.span_at(self.verifier.position)
        if span.position > self.verifier.position:
            self._hash_from_file(span.position)
        elif self.partial.claim(span):
            try:
                self.patience.fill(span, lambda: self._receive(span))
            finally:
                self.partial.release(span)
        else:
            with self.partial.changed:
                if span.owned and span.position == self.verifier.position:
                    self.partial.changed.wait(_POLL_S)

    def _hash_from_file(self, end: int) -> None:
        while (position := self.verifier.position) < end:
            piece = self.partial.read(position, min(_REREAD_BYTES, end - position))
            if not piece:
                raise ShortBody(self.verifier.digest, position, self.partial.size)
            self.verifier.update(piece)
            self.cancel.check()
            self.watchers.progress(self.verifier.position)

    def _receive(self, span: Span) -> None:
        started, begun_at = time.monotonic(), span.position

        def arrived(piece: memoryview) -> None:
            self.verifier.update(piece)
            self.watchers.progress(self.verifier.position)
            self.cancel.check()
            if self.limiter is not None:
                self.limiter.take(len(piece), self.cancel)
            else:
                self.helpers.consider(time.monotonic() - started, span.position - begun_at, span.missing)

        piece_bytes = READ_BYTES if self.limiter is None else self.limiter.piece_bytes
        self.receiver.receive(span, arrived, self.cancel, piece_bytes=piece_bytes)
