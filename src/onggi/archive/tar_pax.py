"""PAX extended headers and GNU sparse maps.

::

    records = *( length SP keyword "=" value LF )      length: decimal, of the whole record

    0.0  GNU.sparse.offset, GNU.sparse.numbytes, repeated, in pairs; GNU.sparse.size
    0.1  GNU.sparse.map = offset "," length *( "," offset "," length ); GNU.sparse.size
    1.0  GNU.sparse.major, .minor, .name, .realsize; the map leads the content:
         count LF *( offset LF length LF ), padded to a block
    old  type "S": four pairs in the header, then blocks of 21 pairs and an is-extended byte

The rules follow Go's ``archive/tar``: an empty value leaves the header's field as it
is, unknown sparse versions are plain files, a map must ascend and stay inside the size.
"""

from __future__ import annotations

import re

from onggi.archive.tar_format import InvalidTar, Member, TarTooLarge, parse_number

__all__ = ["merge_records", "parse_old_sparse_map", "parse_records", "sparse_version", "validate_sparse_map"]

SparseMap = tuple[tuple[int, int], ...]

_XATTR = b"SCHILY.xattr."
_SPARSE_PAIR = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
_SPARSE_MAP = b"GNU.sparse.map"
_STRINGS = frozenset((b"path", b"linkpath", b"uname", b"gname"))
_INTEGER = re.compile(rb"[+-]?[0-9]+")
_SECONDS = re.compile(rb"([+-]?[0-9]+)(?:\.([0-9]*))?")

XATTR_NAMES_LIMIT = 65536
"""Bytes of all attribute names of one member, each with its NUL: the kernel's XATTR_LIST_MAX.

More could be set one by one and never be listed again, so nobody means it."""


def parse_records(data: bytes) -> dict[bytes, bytes]:
    """The records of one extended header; a later keyword replaces an earlier one.

    Sparse pairs of version 0.0 are gathered into the map of version 0.1.

    Raises:
        InvalidTar: a record breaks the grammar.
    """
    records: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        space = data.find(b" ", position, position + 20)
        length = data[position:space]
        if space < 0 or not length.isdigit():
            raise InvalidTar
        following = position + int(length)
        equals = data.find(b"=", space, following - 1)
        if equals <= space + 1 or following > end or data[following - 1] != 0x0A:
            raise InvalidTar
        keyword, value = data[space + 1 : equals], data[equals + 1 : following - 1]
        if b"\0" in (value if keyword in _STRINGS else keyword):
            raise InvalidTar
        if keyword in _SPARSE_PAIR:
            if keyword != _SPARSE_PAIR[len(pairs) % 2] or b"," in value:
                raise InvalidTar
            pairs.append(value)
        else:
            records[keyword] = value
        position = following
    if pairs:
        records[_SPARSE_MAP] = b",".join(pairs)
    return records


def merge_records(member: Member, records: dict[bytes, bytes]) -> None:
    """Let the records of an extended header overrule the header's fields.

    Raises:
        InvalidTar: a number or a time is malformed.
        TarTooLarge: more attribute names than a file can list.
    """
    for keyword, value in records.items():
        if keyword[:13] == _XATTR:
            member.xattrs[keyword[13:]] = value
        elif value:
            _merge_field(member, keyword, value)
    if member.xattrs and sum(map(len, member.xattrs)) + len(member.xattrs) > XATTR_NAMES_LIMIT:
        raise TarTooLarge("archive/tar: too many extended attributes")


def _merge_field(member: Member, keyword: bytes, value: bytes) -> None:
    match keyword:
        case b"path":
            member.name = value
        case b"linkpath":
            member.linkname = value
        case b"size":
            member.size = _integer(value)
        case b"uid":
            member.uid = _integer(value)
        case b"gid":
            member.gid = _integer(value)
        case b"mtime":
            member.mtime_ns = _nanoseconds(value)
        case b"atime":
            member.atime_ns = _nanoseconds(value)
        case b"ctime":
            _nanoseconds(value)


def _integer(text: bytes) -> int:
    """Go's ``ParseInt`` with base 10 and 64 bits."""
    if len(text) > 24 or not _INTEGER.fullmatch(text):
        raise InvalidTar
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise InvalidTar
    return value


def _nanoseconds(text: bytes) -> int:
    """Seconds with an optional fraction, digits beyond the ninth cut off."""
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise InvalidTar
    seconds = _integer(match[1]) * 1_000_000_000
    fraction = int((match[2] or b"")[:9].ljust(9, b"0"))
    return seconds - fraction if text[:1] == b"-" else seconds + fraction


def sparse_version(records: dict[bytes, bytes]) -> bytes:
    """``0.1`` (0.0 too), ``1.0``, or empty for a plain file."""
    major, minor = records.get(b"GNU.sparse.major", b""), records.get(b"GNU.sparse.minor", b"")
    if major == b"0" and minor in (b"0", b"1"):
        return b"0.1"
    if major == b"1" and minor == b"0":
        return b"1.0"
    return b"0.1" if not major and not minor and records.get(_SPARSE_MAP) else b""


def merge_sparse_records(member: Member, records: dict[bytes, bytes]) -> None:
    """The true name and the expanded size of a sparse member."""
    name = records.get(b"GNU.sparse.name")
    if name:
        if b"\0" in name:
            raise InvalidTar
        member.name = name
    size = records.get(b"GNU.sparse.size") or records.get(b"GNU.sparse.realsize")
    if size:
        member.size = _integer(size)


def parse_sparse_map_0_1(records: dict[bytes, bytes]) -> SparseMap:
    """The map held in the extended header itself."""
    count = _integer(records.get(b"GNU.sparse.numblocks", b""))
    text = records.get(_SPARSE_MAP, b"")
    numbers = text.split(b",") if text else []
    if count < 0 or len(numbers) != 2 * count:
        raise InvalidTar
    return _pairs(numbers)


def sparse_map_1_0_lines(head: bytes) -> int:
    """How many lines the map of version 1.0 has, its first line included."""
    count = _integer(head.partition(b"\n")[0])
    if count < 0:
        raise InvalidTar
    return 1 + 2 * count


def parse_sparse_map_1_0(text: bytes) -> SparseMap:
    """The map that leads a content; ``text`` holds at least as many lines as it says."""
    lines = text.split(b"\n", sparse_map_1_0_lines(text))
    return _pairs(lines[1:-1])


def _pairs(numbers: list[bytes]) -> SparseMap:
    values = [_integer(number) for number in numbers]
    return tuple(zip(values[::2], values[1::2], strict=True))


def parse_old_sparse_map(block: bytes, start: int, slots: int) -> tuple[list[tuple[int, int]], bool]:
    """The pairs of one GNU header or extension block, and whether another block follows.

    ``start`` is the offset of the first of ``slots`` 24-byte pairs; an unused slot ends them.
    """
    pairs = []
    for at in range(start, start + 24 * slots, 24):
        if block[at] == 0:
            break
        pairs.append((parse_number(block[at : at + 12]), parse_number(block[at + 12 : at + 24])))
    return pairs, block[start + 24 * slots] != 0


def validate_sparse_map(pairs: SparseMap, size: int) -> None:
    """Data must ascend without overlap and end inside ``size``.

    Raises:
        InvalidTar: it does not.
    """
    position = 0
    if size < 0:
        raise InvalidTar
    for offset, length in pairs:
        if offset < position or length < 0 or offset + length > size:
            raise InvalidTar
        position = offset + length
