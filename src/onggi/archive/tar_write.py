"""Headers of archives, as Go's ``archive/tar`` writes them for Docker.

A member is a plain USTAR header wherever its fields fit; otherwise a PAX header with the
fields that do not, and a main header with what is left of them (docker-engine §7.2)::

    "x" header  <dir>/PaxHeaders.0/<base>      ┐ only when something does not fit:
    records     "<length> <key>=<value>\\n"     ┘ size ≥ 8 GiB, long or non-ASCII names, …
    header      name, mode, uid, …, "ustar\\0" "00", uname, gname, devices, prefix
    content     padded with NUL to the next 512

The archive ends with exactly two blocks of NUL.
"""

from __future__ import annotations

import struct
from posixpath import join

from onggi.archive.tar_format import BLOCK, EXTENDED_HEADER, Member, clean_path

__all__ = ["END_OF_ARCHIVE", "format_header", "padding"]

END_OF_ARCHIVE = bytes(2 * BLOCK)

_NAME_SIZE = 100
_PREFIX_SIZE = 155
_SECOND_NS = 1_000_000_000
_pack = struct.Struct("100s8s8s8s12s12s8sB100s8s32s32s8s8s155s12x").pack
_MAGIC = b"ustar\x0000"
_NO_CHECKSUM = b" " * 8


def padding(size_bytes: int) -> bytes:
    """What follows a content of this size, up to the next block."""
    return bytes(-size_bytes % BLOCK)


def format_header(member: Member, *, user: bytes = b"", group: bytes = b"") -> bytes:
    """The blocks before a member's content. Times are cut to whole seconds, as Docker's are.

    ``user`` and ``group`` are names; every other field is the member's, xattrs included.
    """
    mtime_s = member.mtime_ns // _SECOND_NS
    records = _records(member, mtime_s)
    split = _split(member.name)
    if split is not None and set(records) <= {b"path"}:
        return _block(member, mtime_s, split[1], split[0], user, group)
    if not records:
        return _block(member, mtime_s, member.name, b"", user, group)
    return _extended(member.name, records) + _block(
        member, mtime_s, _ascii(member.name), b"", _ascii(user), _ascii(group)
    )


def _records(member: Member, mtime_s: int) -> dict[bytes, bytes]:
    """What does not fit into the header's own fields."""
    records = {
        key: str(value).encode()
        for key, value, width in (
            (b"uid", member.uid, 8),
            (b"gid", member.gid, 8),
            (b"size", member.size, 12),
            (b"mtime", mtime_s, 12),
        )
        if not _fits(value, width)
    }
    texts = {b"path": member.name, b"linkpath": member.linkname}
    records |= {key: text for key, text in texts.items() if len(text) > _NAME_SIZE or not text.isascii()}
    return records | {b"SCHILY.xattr." + name: value for name, value in member.xattrs.items()}


def _extended(name: bytes, records: dict[bytes, bytes]) -> bytes:
    data = b"".join(_record(key, value) for key, value in sorted(records.items()))
    directory, _, base = name.rpartition(b"/")
    shown = _ascii(clean_path(join(directory, b"PaxHeaders.0", base)))[:_NAME_SIZE].rstrip(b"/")
    header = _sealed(
        _pack(
            shown,
            *(_octal(0, 8),) * 3,
            _octal(len(data), 12),
            _octal(0, 12),
            _NO_CHECKSUM,
            EXTENDED_HEADER,
            b"",
            _MAGIC,
            *(b"",) * 5,
        )
    )
    return header + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """``<length> <key>=<value>\\n``; the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _block(member: Member, mtime_s: int, name: bytes, prefix: bytes, user: bytes, group: bytes) -> bytes:
    return _sealed(
        _pack(
            _cut(name),
            _octal(member.mode, 8),
            _octal(member.uid, 8),
            _octal(member.gid, 8),
            _octal(member.size, 12),
            _octal(mtime_s, 12),
            _NO_CHECKSUM,
            member.type,
            _cut(_ascii(member.linkname)),
            _MAGIC,
            user,
            group,
            _octal(member.devmajor, 8),
            _octal(member.devminor, 8),
            prefix,
        )
    )


def _sealed(block: bytes) -> bytes:
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _octal(value: int, width: int) -> bytes:
    """Zero-padded digits and a NUL; what does not fit is 0, and stands in a record."""
    return b"%0*o" % (width - 1, value if _fits(value, width) else 0)


def _fits(value: int, width: int) -> bool:
    return 0 <= value < 1 << 3 * (width - 1)


def _ascii(text: bytes) -> bytes:
    return bytes(byte for byte in text if byte < 128)


def _cut(name: bytes) -> bytes:
    """The first 100 bytes; a slash at the cut would make it a directory for some readers."""
    return name if len(name) <= _NAME_SIZE else name[:_NAME_SIZE].rstrip(b"/")


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and name of a long name that USTAR can hold, as Go splits it."""
    if len(name) <= _NAME_SIZE or not name.isascii():
        return None
    length = min(len(name) - name.endswith(b"/"), _PREFIX_SIZE + 1)
    cut = name.rfind(b"/", 0, length)
    rest = len(name) - cut - 1
    if cut <= 0 or not 0 < rest <= _NAME_SIZE or cut > _PREFIX_SIZE:
        return None
    return name[:cut], name[cut + 1 :]
