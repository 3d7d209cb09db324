"""Whiteouts: how a layer says that something below it is gone.

======================  ============================  =====================================
what is gone            in an archive (AUFS, OCI)     in a directory (overlayfs)
======================  ============================  =====================================
``dir/name``            file ``dir/.wh.name``         character device 0:0 ``dir/name``
all of ``dir`` below    file ``dir/.wh..wh..opq``     xattr ``trusted.overlay.opaque``=``y``
======================  ============================  =====================================
"""

from __future__ import annotations

import errno
import os
import stat

from onggi.archive.tar_format import clamp_path
from onggi.tree.errors import InvalidLayer, failure, printable

__all__ = [
    "OPAQUE_MARKER",
    "OPAQUE_XATTR",
    "PREFIX",
    "belongs_to_overlay",
    "is_whiteout",
    "make_opaque",
    "make_whiteout",
]

PREFIX = b".wh."
OPAQUE_MARKER = b".wh..wh..opq"
OPAQUE_XATTR = b"trusted.overlay.opaque"

_OVERLAY_NAMESPACES = (b"trusted.overlay.", b"user.overlay.")


def belongs_to_overlay(xattr: bytes) -> bool:
    """Whether an attribute steers the kernel's overlay driver and so must not come from an archive.

    Docker sets them as any other. A layer could then redirect a directory to another path
    of the lower layers (``redirect``), borrow another file's content (``metacopy``) or name
    an inode of the host's file system by its handle (``origin``). Archives that Docker and
    others make never hold them, so leaving them out costs nothing; the diffID comes from
    the archive's bytes and does not change.
    """
    return xattr.startswith(_OVERLAY_NAMESPACES)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this is overlayfs's mark of a deleted name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_opaque(directory_fd: int, directory: bytes) -> None:
    """Hide what lower layers have in a directory; ``directory_fd`` is open for reading."""
    try:
        os.setxattr(directory_fd, OPAQUE_XATTR, b"y")
    except OSError as error:
        what = f'setxattr("{printable(directory)}", {OPAQUE_XATTR.decode()}=y)'
        raise failure(error, what, directory) from None


def make_whiteout(parent_fd: int, parent: bytes, name: bytes, uid: int, gid: int) -> None:
    """Mark ``name`` (of ``.wh.<name>``) as deleted; owner as given, mode 0, as Docker does.

    Raises:
        InvalidLayer: the name exists in this layer already.
    """
    path = clamp_path(parent + b"/" + name)
    what = f'failed to mknod("{printable(path)}", S_IFCHR, 0)'
    if name in (b"", b".", b".."):
        raise InvalidLayer(f"{what}: {os.strerror(errno.EEXIST).lower()}", path=path)
    try:
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent_fd)
        os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
    except OSError as error:
        raise failure(error, what, path) from None
