"""CRC-64/ISO as Go's ``hash/crc64`` computes it, the check of a file's content in tar-split.

Reflected, polynomial 0xD800000000000000, register preset to ones and complemented at
the end. ``fastcrc`` does it in C; the table below steps in where it is not installed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["crc64"]

_POLYNOMIAL = 0xD800000000000000
_ONES = 0xFFFFFFFFFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    """The 256 remainders of one byte."""
    remainders = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        remainders.append(byte)
    return tuple(remainders)


def crc64_by_table(data: bytes | memoryview, value: int = 0) -> int:
    """CRC-64/ISO of ``data`` after bytes whose CRC is ``value``; about 15 MB/s."""
    register = value ^ _ONES
    remainders = _table()
    for byte in bytes(data):
        register = remainders[(register ^ byte) & 0xFF] ^ register >> 8
    return register ^ _ONES


def _fastest() -> Callable[[bytes | memoryview, int], int]:
    try:
        from fastcrc.crc64 import go_iso
    except ImportError:
        return crc64_by_table
    return go_iso


_implementation = _fastest()


def crc64(data: bytes | memoryview, value: int = 0) -> int:
    """CRC-64/ISO of ``data`` following bytes whose CRC is ``value`` (0 for none)."""
    return _implementation(data, value)
