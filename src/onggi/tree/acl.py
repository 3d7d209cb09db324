"""POSIX ACLs as extended attributes: what the kernel keeps of one.

::

    version u32 = 2, then entries of 8 bytes: │ tag u16 │ permissions u16 │ id u32 │, little endian

The rules are those of ``fs/posix_acl.c``: entries stand in the order owner, users, group,
groups, mask, others; whoever names a user or group has a mask; an access ACL that says no
more than the mode is not kept; ids of entries that name nobody are all ones.
"""

from __future__ import annotations

import errno
import os
import struct

__all__ = ["ACCESS", "DEFAULT", "checked", "says_more_than_mode", "with_mode"]

ACCESS, DEFAULT = b"system.posix_acl_access", b"system.posix_acl_default"

_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_NOBODY = 0xFFFFFFFF
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_ORDER = {USER_OBJ: 0, USER: 1, GROUP_OBJ: 2, GROUP: 3, MASK: 4, OTHER: 5}
_NAMED = (USER, GROUP)

Entry = tuple[int, int, int]


def checked(value: bytes) -> bytes:
    """The ACL as the kernel gives it back; empty for one without entries, which sets none.

    Raises:
        OSError: EINVAL for what is no ACL, ENOTSUP for another version of the format.
    """
    if not value:
        return b""
    if len(value) < _VERSION.size:
        raise _refused(errno.EINVAL)
    if _VERSION.unpack_from(value)[0] != 2:
        raise _refused(errno.ENOTSUP)
    if (len(value) - _VERSION.size) % _ENTRY.size:
        raise _refused(errno.EINVAL)
    entries = [
        (tag, permissions, number if tag in _NAMED else _NOBODY)
        for tag, permissions, number in _ENTRY.iter_unpack(value[_VERSION.size :])
    ]
    if not entries:
        return b""
    if not _is_valid(entries):
        raise _refused(errno.EINVAL)
    return _packed(entries)


def _refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _is_valid(entries: list[Entry]) -> bool:
    tags = [tag for tag, _, _ in entries]
    if not set(tags) <= _ORDER.keys() or any(permissions & ~7 for _, permissions, _ in entries):
        return False
    if any(tag in _NAMED and number == _NOBODY for tag, _, number in entries):
        return False
    places = [_ORDER[tag] for tag in tags]
    once = all(tags.count(tag) == 1 for tag in (USER_OBJ, GROUP_OBJ, OTHER)) and tags.count(MASK) <= 1
    masked = MASK in tags or not any(tag in tags for tag in _NAMED)
    return places == sorted(places) and once and masked


def _packed(entries: list[Entry]) -> bytes:
    return _VERSION.pack(2) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def says_more_than_mode(acl: bytes) -> bool:
    """False for a checked access ACL that the mode says already."""
    return any(tag not in (USER_OBJ, GROUP_OBJ, OTHER) for tag, _, _ in _entries(acl))


def with_mode(acl: bytes, mode: int) -> bytes:
    """A checked access ACL after a chmod: owner, mask (or group) and others follow the mode."""
    entries = _entries(acl)
    group = MASK if any(tag == MASK for tag, _, _ in entries) else GROUP_OBJ
    follows = {USER_OBJ: mode >> 6 & 7, group: mode >> 3 & 7, OTHER: mode & 7}
    return _packed([(tag, follows.get(tag, permissions), number) for tag, permissions, number in entries])


def _entries(acl: bytes) -> list[Entry]:
    return list(_ENTRY.iter_unpack(acl[_VERSION.size :]))
