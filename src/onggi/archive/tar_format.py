"""The tar block, its dialects, and what one member of an archive is.

An archive is a row of 512-byte blocks: a header, the content padded to the next
block, the next header … and two blocks of NUL bytes at the end::

      0  name 100        265  uname 32      ┐
    100  mode 8          297  gname 32      │
    108  uid 8           329  devmajor 8    │ every dialect but V7
    116  gid 8           337  devminor 8    ┘
    124  size 12         345  prefix 155          USTAR and PAX (magic "ustar\\0", version "00")
    136  mtime 12        345  prefix 131, atime 12, ctime 12, … "tar\\0" at 508   STAR
    148  checksum 8      345  atime 12, ctime 12, … sparse 4×24 at 386,           GNU ("ustar  \\0")
    156  type 1                 is-extended 1 at 482, real size 12 at 483
    157  linkname 100
    257  magic 6, version 2

Numbers are octal digits between NULs and spaces, or, when the first bit is set,
base-256 in two's complement. The checksum is the sum of the header's bytes with its
own field taken as spaces; Sun's tar summed signed bytes, so either sum is accepted.

The rules follow Go's ``archive/tar`` reader, which decides for Docker what a layer is.
"""

from __future__ import annotations

import re
import struct
from zlib import adler32

from onggi.errors import DataLoss

__all__ = [
    "BLOCK",
    "DEVICE_BLOCK",
    "DEVICE_CHARACTER",
    "DIRECTORY",
    "FIFO",
    "GLOBAL_HEADER",
    "HEADER_ONLY",
    "LINK",
    "REGULAR",
    "SPARSE_GNU",
    "SYMLINK",
    "InvalidTar",
    "Member",
    "TarTooLarge",
    "TruncatedTar",
    "clamp_path",
    "clean_path",
    "parse_header",
    "parse_number",
]

BLOCK = 512  # bytes; headers and contents start on multiples of it
GNU_MAGIC = b"ustar  \0"
ZERO_BLOCK = bytes(BLOCK)

REGULAR_V7 = 0
REGULAR = ord("0")
LINK = ord("1")
SYMLINK = ord("2")
DEVICE_CHARACTER = ord("3")
DEVICE_BLOCK = ord("4")
DIRECTORY = ord("5")
FIFO = ord("6")
GLOBAL_HEADER = ord("g")
EXTENDED_HEADER = ord("x")
GNU_LONG_NAME = ord("L")
GNU_LONG_LINK = ord("K")
SPARSE_GNU = ord("S")

HEADER_ONLY = frozenset((LINK, SYMLINK, DEVICE_CHARACTER, DEVICE_BLOCK, DIRECTORY, FIFO))
"""Types without a data section, whatever their size field says."""

_INT64_MAX = 2**63 - 1
_CACHE_LIMIT = 4096  # parsed number fields kept; mode, owner and time fields repeat endlessly in a layer
_unpack = struct.Struct("100s8s8s8s12s12s8sB100s8s64x8s8s155s12x").unpack
# A name is clean if no part is empty or begins with a dot; of those that remain few begin with one and are.
_DOUBTFUL = re.compile(rb"/(?:[/.]|\Z)")
_UNCLEAN = re.compile(rb"(?:^|/)(?:/|\.\.?(?:/|$))|/$|^$")


class InvalidTar(DataLoss):
    """The bytes are not an archive. ``offset`` counts uncompressed bytes, or is -1."""

    def __init__(self, message: str = "archive/tar: invalid tar header", *, offset: int = -1) -> None:
        super().__init__(message)
        self.offset = offset


class TruncatedTar(InvalidTar):
    """The stream ends inside a header or a content."""

    def __init__(self, *, offset: int = -1) -> None:
        super().__init__("unexpected EOF", offset=offset)


class TarTooLarge(InvalidTar):
    """An extension header, a sparse map or a list of attributes is beyond its limit."""


