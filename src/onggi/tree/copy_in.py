"""Put the members of an archive into a tree that others may be changing: ``cp`` into a container.

Every step is taken from a descriptor. The directory that a member goes to is found by the kernel
with the tree's root as ``/`` (openat2), so whatever links a hostile process swaps meanwhile, they
lead nowhere else; in that directory names are made and removed without following links. What
stands in the way is replaced, but for a directory, which is kept, by a directory only.

Source: moby ``pkg/archive/archive.go`` (Unpack with NoOverwriteDirNonDir).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from onggi.archive.tar import LINK, REGULAR, SYMLINK, TarReader
from onggi.archive.tar_format import DIRECTORY, GLOBAL_HEADER, Member, clamp_path
from onggi.errors import Conflict, InvalidArgument
from onggi.linux.openat2 import open_in_root
from onggi.record import record
from onggi.tree.create import create_directory, create_file, create_node, create_symlink
from onggi.tree.errors import printable
from onggi.tree.metadata import kernel_id
from onggi.tree.walk import remove
from onggi.tree.whiteout import belongs_to_overlay

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CannotOverwrite", "CopyRules", "unpack_into"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_KINDS = {SYMLINK: create_symlink, DIRECTORY: create_directory}
_IMPLIED_MODE = 0o755
# What a file system or a user without rights may refuse without the copy being worth less.
_OPTIONAL = (errno.ENOTSUP, errno.EPERM)


class CannotOverwrite(Conflict):
    """A directory stands where something else must go, or the other way round; Docker's words."""

    def __init__(self, path: bytes, directory: bytes, *, is_directory: bool) -> None:
        there, here = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
        super().__init__(
            f'cannot overwrite {there} "{printable(path)}" with {here} "{printable(directory)}"',
            hint="copy to another place, or remove what is there",
        )


@record
class CopyRules:
    """``owner``: whose everything becomes; None keeps the archive's. ``chown`` false: the caller's."""

    chown: bool = True
    owner: tuple[int, int] | None = None


def unpack_into(pieces: Iterable[bytes], root_fd: int, directory: bytes, rules: CopyRules) -> None:
    """Unpack into ``directory`` (a path below the root that is open as ``root_fd``, links followed there).

    Raises InvalidTar, CannotOverwrite, InvalidArgument (a kind of member that cannot be), OSError.
    """
    unpacking = _Unpacking(root_fd, directory, rules)
    try:
        unpacking.run(TarReader(pieces))
    finally:
        unpacking.close()


class _Unpacking:
    def __init__(self, root_fd: int, directory: bytes, rules: CopyRules) -> None:
        self._root_fd = root_fd
        self._directory = directory.strip(b"/")
        self._rules = rules
        self._parent: tuple[bytes, int] | None = None
        self._times: list[tuple[bytes, int]] = []

    def close(self) -> None:
        """Close what is open."""
        if self._parent is not None:
            os.close(self._parent[1])
        self._parent = None

    def run(self, reader: TarReader) -> None:
        for member in reader:
            path = clamp_path(member.name)
            if path and member.type != GLOBAL_HEADER:
                self._one(reader, member, path)
        # Last: whatever was made in a directory has changed its time.
        for path, mtime_ns in reversed(self._times):
            self._set_time(path, mtime_ns)

    def _one(self, reader: TarReader, member: Member, path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        fd = self._opened(parent)
        kept = self._make_room(fd, name, path, member)
        if member.type == REGULAR:
            self._file(reader, member, fd, name)
        elif member.type == LINK:
            self._link(member, fd, name)
        else:
            if not kept:
                self._make(member, fd, name)
            self._finish(member, fd, name)
        if member.type == DIRECTORY:
            self._times.append((path, member.mtime_ns))

    # --- where it goes --------------------------------------------------------------------

    def _opened(self, parent: bytes) -> int:
        """The directory, made where it is missing; ours until the next call."""
        if self._parent is not None and self._parent[0] == parent:
            return self._parent[1]
        self.close()
        try:
            fd = self._open(parent)
        except FileNotFoundError:
            fd = self._implied(parent)
        self._parent = parent, fd
        return fd

    def _open(self, path: bytes, flags: int = 0) -> int:
        joined = b"/".join(part for part in (self._directory, path) if part)
        return open_in_root(self._root_fd, joined, _DIRECTORY | flags)

    def _implied(self, path: bytes) -> int:
        above, _, name = path.rpartition(b"/")
        if not name:
            return self._open(path)  # the directory to copy to is gone: says so
        try:
            parent = self._open(above)
        except FileNotFoundError:
            parent = self._implied(above)
        try:
            os.mkdir(name, _IMPLIED_MODE, dir_fd=parent)
        except FileExistsError:
            pass  # somebody was quicker, or a link leads nowhere: the next call tells
        finally:
            os.close(parent)
        return self._open(path)

    def _make_room(self, parent: int, name: bytes, path: bytes, member: Member) -> bool:
        """Remove what is in the way; true where a directory stays."""
        try:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        is_directory = stat.S_ISDIR(there.st_mode)
        if is_directory != (member.type == DIRECTORY):
            full = self._directory + b"/" + path if self._directory else path
            raise CannotOverwrite(full, self._directory, is_directory=is_directory)
        if not is_directory:
            remove(parent, name)
        return is_directory

    # --- making it ------------------------------------------------------------------------

    def _make(self, member: Member, parent: int, name: bytes) -> None:
        try:
            fd = _KINDS.get(member.type, create_node)(parent, name, member)
        except KeyError:
            raise InvalidArgument(f"unhandled tar header type {member.type}") from None
        assert fd < 0

    def _file(self, reader: TarReader, member: Member, parent: int, name: bytes) -> None:
        fd = create_file(parent, name, member)
        try:
            for offset, piece in reader.read_data():
                written = 0
                while written < len(piece):
                    written += os.pwrite(fd, memoryview(piece)[written:], offset + written)
            os.ftruncate(fd, member.size)
            self._own(member, fd)
            self._attributes(member, fd)
            os.fchmod(fd, member.mode & 0o7777)
            os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(fd)

    def _link(self, member: Member, parent: int, name: bytes) -> None:
        target, _, last = clamp_path(member.linkname).rpartition(b"/")
        fd = self._open(target)
        try:
            os.link(last, name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(fd)

    def _finish(self, member: Member, parent: int, name: bytes) -> None:
        """Owner, mode and time of what is no file, by its name: none of the calls follows a link."""
        if member.type == DIRECTORY:
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._own(member, fd)
                os.fchmod(fd, member.mode & 0o7777)
            finally:
                os.close(fd)
            return
        self._own(member, name, parent)
        if member.type != SYMLINK:
            _set_mode(parent, name, member.mode & 0o7777)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _own(self, member: Member, target: int | bytes, parent: int | None = None) -> None:
        if not self._rules.chown:
            return
        uid, gid = self._rules.owner or (kernel_id(member.uid), kernel_id(member.gid))
        if isinstance(target, int):
            os.fchown(target, uid, gid)
        else:
            os.chown(target, uid, gid, dir_fd=parent, follow_symlinks=False)

    def _attributes(self, member: Member, fd: int) -> None:
        for name, value in member.xattrs.items():
            if belongs_to_overlay(name):
                continue
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in _OPTIONAL:
                    raise

    def _set_time(self, path: bytes, mtime_ns: int) -> None:
        try:
            fd = self._open(path, os.O_NOFOLLOW)
        except OSError:
            return  # somebody has removed it
        try:
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)


def _set_mode(parent: int, name: bytes, mode: int) -> None:
    """Of a device or fifo, which is not opened; a link that stands there instead has no mode."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)
