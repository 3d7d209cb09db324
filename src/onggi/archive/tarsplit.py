"""tar-split: what of an archive is not file content, so that it can be put together again.

A stream of JSON objects, one a line, in the order of the archive::

    {"type":2,"payload":"<base64>","position":0}                          segment: raw bytes
    {"type":1,"name":"bin/sh","size":5,"payload":"<base64>","position":1}  file: the content of a path

``name`` and ``size`` are left out when empty or 0. ``payload`` of a file with content
is its CRC-64/ISO, 8 bytes big endian; else null. A name that is not UTF-8 stands in
``name_raw``, base64, instead. Docker keeps the stream gzip-ed as ``tar-split.json.gz``.

The bytes written equal those of vbatts/tar-split for every archive that it can put
together again. Where it cannot, ours differ so that they can, and its reader (Docker's
``save`` and ``push``) can too:

* A sparse member's blocks are written as segments and its file entry has no size; the
  file on disk is the expanded content, which is not in the archive.
* A member without a data section (a hard link with a size, say) has no size.
* Padding cut off by the end of the stream is kept.
"""

from __future__ import annotations

import json
import re
import zlib
from binascii import Error as Base64Error
from binascii import a2b_base64
from contextlib import contextmanager
from io import BufferedReader
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from onggi.archive.crc64 import crc64
from onggi.errors import DataLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from io import FileIO
    from pathlib import Path


__all__ = [
    "ContentMismatch",
    "DuplicatePath",
    "FileEntry",
    "InvalidTarSplit",
    "Segment",
    "TarSplitReader",
    "assemble",
    "read_gzip",
]

_READ_BYTES = 1 << 17
"""Bytes of JSON inflated at once."""

LINE_LIMIT = 64 << 20
"""Bytes of one line that are read. Writers cut trailing bytes at 1 MiB, headers stay far below it;
tar-split before 0.11 wrote all trailing bytes as one segment."""

CRC_SIZE = 8

COPY_PIECE = 1 << 20
"""Bytes of a file read at once when an archive is put together."""

# How all writers write nearly all lines, members without content too; JSON proper takes eight times as long.
_USUAL_FILE = re.compile(
    rb'\{"type":1,"name":"([ !#-\[\]-~]+)",'
    rb'(?:"size":([1-9][0-9]{0,17}),"payload":"([A-Za-z0-9+/]{11}=)"|"payload":null),"position":[0-9]+\}'
)
_SEGMENT_START = b'{"type":2,"payload":"'
_SEGMENT_END = re.compile(rb'","position":[0-9]+\}')
_FILE_SIZE = re.compile(rb'"size":([0-9]+),"payload":"')


class DuplicatePath(DataLoss):
    """Two members of one archive have the same cleaned name; Docker refuses such a layer."""

    def __init__(self, name: bytes) -> None:
        super().__init__(f"duplicates of file paths not supported: {_printable(name)}")
        self.name = name


class InvalidTarSplit(DataLoss):
    """The tar-split stream is damaged."""

    def __init__(self, cause: str, *, line: int = 0) -> None:
        super().__init__(f"read tar-split: line {line}: {cause}" if line else f"read tar-split: {cause}")
        self.line = line


class ContentMismatch(DataLoss):
    """A file is no longer what it was when the layer was unpacked."""

    def __init__(self, name: bytes) -> None:
        super().__init__(f'file integrity checksum failed for "{_printable(name)}"')
        self.name = name


class Segment(NamedTuple):
    """Raw bytes of the archive."""

    payload: bytes


class FileEntry(NamedTuple):
    """A member; its content stands here in the archive. ``crc`` is None where ``size`` is 0."""

    name: bytes
    size: int
    crc: int | None


@contextmanager
def read_gzip(path: Path | BinaryIO) -> Iterator[TarSplitReader]:
    """Entries of a ``tar-split.json.gz``, by its path or opened.

    Raises (inside the block): InvalidTarSplit, for what is no gzip file, cut off, or not there too.
    """
    try:
        with _gzip_module().open(path, "rb") as file, BufferedReader(file, _READ_BYTES) as buffered:
            yield TarSplitReader(buffered)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidTarSplit(str(error)) from None


def _gzip_module() -> Any:
    try:
        from isal import igzip
    except ImportError:
        import gzip

        return gzip
    return igzip


