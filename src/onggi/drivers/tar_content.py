"""A layer's tar, looked into: a content is checked against the checksum that was taken when it was kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from onggi.archive.layer_sums import InvalidSums, crc32_function, read_sums
from onggi.archive.tar import TarReader
from onggi.archive.tarsplit import ContentMismatch
from onggi.drivers.erofs_names import SUMS, TAR

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.archive.tar import Member

__all__ = ["TarFile"]

# Read at once where only headers matter: a few small members, not the content of a large one.
_HEADER_BYTES = 16 * 1024
_CONTENT_BYTES = 1 << 20
_NULS = bytes(1 << 16)


class TarFile:
    """The tar of the layer in ``directory``, opened by the iteration that reads it."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / TAR
        self._sums = directory / SUMS
        self._read_bytes = _HEADER_BYTES

    def size_bytes(self) -> int:
        """Bytes of the tar, 0 where it is gone."""
        try:
            return os.stat(self.data).st_size
        except FileNotFoundError:
            return 0

    def pieces(self) -> Iterator[bytes]:
        """The tar. Raises (while iterating) OSError."""
        with open(self.data, "rb", buffering=0) as file:
            while piece := file.read(_CONTENT_BYTES):
                yield piece

    def members(self) -> Iterator[Member]:
        """The members in the archive's order, contents passed over. Raises (while iterating) DataLoss."""
        for member, _ in self._scan():
            yield member

    def content(self, wanted: Member) -> Iterator[bytes]:
        """The content of one of :meth:`members`, holes as NUL bytes.

        Raises (while iterating): ContentMismatch at the end, InvalidSums, InvalidTar.
        """
        for member, reader in self._scan():
            if member.name == wanted.name:
                self._read_bytes = _CONTENT_BYTES
                yield from self._checked(member, reader)
                return

    def _scan(self) -> Iterator[tuple[Member, TarReader]]:
        with open(self.data, "rb", buffering=0) as file:

            def skip(size: int) -> None:
                file.seek(size, os.SEEK_CUR)

            reader = TarReader(iter(lambda: file.read(self._read_bytes), b""))
            for member in reader:
                yield member, reader
                reader.skip_content(skip)

    def _checked(self, member: Member, reader: TarReader) -> Iterator[bytes]:
        crc32 = crc32_function()
        expected = self._sum(reader.offset) if member.size else 0
        crc = at = 0
        for offset, piece in reader.read_data():
            crc = crc32(piece, crc)
            yield from _nuls(offset - at)
            yield bytes(piece)
            at = offset + len(piece)
        yield from _nuls(member.size - at)
        if crc != expected:
            raise ContentMismatch(member.name)

    def _sum(self, position: int) -> int:
        try:
            sums = read_sums(self._sums.read_bytes())
        except FileNotFoundError:
            raise InvalidSums("it is gone") from None
        for found in sums:
            if found.position == position:
                return found.crc
        raise InvalidSums(f"it has no checksum of the content at byte {position}")


def _nuls(count: int) -> Iterator[bytes]:
    while count > 0:
        piece = _NULS[: min(count, len(_NULS))]
        yield piece
        count -= len(piece)
