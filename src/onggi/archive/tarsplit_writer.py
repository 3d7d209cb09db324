"""Writing tar-split while an archive is read, and its gzip file. See tarsplit.py for the format."""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from binascii import b2a_base64
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from onggi.archive.crc64 import crc64
from onggi.archive.tar_format import clean_path
from onggi.archive.tarsplit import DuplicatePath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.archive.tar_format import Member

__all__ = ["GO_INFLATE_WINDOW", "SupportsWrite", "TarSplitWriter", "gzip_writer"]

GO_INFLATE_WINDOW = 1 << 15
"""Bytes of the pieces in which Go's ``compress/flate`` hands out its output: its history window."""

FLUSH_SIZE = 1 << 17
"""Bytes of JSON gathered before they are written: few calls, little memory."""

GZIP_HEADER = bytes.fromhex("1f8b08000000000000ff")
"""What Go's gzip writer begins with: no name, no time, an unknown system."""

_PLAIN_NAME = re.compile(rb"[ !#-%'-;=?-\[\]-~]+")
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class SupportsWrite(Protocol):
    """What takes the stream: a binary file, or :func:`gzip_writer`."""

    def write(self, data: bytes, /) -> int:
        """Take all of ``data``."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class TarSplitWriter:
    """Writes the tar-split stream of the archive that it observes.

    ``out`` takes plain JSON lines (see :func:`gzip_writer`); it stays open. Duplicate
    names are refused before the content is read, as Docker's own packer refuses them.
    With ``trailing_empty_segment`` the stream ends as that of tar-split 0.11.2–0.11.4
    (Docker 20.10 to 24), which writes what each read of the tail gives, the empty read at
    the end included. ``window`` is then the size of the pieces in which Go's inflater hands
    out its output (see :data:`GO_INFLATE_WINDOW`): its last piece comes together with the
    end, so that there is no empty read after it.

    Raises (while the archive is read):
        DuplicatePath: two members have the same cleaned name.
    """

    def __init__(self, out: SupportsWrite, *, trailing_empty_segment: bool = False, window: int = 0) -> None:
        self._out = out
        self._trailing_empty_segment = trailing_empty_segment
        self._window = window if trailing_empty_segment else 0
        self._offset = 0
        self._segments = 0
        self._lines: list[bytes] = []
        self._gathered = 0
        self._position = 0
        self._crc = 0
        self._seen: set[bytes] = set()

    def segment(self, data: bytes) -> None:
        """Raw bytes of the archive."""
        self._segments += 1
        if self._window and self._segments > 1:
            self._tail(data)
        else:
            self._segment(data)

    def _tail(self, data: bytes) -> None:
        """Bytes behind the end of the archive, in the pieces of Go's inflater."""
        while data:
            length = self._window - self._offset % self._window
            self._segment(data[:length])
            data = data[length:]

    def _segment(self, data: bytes) -> None:
        self._offset += len(data)
        self._add(
            b'{"type":2,"payload":"%b","position":%d}\n' % (b2a_base64(data, newline=False), self._position)
        )

    def begin(self, member: Member) -> None:
        """A member starts; its name must be new."""
        name = clean_path(member.name)
        seen = self._seen
        if name in seen:
            raise DuplicatePath(member.name)
        seen.add(name)
        self._crc = 0

    def content(self, piece: bytes | memoryview) -> None:
        """A piece of the member's content."""
        self._crc = crc64(piece, self._crc)

    def finish(self, member: Member) -> None:
        """The member is complete."""
        self._segments = 0
        self._offset += member.size
        name = member.name
        field = b'"name":"%b",' % name if _PLAIN_NAME.fullmatch(name) else _name_field(name)
        if member.size and member.sparse is None:
            crc = b2a_base64(self._crc.to_bytes(8, "big"), newline=False)
            line = b'{"type":1,%b"size":%d,"payload":"%b","position":%d}\n' % (
                field,
                member.size,
                crc,
                self._position,
            )
        else:
            line = b'{"type":1,%b"payload":null,"position":%d}\n' % (field, self._position)
        self._add(line)

    def end(self) -> None:
        """The archive is complete: write what is gathered."""
        if self._trailing_empty_segment and not self._ended_with_its_data():
            self._segment(b"")
        self._flush()

    def _ended_with_its_data(self) -> bool:
        """True when Go's inflater told the end together with the last bytes of the tail."""
        return bool(self._window) and self._segments > 1 and self._offset % self._window != 0

    def _add(self, line: bytes) -> None:
        self._position += 1
        self._lines.append(line)
        self._gathered += len(line)
        if self._gathered >= FLUSH_SIZE:
            self._flush()

    def _flush(self) -> None:
        self._out.write(b"".join(self._lines))
        self._lines.clear()
        self._gathered = 0


class _GzipFile:
    """Compresses what is written to a descriptor; half a binary file, as TarSplitWriter needs it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._deflate = _new_compressor()
        self._crc = self._size = 0
        self._put(GZIP_HEADER)

    def write(self, data: bytes, /) -> int:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._put(self._deflate.compress(data))
        return len(data)

    def finish(self) -> None:
        self._put(self._deflate.flush() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def _put(self, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += os.write(self._fd, memoryview(data)[written:])


def _new_compressor() -> _Compressor:
    """igzip at level 1: tar-split shrinks to a tenth at any level, so speed decides."""
    try:
        from isal.isal_zlib import compressobj
    except ImportError:
        return zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
    compressor: _Compressor = compressobj(level=1, wbits=-zlib.MAX_WBITS)
    return compressor


@contextmanager
def gzip_writer(fd: int) -> Iterator[SupportsWrite]:
    """Write a gzip file to ``fd``, which stays open; it is whole when the block ends without an error."""
    file = _GzipFile(fd)
    yield file
    file.finish()


def _name_field(name: bytes) -> bytes:
    """The name as Go's ``encoding/json`` writes it, HTML characters escaped."""
    if not name:
        return b""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return b'"name_raw":"%b",' % b2a_base64(name, newline=False)
    return b'"name":%b,' % json.dumps(text, ensure_ascii=False).translate(_ESCAPES).encode()