def _printable(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


class TarSplitReader:
    """Entries of a plain (inflated) tar-split stream, in order, once.

    Raises (while iterating):
        InvalidTarSplit: a line is no entry, or positions are out of order.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Segment | FileEntry]:
        # Two lines a member, of 60,000 members and more: the usual forms are read here, without a call.
        usual_file, segment_end, new = _USUAL_FILE.fullmatch, _SEGMENT_END.fullmatch, tuple.__new__
        start, number = len(_SEGMENT_START), 0
        for line in self._lines():
            number += 1
            if line.startswith(_SEGMENT_START):
                end = line.find(b'"', start)
                if segment_end(line, end) is not None:
                    yield new(Segment, (_payload(line[start:end], number),))
                    continue
            elif (usual := usual_file(line)) is not None:
                name, size, crc = usual.groups()
                if crc is None:
                    yield new(FileEntry, (name, 0, None))
                else:
                    yield new(FileEntry, (name, int(size), int.from_bytes(a2b_base64(crc), "big")))
                continue
            if line:
                yield _parse_line(line, number)

    def archive_size(self) -> int:
        """Bytes of the archive that the (unread) entries describe; no content is decoded."""
        return sum(map(_entry_size, self._lines()))

    def _lines(self) -> Iterator[bytes]:
        """Every line without its end, cut from large pieces at once."""
        parts: list[bytes] = []
        held = 0
        while piece := self._source.read(_READ_BYTES):
            end = piece.rfind(b"\n") + 1
            held += len(piece)
            if not end and held > LINE_LIMIT:
                raise InvalidTarSplit(f"a line has more than {LINE_LIMIT} bytes")
            if end:
                yield from b"".join((*parts, piece[: end - 1])).split(b"\n")
                parts, piece = [], piece[end:]
                held = len(piece)
            parts.append(piece)
        if held:
            yield b"".join(parts)


def _payload(text: bytes, number: int) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except Base64Error as error:
        raise InvalidTarSplit(str(error), line=number) from None


def _entry_size(line: bytes) -> int:
    """Bytes of the archive that one line stands for; what is not written as usual is parsed."""
    if line.startswith(_SEGMENT_START) and (end := line.find(b'"', len(_SEGMENT_START))) > 0:
        return (end - len(_SEGMENT_START)) // 4 * 3 - line.count(b"=", end - 2, end)
    if (match := _FILE_SIZE.search(line)) is not None:
        return int(match[1])
    if not line:
        return 0
    entry = _parse_line(line, 0)
    return len(entry.payload) if isinstance(entry, Segment) else entry.size


def _parse_line(line: bytes, number: int) -> Segment | FileEntry:
    try:
        entry = json.loads(line)
        payload = _decode(entry.get("payload") or "")
        if entry["type"] == 2:
            return Segment(payload)
        if entry["type"] == 1:
            return _file_entry(entry, payload)
    except (ValueError, KeyError, TypeError, AttributeError, Base64Error) as error:
        raise InvalidTarSplit(str(error), line=number) from None
    raise InvalidTarSplit(f"unknown entry type {entry['type']}", line=number)


def _file_entry(entry: dict[str, object], payload: bytes) -> FileEntry:
    raw = entry.get("name_raw")
    name = _decode(raw) if raw else str(entry.get("name", "")).encode()
    size = entry.get("size", 0)
    if type(size) is not int or size < 0:
        raise ValueError(f"bad size {size!r}")
    if not size:
        return FileEntry(name, 0, None)
    if len(payload) != CRC_SIZE:
        raise ValueError("a file's payload is no CRC-64")
    return FileEntry(name, size, int.from_bytes(payload, "big"))


def _decode(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("base64 text expected")
    return a2b_base64(text, strict_mode=True)


def assemble(
    entries: Iterable[Segment | FileEntry], open_member: Callable[[bytes], BinaryIO | FileIO]
) -> Iterator[bytes]:
    """The archive's bytes, put together from its tar-split and the files of the layer.

    ``open_member(name)`` opens the content of a member by its verbatim name; the
    file is closed here. The caller hashes the result against the diffID.

    Raises (while iterating):
        ContentMismatch: a file's size or CRC is not the recorded one.
        Whatever ``open_member`` raises.
    """
    for entry in entries:
        if isinstance(entry, Segment):
            if entry.payload:
                yield entry.payload
        elif entry.size:
            with open_member(entry.name) as file:
                yield from _checked_content(entry, file)


def _checked_content(entry: FileEntry, file: BinaryIO | FileIO) -> Iterator[bytes]:
    """Exactly the recorded bytes; more or fewer are a mismatch."""
    crc = size = 0
    wanted = min(COPY_PIECE, entry.size + 1)
    while piece := file.read(wanted):
        size += len(piece)
        if size > entry.size:
            raise ContentMismatch(entry.name)
        crc = crc64(piece, crc)
        yield piece
        if size == entry.size and len(piece) < wanted:
            # Less than asked for: the file ends here.
            break
        wanted = min(COPY_PIECE, entry.size - size + 1)
    if size != entry.size or crc != entry.crc:
        raise ContentMismatch(entry.name)
