"""Decompress a layer's stream, whatever it was compressed with.

The first bytes decide, never a media type: gzip ``1f 8b 08``, bzip2 ``BZh``, xz
``fd 37 7a 58 5a 00``, zstd ``28 b5 2f fd`` or a skippable frame ``5? 2a 4d 18``;
anything else is taken as it is.
"""

from __future__ import annotations

import sys
import zlib
from contextlib import suppress
from enum import Enum
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from onggi.archive.gzip_header import BrokenHeader, header_size
from onggi.errors import DataLoss, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Imported here though used later, where a worker may have closed itself in a directory and
# can import no more. Python can be built without them.
with suppress(ImportError):
    import bz2  # noqa: F401
with suppress(ImportError):
    import lzma  # noqa: F401

__all__ = [
    "Compression",
    "CorruptStream",
    "UnsupportedCompression",
    "decompressed",
    "load",
    "preload",
    "sniff",
]

PIECE = 1 << 20
"""Most bytes given at once. A bomb of any ratio costs this much memory, not its own size."""

FIRST_SLICE = 16 << 10
"""Compressed bytes given to a fresh decompressor at first."""

XZ_MEMORY_LIMIT = 256 << 20
"""Bytes an xz stream may ask for; ``xz -9`` needs 65 MiB to decompress."""

ZSTD_WINDOW_LIMIT = 128 << 20
"""Bytes of history a zstd frame may ask for: the reference decoder's own limit (windowLog 27)."""

SNIFF_SIZE = 10
"""Bytes that :func:`sniff` wants to see."""


class Compression(Enum):
    """How a stream is compressed; the values are Docker's and OCI's words."""

    NONE = ""
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"


class CorruptStream(DataLoss):
    """A compressed stream is damaged, cut off, or followed by garbage."""

    def __init__(self, compression: Compression, cause: str) -> None:
        super().__init__(f"decompress {compression.value} stream: {cause}")
        self.compression = compression
        self.cause = cause


class UnsupportedCompression(Unsupported):
    """This installation lacks the decompressor."""

    def __init__(self, compression: Compression, package: str) -> None:
        super().__init__(
            f"decompress {compression.value} stream: the Python package {package!r} is not installed",
            hint=f"install {package}",
        )
        self.compression = compression


def sniff(prefix: bytes) -> Compression:
    """The compression that the first bytes tell of; ten are enough, fewer may be all there is."""
    if prefix[:3] == b"\x1f\x8b\x08":
        return Compression.GZIP
    if prefix[:4] == b"\x28\xb5\x2f\xfd" or _is_skippable_frame(prefix):
        return Compression.ZSTD
    if prefix[:3] == b"BZh":
        return Compression.BZIP2
    if prefix[:6] == b"\xfd7zXZ\0":
        return Compression.XZ
    return Compression.NONE


def _is_skippable_frame(prefix: bytes) -> bool:
    """zstd frames that carry no data (RFC 8878 §3.1.2) can come first, as eStargz writes them."""
    return len(prefix) >= 8 and prefix[0] & 0xF0 == 0x50 and prefix[1:4] == b"\x2a\x4d\x18"


class _Decompressor(Protocol):
    """One frame's decompressor, as bz2 and lzma have it."""

    @property
    def eof(self) -> bool:
        """The frame is complete."""

    @property
    def needs_input(self) -> bool:
        """All output of the input so far has been given."""

    @property
    def unused_data(self) -> bytes:
        """Input behind the frame's end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most ``max_length`` more bytes; call again with no data while ``needs_input`` is false."""


