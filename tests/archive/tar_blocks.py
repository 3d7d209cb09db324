"""Make archives block by block, also such as no tar program would write."""

from __future__ import annotations

from collections.abc import Mapping

BLOCK = 512
END = bytes(2 * BLOCK)
USTAR = b"ustar\x0000"
GNU = b"ustar  \0"
V7 = bytes(8)


def octal(value: int, width: int) -> bytes:
    """A number field: zero-padded octal and a NUL; base-256 where that is too small."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return base256(value, width)


def base256(value: int, width: int) -> bytes:
    """GNU's binary number field."""
    field = bytearray((value & ((1 << 8 * width) - 1)).to_bytes(width, "big"))
    field[0] |= 0x80
    if value < 0:
        field[0] |= 0x40
    return bytes(field)


def checksum(block: bytes | bytearray, *, signed: bool = False) -> int:
    """Sum of a header's bytes, its checksum field taken as spaces."""
    spaced = block[:148] + b" " * 8 + block[156:]
    return sum(byte - 256 if signed and byte > 127 else byte for byte in spaced)


def header(
    name: bytes,
    kind: bytes = b"0",
    size: int = 0,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 1_700_000_000,
    linkname: bytes = b"",
    magic: bytes = USTAR,
    prefix: bytes = b"",
    device: tuple[int, int] = (0, 0),
    patch: Mapping[int, bytes] | None = None,
    signed: bool = False,
) -> bytes:
    """One header block; ``patch`` overwrites bytes at offsets before the checksum is made."""
    block = bytearray(BLOCK)
    fields = {
        0: name[:100],
        100: octal(mode, 8),
        108: octal(uid, 8),
        116: octal(gid, 8),
        124: octal(size, 12),
        136: octal(mtime, 12),
        156: kind,
        157: linkname[:100],
        257: magic,
    }
    if magic != V7:
        fields |= {329: octal(device[0], 8), 337: octal(device[1], 8)}
    if prefix:
        fields[345] = prefix
    for offset, value in (fields | dict(patch or {})).items():
        block[offset : offset + len(value)] = value
    block[148:156] = b"%06o\0 " % checksum(block, signed=signed)
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Data filled up to a whole block."""
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", **fields: object) -> bytes:
    """A header and its content."""
    return header(name, kind, len(data), **fields) + padded(data)  # type: ignore[arg-type]


def directory(name: bytes, **fields: object) -> bytes:
    """A directory's header."""
    return member(name, kind=b"5", **({"mode": 0o755} | fields))


def symlink(name: bytes, target: bytes, **fields: object) -> bytes:
    """A symbolic link's header."""
    return member(name, kind=b"2", linkname=target, **({"mode": 0o777} | fields))


def link(name: bytes, target: bytes, **fields: object) -> bytes:
    """A hard link's header."""
    return member(name, kind=b"1", linkname=target, **fields)


def record(keyword: bytes, value: bytes) -> bytes:
    """One PAX record with its own length in front."""
    length = len(keyword) + len(value) + 3
    total = length + len(str(length))
    total = length + len(str(total))
    return b"%d %b=%b\n" % (total, keyword, value)


def pax(
    records: Mapping[bytes, bytes] | list[tuple[bytes, bytes]], kind: bytes = b"x", name: bytes = b"pax"
) -> bytes:
    """An extended header."""
    pairs = records.items() if isinstance(records, Mapping) else records
    return member(name, b"".join(record(keyword, value) for keyword, value in pairs), kind)


def xattr(name: bytes, value: bytes) -> bytes:
    """An extended header with one attribute."""
    return pax({b"SCHILY.xattr." + name: value})


def gnu_long(value: bytes, kind: bytes = b"L") -> bytes:
    """GNU's long name (``L``) or long link name (``K``) for the next member."""
    return member(b"././@LongLink", value + b"\0", kind, magic=GNU)
