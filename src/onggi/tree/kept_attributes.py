"""Which extended attributes of an archive a Linux file system would take, without asking one.

An index is written where nothing is unpacked, and perhaps by somebody who may set none of them;
it must hold what overlay2's directory would: the same attributes left out, the same refused.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from onggi.tree import acl

__all__ = ["kept_value"]

_NAME_MAX = 255
_VALUE_MAX = 65536
_NAMESPACES = (b"user.", b"trusted.", b"security.")
_CAPABILITY = b"security.capability"
_CAPABILITY_SIZES = {0x02000000: 20, 0x03000000: 24}  # by revision (capability.h)
_EFFECTIVE = 1
_NO_USER = 0xFFFFFFFF


def kept_value(file_type: int, name: bytes, value: bytes) -> bytes | None:
    """The value that stays on an object of ``file_type`` (of ``st_mode``); None: it is left out.

    Raises:
        OSError: as lsetxattr(2) for a privileged process, where unpacking gives up.
    """
    if not 0 < len(name) <= _NAME_MAX:
        raise _refused(errno.ERANGE)
    if len(value) > _VALUE_MAX:
        raise _refused(errno.E2BIG)
    if name in (acl.ACCESS, acl.DEFAULT):
        return _kept_acl(file_type, name, value)
    if not name.startswith(_NAMESPACES):
        return None
    if name.startswith(b"user.") and file_type not in (stat.S_IFREG, stat.S_IFDIR):
        return None
    if name in _NAMESPACES:
        raise _refused(errno.EINVAL)
    if name == _CAPABILITY and value and not _is_capability(value):
        raise _refused(errno.EINVAL)
    return value


def _kept_acl(file_type: int, name: bytes, value: bytes) -> bytes | None:
    """The kernel's form of an ACL; empty where setting it takes the ACL away."""
    if file_type == stat.S_IFLNK:
        return None
    try:
        kept = acl.checked(value)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return None
        raise
    if name == acl.DEFAULT:
        if kept and file_type != stat.S_IFDIR:
            raise _refused(errno.EACCES)
        return kept
    return kept if kept and acl.says_more_than_mode(kept) else b""


def _is_capability(value: bytes) -> bool:
    """What ``cap_convert_nscap`` takes (security/commoncap.c): a known head, and a root user that can be."""
    if len(value) < 4:
        return False
    revision = struct.unpack_from("<I", value)[0] & ~_EFFECTIVE
    if len(value) != _CAPABILITY_SIZES.get(revision):
        return False
    return len(value) == 20 or struct.unpack_from("<I", value, 20)[0] != _NO_USER


def _refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))
