"""The header of a gzip member (RFC 1952).

::

    header = %x1F %x8B %x08 flags:1 time:4 xfl:1 os:1
             [extra-length:2 LE  extra]   flag 4
             [name NUL]                   flag 8
             [comment NUL]                flag 16
             [crc16:2 LE]                 flag 2, of all before it

ISA-L's own reader loses its way when a header with an extra field comes in two pieces, so
the header is passed over here, and the decompressor gets what follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BrokenHeader", "header_size"]

HEADER_LIMIT = 1 << 20
"""Bytes of one header. An extra field has 65535 at most; names and comments have no limit of their own."""

_HEADER_CRC, _EXTRA, _NAME, _COMMENT, _RESERVED = 2, 4, 8, 16, 0xE0


class BrokenHeader(Exception):
    """The header is damaged or cut off."""


def header_size(peek: Callable[[int], bytes]) -> int:
    """Bytes of the header at the start of a stream whose first bytes ``peek(size)`` shows."""
    flags = _at_least(peek, 10)[3]
    size = 10
    if flags & _RESERVED:
        raise BrokenHeader("unknown header flags")
    if flags & _EXTRA:
        head = _at_least(peek, size + 2)
        size += 2 + int.from_bytes(head[size : size + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            size = _end_of_text(peek, size)
    if flags & _HEADER_CRC:
        head = _at_least(peek, size + 2)
        if crc32(head[:size]) & 0xFFFF != int.from_bytes(head[size:], "little"):
            raise BrokenHeader("header checksum")
        size += 2
    _at_least(peek, size)
    return size


def _at_least(peek: Callable[[int], bytes], size: int) -> bytes:
    head = peek(size)
    if len(head) < size:
        raise BrokenHeader("unexpected EOF")
    return head


def _end_of_text(peek: Callable[[int], bytes], start: int) -> int:
    """Where the NUL-terminated text at ``start`` is over."""
    length = 256
    while length <= HEADER_LIMIT:
        head = peek(start + length)
        end = head.find(b"\0", start)
        if end >= 0:
            return end + 1
        if len(head) < start + length:
            raise BrokenHeader("unexpected EOF")
        length *= 4
    raise BrokenHeader("header too long")
