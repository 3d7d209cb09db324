"""Make one name of each type in an open directory; what stands there already is FileExistsError.

Modes are those asked for: the caller has set the umask to 0. Each function gives the
descriptor of what it made, which the caller closes, or -1 where nothing is open.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from onggi.archive.tar import DEVICE_BLOCK, DEVICE_CHARACTER, DIRECTORY, FIFO, LINK, SYMLINK
from onggi.archive.tar_format import clamp_path
from onggi.tree.errors import InvalidLayer, errno_text, failure, printable, shortened

if TYPE_CHECKING:
    from onggi.archive.tar import Member
    from onggi.errors import OnggiError

__all__ = ["PATH_MAX", "create_directory", "create_file", "create_node", "create_symlink", "refusal"]

PATH_MAX = 4095
"""Bytes of a member's path from ``/``: more than that nobody could open, in Docker not even create."""

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE_TYPES = {DEVICE_CHARACTER: stat.S_IFCHR, DEVICE_BLOCK: stat.S_IFBLK, FIFO: stat.S_IFIFO}
_VERBS = {DIRECTORY: "mkdir", SYMLINK: "symlink", LINK: "link"} | dict.fromkeys(_NODE_TYPES, "mknod")


def create_file(parent_fd: int, name: bytes, member: Member) -> int:
    """An empty file, open for writing. Setuid bits wait until its content and owner are right."""
    return os.open(name, _CREATE, member.mode & 0o777, dir_fd=parent_fd)


def create_directory(parent_fd: int, name: bytes, member: Member) -> int:
    """An empty directory."""
    os.mkdir(name, member.mode & 0o777, dir_fd=parent_fd)
    return -1


def create_symlink(parent_fd: int, name: bytes, member: Member) -> int:
    """A symbolic link, its target verbatim."""
    os.symlink(member.linkname, name, dir_fd=parent_fd)
    return -1


def create_node(parent_fd: int, name: bytes, member: Member) -> int:
    """A device or fifo; numbers beyond the kernel's 12 and 20 bits are cut, as Docker cuts them."""
    device = os.makedev(member.devmajor & 0xFFF, member.devminor & 0xFFFFF)
    os.mknod(name, _NODE_TYPES[member.type] | member.mode & 0o777, device, dir_fd=parent_fd)
    return -1


def refusal(error: OSError, member: Member, path: bytes) -> OnggiError:
    """Why a member could not be made. EPERM for a hard link: its target is a directory."""
    what = _attempt(member, path)
    if member.type == LINK and error.errno == errno.EPERM:
        return InvalidLayer(f"{what}: {errno_text(errno.EPERM)}", path=path)
    return failure(error, what, path)


def _attempt(member: Member, path: bytes) -> str:
    """What was tried, in Docker's words (those of Go's ``os`` package)."""
    verb = _VERBS.get(member.type, "open")
    if member.type == SYMLINK:
        verb += " " + shortened(member.linkname)
    elif member.type == LINK:
        verb += " " + printable(clamp_path(member.linkname))
    return f"{verb} {printable(path)}"
