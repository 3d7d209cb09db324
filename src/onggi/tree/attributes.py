"""Extended attributes: those on disk against those of the archive.

Not everything that differs was changed by somebody. The kernel lets a mode rewrite parts of
an ACL, drops an ACL that says no more than the mode, and hands default ACLs down; labels of
SELinux and IMA belong to the host; what a file system does not know was never set; overlayfs
writes notes of its own.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from onggi.tree.whiteout import OPAQUE_XATTR, belongs_to_overlay

__all__ = ["changed_attributes"]

_ACCESS_ACL, _DEFAULT_ACL = b"system.posix_acl_access", b"system.posix_acl_default"
_OF_THE_HOST = frozenset((b"security.selinux", b"security.ima", b"security.evm", b"security.SMACK64"))
_ACL_ENTRY = struct.Struct("<HHI")
# Tags of ACL entries that name a user or a group; all others follow the mode.
_NAMED_TAGS = (0x02, 0x08)


def changed_attributes(
    name: bytes | int, file_type: int, expected: dict[bytes, bytes] | None, *, opaque: bool, inherited: bool
) -> list[bytes]:
    """Names of attributes of ``name`` (a descriptor, or a name in the working directory) that differ.

    ``opaque``: the directory must hide what is below it. ``inherited``: ACLs that the archive
    does not have may come from a default ACL.
    """
    follow = isinstance(name, int)
    found = [os.fsencode(each) for each in os.listxattr(name, follow_symlinks=follow)]
    if not found and not expected and not opaque:
        return []
    wanted = {key: value for key, value in (expected or {}).items() if _can_be_set(key, file_type)}
    changed = [key for key, value in wanted.items() if _differs(name, key, value, key in found)]
    changed += [key for key in found if key not in wanted and _is_foreign(key, inherited=inherited)]
    if opaque != (OPAQUE_XATTR in found and os.getxattr(name, OPAQUE_XATTR, follow_symlinks=follow) == b"y"):
        changed.append(OPAQUE_XATTR)
    return changed


def _can_be_set(key: bytes, file_type: int) -> bool:
    """False for what the kernel refuses and unpacking leaves out."""
    if key in _OF_THE_HOST:
        return False
    if key.startswith(b"user."):
        return file_type in (stat.S_IFREG, stat.S_IFDIR)
    return True


def _is_foreign(key: bytes, *, inherited: bool) -> bool:
    if key in _OF_THE_HOST or belongs_to_overlay(key):
        return False
    return not (inherited and key in (_ACCESS_ACL, _DEFAULT_ACL))


def _differs(name: bytes | int, key: bytes, expected: bytes, present: bool) -> bool:
    follow = isinstance(name, int)
    try:
        value = os.getxattr(name, key, follow_symlinks=follow)
    except OSError as error:
        # A file system that does not know it refused it when the layer was unpacked.
        if error.errno in (errno.ENOTSUP, errno.EPERM) and not present:
            return False
        value = b""
        if key != _ACCESS_ACL:
            return True
    if key == _ACCESS_ACL:
        return _named_entries(value) != _named_entries(expected)
    return value != expected


def _named_entries(acl: bytes) -> list[tuple[int, int, int]]:
    """(tag, permissions, id) of the entries that a mode does not rewrite."""
    body = acl[4:]
    entries = _ACL_ENTRY.iter_unpack(body[: len(body) - len(body) % _ACL_ENTRY.size])
    return [entry for entry in entries if entry[0] in _NAMED_TAGS]