class Member:
    """One member of an archive, extension headers already merged into it.

    ``name`` is verbatim (``./``, ``bin/``, ``../x``: not cleaned). ``type`` is the type
    byte as a number. ``size`` is the length of the content in bytes, of the expanded
    content for a sparse member, and 0 for types without content. Times are nanoseconds
    since 1970, possibly negative; ``atime_ns`` is None where the archive has none.
    ``sparse`` is None, or the (offset, length) pairs of the data, ascending.
    """

    __slots__ = (
        "atime_ns",
        "devmajor",
        "devminor",
        "gid",
        "linkname",
        "mode",
        "mtime_ns",
        "name",
        "size",
        "sparse",
        "type",
        "uid",
        "xattrs",
    )

    def __init__(
        self,
        name: bytes,
        type: int,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        size: int = 0,
        linkname: bytes = b"",
        devmajor: int = 0,
        devminor: int = 0,
        atime_ns: int | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime_ns = mtime_ns
        self.size = size
        self.linkname = linkname
        self.devmajor = devmajor
        self.devminor = devminor
        self.atime_ns = atime_ns
        self.xattrs: dict[bytes, bytes] = {}
        self.sparse: tuple[tuple[int, int], ...] | None = None

    def __repr__(self) -> str:
        return f"Member({self.name!r}, {chr(self.type)!r}, {self.size} bytes)"


def parse_header(block: bytes, numbers: dict[bytes, int]) -> Member:
    """The member that one 512-byte header tells of, extension headers not considered.

    ``numbers`` is a cache of parsed fields that the caller keeps for one archive. The
    returned ``size`` is the field's value, also for types without content.

    Raises:
        InvalidTar: the checksum or a number is wrong.
    """
    name, mode, uid, gid, size, mtime, checksum, kind, linkname, magic, major, minor, prefix = _unpack(block)
    if not _checksum_matches(block, checksum):
        raise InvalidTar
    try:
        member = Member(
            name.split(b"\0", 1)[0],
            kind,
            numbers[mode],
            numbers[uid],
            numbers[gid],
            numbers[mtime] * 1_000_000_000,
            parse_number(size),
            linkname.split(b"\0", 1)[0] if linkname[0] else b"",
        )
        if magic[:6] == b"ustar\0":
            member.devmajor, member.devminor = numbers[major], numbers[minor]
            if block[508:512] == b"tar\0":
                _parse_star(member, block)
            elif prefix[0]:
                member.name = prefix.split(b"\0", 1)[0] + b"/" + member.name
        elif magic == GNU_MAGIC:
            member.devmajor, member.devminor = numbers[major], numbers[minor]
            if block[345] or block[357]:
                _parse_gnu_times(member, block)
    except KeyError:
        dialect = magic[:6] == b"ustar\0" or magic == GNU_MAGIC
        _learn((mode, uid, gid, mtime, major, minor) if dialect else (mode, uid, gid, mtime), numbers)
        return parse_header(block, numbers)
    return member


def _learn(fields: tuple[bytes, ...], numbers: dict[bytes, int]) -> None:
    """Parse the fields that the cache lacks."""
    if len(numbers) > _CACHE_LIMIT:
        numbers.clear()
    for field in fields:
        if field not in numbers:
            numbers[field] = parse_number(field)


def _parse_star(member: Member, block: bytes) -> None:
    """STAR: a shorter prefix, and times of access and change."""
    prefix = block[345:476].split(b"\0", 1)[0]
    member.atime_ns = parse_number(block[476:488]) * 1_000_000_000
    parse_number(block[488:500])
    if prefix:
        member.name = prefix + b"/" + member.name


def _parse_gnu_times(member: Member, block: bytes) -> None:
    """GNU: times of access and change, or the prefix that Go before 1.8 wrote in their place."""
    try:
        if block[345]:
            member.atime_ns = parse_number(block[345:357]) * 1_000_000_000
        if block[357]:
            parse_number(block[357:369])
    except InvalidTar:
        member.atime_ns = None
        prefix = block[345:500].split(b"\0", 1)[0]
        if prefix and prefix.isascii():
            member.name = prefix + b"/" + member.name


def _checksum_matches(block: bytes, field: bytes) -> bool:
    """Compare the header's checksum with the sum of its bytes, unsigned or signed.

    The low half of Adler-32 is 1 + the sum of all bytes modulo 65521. 512 ASCII bytes
    add up to 65024 at most, so for them it is the sum itself, fifteen times faster than
    adding in Python, and the signed sum is the same.
    """
    given = _parse_octal(field)
    spaces = 256 - sum(field)
    if block.isascii():
        return given == (adler32(block) & 0xFFFF) - 1 + spaces
    unsigned = sum(block) + spaces
    signed = unsigned - 256 * sum(byte > 127 for byte in block)
    return given in (unsigned, signed)


def parse_number(field: bytes) -> int:
    """A numeric field: octal digits, or base-256 when the first bit is set.

    Raises:
        InvalidTar: neither, or beyond 64 bits.
    """
    if field[0] & 0x80:
        return _parse_base256(field)
    return _parse_octal(field)


def _parse_octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits.isdigit():
        digits = digits.split(b"\0", 1)[0]
        if not digits:
            return 0
        if not digits.isdigit():
            raise InvalidTar
    try:
        return int(digits, 8)
    except ValueError:
        raise InvalidTar from None


def _parse_base256(field: bytes) -> int:
    """Two's complement, big endian; the first bit is the mark, the second the sign."""
    bits = 8 * len(field) - 1
    value = int.from_bytes(field, "big") & ((1 << bits) - 1)
    if field[0] & 0x40:
        value -= 1 << bits
    if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise InvalidTar
    return value


def clean_path(path: bytes) -> bytes:
    """Go's ``path.Clean``: the shortest name for the same path, by its text alone.

    ``./a//b/`` → ``a/b``; ``a/../../b`` → ``../b``; ``/../a`` → ``/a``; empty → ``.``.
    """
    short = path[2:] if path[:2] == b"./" else path
    if short[-1:] == b"/":
        short = short[:-1]
    if short and not short.startswith((b"/", b".")) and _DOUBTFUL.search(short) is None:
        return short
    return short if _UNCLEAN.search(short) is None else _clean_slowly(path)


def _clean_slowly(path: bytes) -> bytes:
    rooted = path[:1] == b"/"
    kept: list[bytes] = []
    for part in path.split(b"/"):
        if part != b"..":
            if part not in (b"", b"."):
                kept.append(part)
        elif kept and kept[-1] != b"..":
            kept.pop()
        elif not rooted:
            kept.append(part)
    cleaned = b"/".join(kept)
    return b"/" + cleaned if rooted else cleaned or b"."


def clamp_path(path: bytes) -> bytes:
    """``path`` below a root, as Docker joins it to ``/``: no leading ``/`` or ``..``; the root is empty.

    ``/abs/f`` → ``abs/f``; ``../evil`` → ``evil``; ``./`` → empty.
    """
    cleaned = clean_path(path)
    if cleaned.startswith((b"/", b".")):
        cleaned = _clean_slowly(b"/" + cleaned)[1:]
    return cleaned
