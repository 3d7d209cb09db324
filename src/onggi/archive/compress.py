"""Compress a layer's stream: fast, in bounded memory, and always to the same bytes.

What comes out depends on the stream alone, not on the pieces in which it comes in: ISA-L's
output changes with the calls it is made by, so the input is cut into blocks of one size
first. A stream compressed a second time (after a cut connection, or by a later push) has the
digest of the first time, as long as the compressor is the same version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from onggi.archive.compression import Compression
from onggi.errors import Unsupported

__all__ = ["NoCompressor", "compressed"]

BLOCK = 256 << 10
"""Bytes given to the compressor at once; another number makes other bytes."""

_GZIP_LEVEL, _ZLIB_LEVEL, _ZSTD_LEVEL = 1, 6, 3
# zlib's number for a stream with a gzip header and trailer, 32 KiB window. ISA-L's header is
# that of Go: no name, no time, system 255 (docker-engine §2.10).
_GZIP_WINDOW_BITS = 31


class NoCompressor(Unsupported):
    """This installation cannot compress that way."""

    def __init__(self, compression: Compression) -> None:
        hint = "choose gzip or zstd" if compression is not Compression.ZSTD else "install zstandard"
        super().__init__(f"compress a layer: no compressor for {compression.value!r}", hint=hint)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressed(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """The stream of ``chunks`` compressed; empty pieces are not given. Raises NoCompressor at once."""
    if compression is Compression.NONE:
        return (chunk for chunk in chunks if chunk)
    return _compress(chunks, _new(compression))


def _new(compression: Compression) -> _Compressor:
    if compression is Compression.GZIP:
        return _new_gzip()
    if compression is Compression.ZSTD:
        try:
            from zstandard import ZstdCompressor
        except ImportError:
            raise NoCompressor(compression) from None
        compressor: _Compressor = ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        return compressor
    raise NoCompressor(compression)


def _new_gzip() -> _Compressor:
    try:
        from isal import isal_zlib
    except ImportError:
        import zlib

        return zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    compressor: _Compressor = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW_BITS)
    return compressor


def _compress(chunks: Iterable[bytes], compressor: _Compressor) -> Iterator[bytes]:
    for block in _blocks(chunks):
        piece = compressor.compress(block)
        if piece:
            yield piece
    piece = compressor.flush()
    if piece:
        yield piece


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of ``BLOCK``, the last one shorter."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        view = memoryview(chunk)
        while size + len(view) >= BLOCK:
            taken = view[: BLOCK - size]
            yield b"".join((*waiting, taken))
            view = view[len(taken) :]
            waiting.clear()
            size = 0
        if view:
            waiting.append(bytes(view))
            size += len(view)
    if size:
        yield b"".join(waiting)
