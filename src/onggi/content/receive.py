"""One answer of the source into one span of the partial file."""

from __future__ import annotations

from collections.abc import Callable

from onggi.cancel import CancelToken
from onggi.content.errors import BlobTooLong, RangesIgnored, ShortBody
from onggi.content.partial import PartialFile
from onggi.content.source import RangeBody, RangeSource
from onggi.content.spans import Span
from onggi.errors import Unavailable
from onggi.oci.descriptor import Descriptor

__all__ = ["READ_BYTES", "Receiver"]

# Bytes asked of the connection at once: still in the processor's cache when they are hashed and written.
READ_BYTES = 256 * 1024


class Receiver:
    """Fills spans; thread-safe."""

    def __init__(self, descriptor: Descriptor, source: RangeSource, partial: PartialFile) -> None:
        self._digest = descriptor.digest
        self._size = descriptor.size
        self._source = source
        self._partial = partial

    def receive(
        self,
        span: Span,
        arrived: Callable[[memoryview], None],
        cancel: CancelToken,
        *,
        piece_bytes: int = READ_BYTES,
        ranges_only: bool = False,
    ) -> None:
        """Ask once and take what comes, until the span is full or the answer ends as announced.

        ``arrived`` is called with each piece after it is in the file. Raises BlobTooLong,
        ShortBody, RangesIgnored (with ``ranges_only``), and what the source raises.
        """
        end = span.end if span.end < self._size else None
        body = self._source.open(span.position, end, cancel)
        try:
            self._check_size(body)
            if body.start != span.position and ranges_only:
                raise RangesIgnored(self._digest)
            buffer = memoryview(bytearray(min(piece_bytes, READ_BYTES)))
            self._skip(body, span.position - body.start, buffer)
            self._copy(body, span, buffer, arrived)
        finally:
            body.close()

    def _check_size(self, body: RangeBody) -> None:
        if body.total is None or body.total == self._size:
            return
        if body.total > self._size:
            raise BlobTooLong(self._digest, self._size, body.total)
        raise ShortBody(self._digest, body.total, self._size)

    def _skip(self, body: RangeBody, amount: int, buffer: memoryview) -> None:
        """Pass over what is held already: the server took no notice of the range."""
        while amount > 0:
            count = body.read_into(buffer[:amount])
            if not count:
                raise ShortBody(self._digest, 0, self._size)
            amount -= count

    def _copy(
        self, body: RangeBody, span: Span, buffer: memoryview, arrived: Callable[[memoryview], None]
    ) -> None:
        begun_at = span.position
        while span.missing:
            count = body.read_into(buffer)
            if not count:
                if body.end == span.position > begun_at:
                    return
                raise ShortBody(self._digest, span.position, self._size)
            taken = self._partial.write(span, buffer[:count])
            arrived(buffer[:taken])
            if taken < count and span.end == self._size:
                raise BlobTooLong(self._digest, self._size, self._size + count - taken)
        if span.end == self._size and body.end is None:
            self._expect_end(body, buffer)

    def _expect_end(self, body: RangeBody, buffer: memoryview) -> None:
        """A body of unannounced length may be longer than the blob; that it hangs now does not matter."""
        try:
            count = body.read_into(buffer[:1])
        except Unavailable:
            return
        if count:
            raise BlobTooLong(self._digest, self._size, self._size + 1)
