"""The few forms of MessagePack that Fluentd's forward protocol needs.

Source: github.com/msgpack/msgpack, spec.md; fluentd, Forward Protocol Specification v1.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

__all__ = ["EventTime", "pack", "unpack_text_map"]

_I32 = 1 << 31


class EventTime:
    """Nanoseconds since 1970 as Fluentd's extension type 0."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = ns


Value = int | bytes | EventTime | Sequence["Value"] | Mapping[bytes, "Value"]


def pack(value: Value) -> bytes:
    """One value; ``bytes`` are strings, mappings keep their order."""
    if isinstance(value, int):
        return b"\xd2" + struct.pack(">i", value) if value < _I32 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, bytes):
        return _string_head(len(value)) + value
    if isinstance(value, EventTime):
        return b"\xd7\x00" + struct.pack(">II", *divmod(value.ns, 10**9))
    if isinstance(value, Mapping):
        pairs = b"".join(pack(name) + pack(item) for name, item in value.items())
        return _head(len(value), 0x80, b"\xde") + pairs
    return _head(len(value), 0x90, b"\xdc") + b"".join(pack(item) for item in value)


def _string_head(size: int) -> bytes:
    if size < 32:
        return bytes((0xA0 | size,))
    if size < 1 << 8:
        return b"\xd9" + bytes((size,))
    return b"\xda" + struct.pack(">H", size) if size < 1 << 16 else b"\xdb" + struct.pack(">I", size)


def _head(count: int, short: int, long: bytes) -> bytes:
    return bytes((short | count,)) if count < 16 else long + struct.pack(">H", count)


def unpack_text_map(data: bytes) -> dict[bytes, bytes] | None:
    """A map of strings to strings, None while it is not whole. Raises ValueError for anything else."""
    if not data:
        return None
    if data[0] & 0xF0 != 0x80:
        raise ValueError("not a map")
    found: list[bytes] = []
    position = 1
    for _ in range(2 * (data[0] & 0x0F)):
        start, size = _string_at(data, position)
        if start + size > len(data):
            return None
        found.append(data[start : start + size])
        position = start + size
    return dict(zip(found[::2], found[1::2], strict=True))


def _string_at(data: bytes, position: int) -> tuple[int, int]:
    """Where a string's bytes begin, and how many they are; beyond the data when its head is not whole."""
    if position >= len(data):
        return position, 1
    first = data[position]
    if first & 0xE0 == 0xA0:
        return position + 1, first & 0x1F
    if first != 0xD9:
        raise ValueError("not a short string")
    return position + 2, data[position + 1] if position + 1 < len(data) else 1
