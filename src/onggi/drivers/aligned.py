"""A layer whose contents lie on blocks of 4 KiB: its tar is put together again, and looked into.

::

    layer.data          │ content │ NULs to 4096 │ content │ NULs to 4096 │ …    in the archive's order
    tar-split.json.gz   every byte of the archive that is no content, and a CRC-64 of each content

A content is what stands in the archive: of a sparse member its data without the holes, which
Docker's tar-split would leave among the rest. So the place of each follows from the sizes before
it, in tar-split as in the archive's headers, and nothing else needs to say it.

The kernel reads such a layer by pages, and a program by blocks of its own size (``st_blksize``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onggi.archive.crc64 import crc64
from onggi.archive.erofs.format import BLOCK_BITS_4K
from onggi.archive.tar import TarReader
from onggi.archive.tarsplit import ContentMismatch, FileEntry, Segment, read_gzip
from onggi.drivers import unpacked
from onggi.drivers.erofs_names import DATA, SPLIT
from onggi.tree.apply import ApplyLimits
from onggi.tree.errors import LayerTooLarge
from onggi.tree.expected import ExpectedTree

if TYPE_CHECKING:
    from onggi.archive.tar import Member

__all__ = ["BLOCK_BYTES", "AlignedFile", "Scanned", "archive", "data_bytes", "on_block", "placed", "scan"]

BLOCK_BYTES = 1 << BLOCK_BITS_4K

_PIECE_BYTES = 1 << 20
_NULS = bytes(1 << 16)


def on_block(position: int) -> int:
    """The first block's start that is not before a position."""
    return -(-position // BLOCK_BYTES) * BLOCK_BYTES


def data_bytes(member: Member) -> int:
    """Bytes of a member's content as it stands in the archive."""
    return member.size if member.sparse is None else sum(length for _, length in member.sparse)


def placed(entries: Iterable[Segment | FileEntry]) -> Iterator[tuple[Segment | FileEntry, int]]:
    """What tar-split holds, and where in the data file the content of a member begins."""
    position = 0
    for entry in entries:
        yield entry, position
        if isinstance(entry, FileEntry):
            position = on_block(position + entry.size)


class Scanned(NamedTuple):
    """What the headers of an archive make; ``end`` is the size of its data file."""

    tree: ExpectedTree
    members: int
    end: int


def scan(reader: TarReader) -> Scanned:
    """The tree of an archive, its contents in their places.

    Raises InvalidTar, InvalidLayer, LayerTooLarge.
    """
    tree = ExpectedTree()
    limit = ApplyLimits().members
    position = members = 0
    for member in reader:
        members += 1
        if members > limit:
            raise LayerTooLarge(f"layer has more than {limit} members")
        tree.add(member, position)
        position = on_block(position + data_bytes(member))
    tree.finish()
    return Scanned(tree, members, position)


def archive(entries: Iterable[Segment | FileEntry], data: int) -> Iterator[bytes]:
    """The layer's tar; ``data`` is a descriptor of its contents.

    Raises (while iterating) ContentMismatch, and what ``entries`` raises.
    """
    for entry, position in placed(entries):
        if isinstance(entry, Segment):
            yield entry.payload
        elif entry.size:
            yield from _content(entry, data, position)


def _content(entry: FileEntry, data: int, position: int) -> Iterator[bytes]:
    crc = done = 0
    while done < entry.size:
        piece = os.pread(data, min(_PIECE_BYTES, entry.size - done), position + done)
        if not piece:
            raise ContentMismatch(entry.name)
        crc = crc64(piece, crc)
        yield piece
        done += len(piece)
    if crc != entry.crc:
        raise ContentMismatch(entry.name)


class AlignedFile:
    """The layer in ``directory``; its files are opened by the iteration that reads them."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / DATA
        self._split = directory / SPLIT

    def size_bytes(self) -> int:
        """Bytes of the tar. Raises InvalidTarSplit."""
        return unpacked.tar_size(self._split)

    def pieces(self) -> Iterator[bytes]:
        """The tar. Raises (while iterating) InvalidTarSplit, ContentMismatch, OSError."""
        with open(self.data, "rb", buffering=0) as file, read_gzip(self._split) as entries:
            yield from archive(entries, file.fileno())

    def members(self) -> Iterator[Member]:
        """The members in the archive's order, contents unread. Raises (while iterating) DataLoss."""
        return unpacked.members(self._split)

    def content(self, member: Member) -> Iterator[bytes]:
        """The content of one of :meth:`members`, holes as NUL bytes.

        Raises (while iterating) InvalidTarSplit, ContentMismatch, OSError.
        """
        with open(self.data, "rb", buffering=0) as file, read_gzip(self._split) as entries:
            for entry, position in placed(entries):
                if isinstance(entry, FileEntry) and entry.name == member.name:
                    yield from _expanded(member, _content(entry, file.fileno(), position))
                    return


def _expanded(member: Member, data: Iterator[bytes]) -> Iterator[bytes]:
    """The data of a sparse member with the holes between them."""
    if member.sparse is None:
        yield from data
        return
    at = 0
    piece = b""
    for offset, length in member.sparse:
        yield from _nuls(offset - at)
        at = offset + length
        while length:
            piece = piece or next(data)
            yield piece[:length]
            piece, length = piece[length:], length - len(piece[:length])
    yield from data
    yield from _nuls(member.size - at)


def _nuls(count: int) -> Iterator[bytes]:
    while count > 0:
        piece = _NULS[: min(count, len(_NULS))]
        yield piece
        count -= len(piece)
