"""``layer.sums``: a checksum of every content in a layer's tar, so that damage can be named.

::

    │ "onggisum" │ count u32 │ CRC of what follows u32 │
    │ block u32 │ length u64 │ CRC u32 │  for every content, in the order of the archive

All little endian; ``block`` counts 512 bytes from the start of the data file, ``length`` is what
lies there (of a sparse member its data without the holes). CRCs are zlib's CRC-32: they name what
changed, the diffID proves that nothing did.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from onggi.errors import DataLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Crc32 = Callable[[bytes | memoryview, int], int]

__all__ = ["BLOCK", "SUM", "ContentSum", "InvalidSums", "crc32_function", "pack_sums", "read_sums"]

BLOCK = 512
SUM = struct.Struct("<IQI")

_MAGIC = b"onggisum"
_HEADER = struct.Struct("<8sII")


class InvalidSums(DataLoss):
    """The bytes are no list of checksums, or a damaged one."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"read layer.sums: {cause}", hint="'onggi repair' writes it anew")


class ContentSum(NamedTuple):
    """``length`` bytes at ``position`` of the data file, and their CRC."""

    position: int
    length: int
    crc: int


def crc32_function() -> Crc32:
    """isal's, which is ten times as fast, or zlib's."""
    try:
        from isal.isal_zlib import crc32
    except ImportError:
        return zlib.crc32
    found: Crc32 = crc32
    return found


def pack_sums(entries: list[bytes]) -> bytes:
    """The file; ``entries`` are packed with :data:`SUM`."""
    body = b"".join(entries)
    return _HEADER.pack(_MAGIC, len(entries), crc32_function()(body, 0)) + body


def read_sums(data: bytes) -> Iterator[ContentSum]:
    """What the file holds, in the order of the archive. Raises InvalidSums at once."""
    if len(data) < _HEADER.size:
        raise InvalidSums("it is too short")
    magic, count, crc = _HEADER.unpack_from(data)
    body = memoryview(data)[_HEADER.size :]
    if magic != _MAGIC:
        raise InvalidSums("it begins with other bytes")
    if len(body) != count * SUM.size or crc32_function()(body, 0) != crc:
        raise InvalidSums("it is damaged")
    return (ContentSum(block * BLOCK, length, crc) for block, length, crc in SUM.iter_unpack(body))
