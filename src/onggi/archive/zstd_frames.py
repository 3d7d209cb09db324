"""Cut a zstd stream into pieces whose output is bounded (RFC 8878).

::

    stream          = *( frame / skippable-frame )
    skippable-frame = %x50-5F %x2A %x4D %x18  size:4 LE  size bytes
    frame           = %x28 %xB5 %x2F %xFD  descriptor [window:1] [dictionary:0/1/2/4]
                      [content-size:0/1/2/4/8]  1*block  [checksum:4]
    block           = header:3 LE  data        header = last:1 bit, type:2, size:21
                      type 0 raw: size bytes; 1 RLE: one byte; 2 compressed: size bytes

A block gives at most 128 KiB, however small it is. The Python binding has no limit on
what one call returns, so a stream is fed to it a few blocks at a time; and it does not
tell a cut stream from a complete one, which the walk over the blocks does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BrokenFrame", "split_frames"]

BLOCKS_AT_ONCE = 8
"""Blocks in one piece: 8 × 128 KiB = 1 MiB of output at most."""

INPUT_AT_ONCE = 1 << 20
"""Compressed bytes in one piece, about."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_SIZES = (0, 1, 2, 4)
_CONTENT_SIZES = (0, 2, 4, 8)


class BrokenFrame(Exception):
    """The stream is cut off or is followed by something else than a frame."""


class _Input:
    """The stream with a small look-ahead."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._data = b""
        self._position = 0

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        data = self.take_or_end(size)
        if len(data) < size:
            raise BrokenFrame("unexpected EOF")
        return data

    def take_or_end(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end of the stream."""
        end = self._position + size
        if end <= len(self._data):
            data = self._data[self._position : end]
            self._position = end
            return data
        parts = [self._data[self._position :]]
        missing = size - len(parts[0])
        self._data, self._position = b"", 0
        while missing > 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk[:missing])
            self._data, self._position = chunk, min(missing, len(chunk))
            missing -= len(chunk)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes in bounded memory."""
        while size > 0:
            size -= len(self.take(min(size, INPUT_AT_ONCE)))


def split_frames(chunks: Iterable[bytes]) -> Iterator[tuple[bool, bool, bytes]]:
    """Pieces of whole blocks as (first of a frame, last of a frame, bytes).

    Skippable frames are left out.

    Raises:
        BrokenFrame: the stream ends inside a frame, or something else follows one.
    """
    stream = _Input(chunks)
    while magic := stream.take_or_end(4):
        if magic == _MAGIC:
            yield from _split_frame(stream)
        elif magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50:
            stream.skip(int.from_bytes(stream.take(4), "little"))
        else:
            raise BrokenFrame("trailing garbage")


def _split_frame(stream: _Input) -> Iterator[tuple[bool, bool, bytes]]:
    descriptor = stream.take(1)
    parts = [_MAGIC, descriptor, stream.take(_header_size(descriptor[0]))]
    first, last = True, False
    while not last:
        gathered = 0
        for _ in range(BLOCKS_AT_ONCE):
            header = stream.take(3)
            number = int.from_bytes(header, "little")
            last = bool(number & 1)
            size = 1 if number >> 1 & 3 == 1 else number >> 3
            parts += (header, stream.take(size))
            gathered += size
            if last or gathered >= INPUT_AT_ONCE:
                break
        if last and descriptor[0] & 4:
            parts.append(stream.take(4))
        yield first, last, b"".join(parts)
        first = False
        parts.clear()


def _header_size(descriptor: int) -> int:
    """Bytes of the frame header after its descriptor."""
    single_segment = bool(descriptor & 0x20)
    content_size = _CONTENT_SIZES[descriptor >> 6] or single_segment
    return (not single_segment) + _DICTIONARY_SIZES[descriptor & 3] + content_size
