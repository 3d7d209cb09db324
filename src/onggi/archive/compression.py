"""Decompress a layer's stream, whatever it was compressed with.

The first bytes decide, never a media type: gzip ``1f 8b 08``, bzip2 ``BZh``, xz
``fd 37 7a 58 5a 00``, zstd ``28 b5 2f fd`` or a skippable frame ``5? 2a 4d 18``;
anything else is taken as it is.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Protocol, cast

from onggi.errors import DataLoss, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


def _new_decompressor(compression: Compression) -> _Decompressor:
    if compression is Compression.BZIP2:
        return bz2.BZ2Decompressor()
    if compression is Compression.XZ:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_LIMIT)
    try:
        from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor
    except ImportError:
        return _ZlibDecompressor()
    decompressor: _Decompressor = IgzipDecompressor(flag=DECOMP_GZIP)
    return decompressor


def load(compression: Compression) -> None:
    """Import what decompressing needs, for a process that will not be able to import later.

    A missing package is no error here; :func:`decompressed` does without or says so.
    """
    try:
        if compression is Compression.GZIP:
            import isal.igzip_lib
            import isal.isal_zlib  # noqa: F401
        elif compression is Compression.ZSTD:
            import zstandard  # noqa: F401

            import onggi.archive.zstd_frames  # noqa: F401
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


def _decompress(compression: Compression, data: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    decompressor: _Decompressor | None = None
    while True:
        while data:
            if decompressor is None:
                data = _start_of_stream(compression, data, source)
                if not data:
                    return
                decompressor = _new_decompressor(compression)
            yield from _drain(compression, decompressor, data)
            data = b""
            if decompressor.eof:
                data, decompressor = decompressor.unused_data, None
        following = next(source, None)
        if following is None:
            break
        data = following
    if decompressor is not None:
        raise CorruptStream(compression, "unexpected EOF")


def _drain(compression: Compression, decompressor: _Decompressor, data: bytes) -> Iterator[bytes]:
    """All output of one piece of input."""
    while True:
        try:
            output = decompressor.decompress(data, PIECE)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, _isal_error()) as error:
            raise CorruptStream(compression, str(error)) from None
        if output:
            yield output
        if decompressor.eof or decompressor.needs_input:
            return
        data = b""


def _isal_error() -> type[Exception]:
    """igzip's own exception, where it is installed."""
    try:
        from isal.isal_zlib import IsalError
    except ImportError:
        return zlib.error
    return cast("type[Exception]", IsalError)


def _start_of_stream(compression: Compression, data: bytes, source: Iterator[bytes]) -> bytes:
    """What follows a complete stream must be another one, or nothing.

    xz pads streams with NULs in fours; nothing else may be padded: Go's gzip reader, and so
    Docker, refuses what gzip(1) only warns about.
    """
    while True:
        if compression is Compression.XZ:
            data = data.lstrip(b"\0")
        if len(data) >= SNIFF_SIZE:
            break
        following = next(source, None)
        if following is None:
            break
        data += following
    if data and sniff(data) is not compression:
        raise CorruptStream(compression, "trailing garbage")
    return data


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