class _ZlibDecompressor:
    """The standard library's gzip member decompressor in the shape of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    _full = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        tail = self._inflate.unconsumed_tail
        output = self._inflate.decompress(tail + data if tail else data, max_length)
        # zlib keeps decoded bytes inside when the output is full, with no input left to show for it.
        self._full = len(output) == max_length and not self._inflate.eof
        return output


def _new_decompressor(compression: Compression, feed: _Feed) -> _Decompressor:
    if compression is Compression.GZIP:
        return _new_inflate(feed)
    try:
        if compression is Compression.BZIP2:
            from bz2 import BZ2Decompressor

            return BZ2Decompressor()
        from lzma import FORMAT_XZ, LZMADecompressor
    except ImportError as error:
        raise UnsupportedCompression(compression, error.name or compression.value) from None
    return LZMADecompressor(FORMAT_XZ, memlimit=XZ_MEMORY_LIMIT)


def _new_inflate(feed: _Feed) -> _Decompressor:
    """A decompressor of one gzip member, its header passed over if igzip decompresses."""
    try:
        from isal.igzip_lib import DECOMP_GZIP_NO_HDR_VER, IgzipDecompressor
    except ImportError:
        return _ZlibDecompressor()
    try:
        feed.skip(header_size(feed.peek))
    except BrokenHeader as error:
        raise CorruptStream(Compression.GZIP, str(error)) from None
    decompressor: _Decompressor = IgzipDecompressor(flag=DECOMP_GZIP_NO_HDR_VER)
    return decompressor


def _errors() -> tuple[type[Exception], ...]:
    """What decompressors raise for damaged input; two modules have classes of their own."""
    own = {"isal.igzip_lib": "IsalError", "lzma": "LZMAError"}
    loaded = [getattr(sys.modules.get(module), name, zlib.error) for module, name in own.items()]
    return OSError, EOFError, ValueError, zlib.error, *loaded


_MODULES = {
    Compression.GZIP: ("isal.igzip_lib",),
    Compression.BZIP2: ("bz2",),
    Compression.XZ: ("lzma",),
    Compression.ZSTD: ("zstandard", "onggi.archive.zstd_frames"),
}


def load(compression: Compression) -> None:
    """Import what decompressing needs, for a process that will not be able to import later.

    A missing package is no error here; :func:`decompressed` does without or says so.
    """
    for module in _MODULES.get(compression, ()):
        try:
            import_module(module)
        except ImportError:
            pass


def preload() -> None:
    """Import what the most common layers, gzip's, need."""
    load(Compression.GZIP)


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The uncompressed stream of ``chunks``, in pieces of at most 1 MiB and in bounded memory.

    Concatenated gzip members, bzip2 streams and zstd frames are one stream. xz padding
    between streams is accepted. An uncompressed stream passes through, chunk by chunk.

    Raises:
        CorruptStream: damaged, cut off, or followed by something else.
        UnsupportedCompression: zstd without the ``zstandard`` package.
    """
    source = iter(chunks)
    prefix = b""
    for chunk in source:
        prefix = prefix + chunk if prefix else chunk
        if len(prefix) >= SNIFF_SIZE:
            break
    compression = sniff(prefix)
    if compression is Compression.NONE:
        yield from _pieces(prefix)
        for chunk in source:
            yield from _pieces(chunk)
    elif compression is Compression.ZSTD:
        yield from _decompress_zstd(prefix, source)
    else:
        yield from _decompress(compression, prefix, source)


def _pieces(chunk: bytes) -> Iterator[bytes]:
    if len(chunk) <= PIECE:
        if chunk:
            yield chunk
        return
    for start in range(0, len(chunk), PIECE):
        yield chunk[start : start + PIECE]


class _Feed:
    """The compressed stream, given out in slices.

    A slice is small when a frame starts and grows while it lasts: what lies behind the
    frame's end comes back and is cut again, and streams of many tiny frames exist.
    """

    def __init__(self, data: bytes, source: Iterator[bytes]) -> None:
        self._data = data
        self._source = source
        self._position = 0
        self._size = FIRST_SLICE

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end of the stream."""
        while len(self._data) - self._position < size:
            following = next(self._source, None)
            if following is None:
                break
            self._data, self._position = self._data[self._position :] + following, 0
        return self._data[self._position : self._position + size]

    def skip(self, size: int) -> None:
        """Pass over bytes that were peeked at."""
        self._position += size

    def take(self) -> bytes:
        """The next slice; empty at the end of the stream."""
        if self._position == len(self._data):
            self._data, self._position = next((chunk for chunk in self._source if chunk), b""), 0
        data = self._data[self._position : self._position + self._size]
        self._position += len(data)
        self._size *= 4
        return data

    def give_back(self, unused: bytes) -> None:
        """The frame has ended, and so much of the last slice lies behind it."""
        self._position -= len(unused)
        self._size = FIRST_SLICE


def _decompress(compression: Compression, data: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    feed = _Feed(data, source)
    while _has_another(compression, feed):
        decompressor = _new_decompressor(compression, feed)
        while not decompressor.eof:
            piece = feed.take()
            if not piece:
                raise CorruptStream(compression, "unexpected EOF")
            yield from _drain(compression, decompressor, piece)
        feed.give_back(decompressor.unused_data)


def _has_another(compression: Compression, feed: _Feed) -> bool:
    """What follows a complete stream must be another one, or nothing.

    xz pads streams with NULs; nothing else may be padded: Go's gzip reader, and so Docker,
    refuses what gzip(1) only warns about.
    """
    prefix = feed.peek(SNIFF_SIZE)
    while compression is Compression.XZ and prefix[:1] == b"\0":
        feed.skip(len(prefix) - len(prefix.lstrip(b"\0")))
        prefix = feed.peek(SNIFF_SIZE)
    if prefix and sniff(prefix) is not compression:
        raise CorruptStream(compression, "trailing garbage")
    return bool(prefix)


def _drain(compression: Compression, decompressor: _Decompressor, data: bytes) -> Iterator[bytes]:
    """All output of one piece of input."""
    errors = _errors()
    while True:
        try:
            output = decompressor.decompress(data, PIECE)
        except errors as error:
            raise CorruptStream(compression, str(error)) from None
        if output:
            yield output
        if decompressor.eof or decompressor.needs_input:
            return
        data = b""


def _decompress_zstd(data: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ImportError:
        raise UnsupportedCompression(Compression.ZSTD, "zstandard") from None

    from onggi.archive.zstd_frames import BrokenFrame, split_frames

    decompressor = ZstdDecompressor(max_window_size=ZSTD_WINDOW_LIMIT)
    try:
        for first, last, blocks in split_frames(chain((data,), source)):
            if first:
                frame = decompressor.decompressobj()
            output = frame.decompress(blocks)
            if output:
                yield output
            if last and not frame.eof:
                raise CorruptStream(Compression.ZSTD, "frame without end")
    except (ZstdError, BrokenFrame) as error:
        raise CorruptStream(Compression.ZSTD, str(error)) from None
