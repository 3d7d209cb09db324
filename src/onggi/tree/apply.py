"""Apply a layer's archive to an empty directory, as Docker's overlay2 driver unpacks it.

    root_fd = os.open(diff, os.O_RDONLY | os.O_DIRECTORY)
    writer = TarSplitWriter(tar_split)
    applied = apply_layer(TarReader(chunks, observer=writer), root_fd)

Everything goes through directory descriptors: a member's parent is opened with the
layer's root as ``/`` (so links inside the layer lead where they would in a container,
and nothing outside can be reached), then one ``*at()`` call acts on the last name and
never follows it. Names are cleaned by their text first: ``/abs`` and ``../x`` are
clamped to the root, not refused.

The rules (docker-engine.md §6):

* The root's own entry changes nothing. Missing parents are made 0755, owned by us.
* What exists is replaced with all below it; only a directory meets a directory as a friend.
* Create, then owner, attributes, mode, times. Times of directories come at the very end.
* ``.wh.name`` becomes a character device 0:0, ``.wh..wh..opq`` an attribute of its
  directory (whiteout.py). A whiteout of what the same layer made is an error.
* Hard links resolve inside the root, link a symbolic link itself, and give their owner
  and mode to the shared inode. Unknown types are an error.
* Attributes of overlayfs itself are left out (whiteout.py says why).

Duplicate names are refused by the reader's observer (TarSplitWriter), as in Docker.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from onggi.archive.tar import (
    DEVICE_BLOCK,
    DEVICE_CHARACTER,
    DIRECTORY,
    FIFO,
    GLOBAL_HEADER,
    LINK,
    REGULAR,
    SYMLINK,
)
from onggi.archive.tar_format import clamp_path, clean_path
from onggi.record import record
from onggi.tree.create import PATH_MAX, create_directory, create_file, create_node, create_symlink, refusal
from onggi.tree.directories import Directories, Directory
from onggi.tree.errors import InvalidLayer, LayerTooLarge, errno_text, failure, printable
from onggi.tree.metadata import clamped_times, kernel_id, set_mode, set_owner, set_xattrs, set_xattrs_at
from onggi.tree.size import tree_size
from onggi.tree.walk import remove
from onggi.tree.whiteout import OPAQUE_MARKER, PREFIX, make_opaque, make_whiteout

if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.archive.tar import Member, TarReader

    _Create = Callable[[int, bytes, Member], int]
    _Finish = Callable[[int, Directory, bytes, bytes, Member, bool], None]

__all__ = ["Applied", "ApplyLimits", "apply_layer"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

WARNINGS_KEPT = 100
"""Warnings handed back; the others are counted only."""


@record
class ApplyLimits:
    """Bounds against hostile layers.

    ``members``: files in one layer (each costs an inode, and about 200 bytes
    of memory until the end). ``size_bytes``:
    length of all files together, None for no bound. ``directories``: descriptors of
    directories kept open, at least 2; well below the usual limit of 1024 a process.
    """

    members: int = 4_000_000
    size_bytes: int | None = None
    directories: int = 128


@record
class Applied:
    """What became of a layer.

    ``size_bytes`` is what Docker writes to the layer's ``size`` file (``tree_size``),
    ``members`` the members of the archive, ``warnings`` the attributes left out.
    """

    size_bytes: int
    members: int
    warnings: tuple[str, ...] = ()


def apply_layer(reader: TarReader, root_fd: int, *, limits: ApplyLimits | None = None) -> Applied:
    """Unpack all members of ``reader`` into the empty directory ``root_fd``; consumes the whole stream.

    The caller has set the umask to 0, owns the tree alone, and runs this in a process
    whose working directory nobody else relies on. Nothing is synced. After an error the
    tree is incomplete; the caller removes it.

    Raises:
        InvalidTar, DuplicatePath: the stream is no archive, or not one that Docker takes.
        InvalidLayer: a member cannot be applied (Docker's words).
        LayerTooLarge: beyond ``limits``.
        DiskFull, HostRefuses: the host cannot take it.
    """
    applier = _Applier(reader, root_fd, limits or ApplyLimits())
    try:
        return applier.run()
    finally:
        applier.close()


class _Applier:
    """The state of one layer being unpacked.

    For each type of member there is a pair of steps: *create* makes the name and raises
    FileExistsError where something stands already; *finish* gives it content and
    metadata. ``fresh`` tells finish that the object is new, so that its owner is ours and
    its mode the one asked for, and calls that would change nothing can be left out.
    """

    def __init__(self, reader: TarReader, root_fd: int, limits: ApplyLimits) -> None:
        self._reader = reader
        self._root_fd = root_fd
        self._limits = limits
        self._directories = Directories(root_fd, limits.directories)
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._acl = _has_default_acl(root_fd)  # a default ACL changes the modes of what is made below it
        self._size = 0
        self._size_is_exact = True
        self._members = 0
        self._replaced = False
        self._warnings: list[str] = []
        self._times: list[tuple[bytes, int, int]] = []
        self._steps: dict[int, tuple[_Create, _Finish]] = {
            REGULAR: (create_file, self._finish_file),
            DIRECTORY: (create_directory, self._finish_directory),
            SYMLINK: (create_symlink, self._finish_symlink),
            LINK: (self._create_link, self._finish_link),
            DEVICE_CHARACTER: (create_node, self._finish_node),
            DEVICE_BLOCK: (create_node, self._finish_node),
            FIFO: (create_node, self._finish_node),
        }

    def close(self) -> None:
        """Close what is open."""
        self._directories.forget()

    def run(self) -> Applied:
        """Apply all members, then the times of directories."""
        for member in self._reader:
            self._members += 1
            if self._members > self._limits.members:
                raise LayerTooLarge(f"layer has more than {self._limits.members} members")
            if member.type != GLOBAL_HEADER:
                self._apply(member)
        self._set_directory_times()
        size = self._size if self._size_is_exact else tree_size(self._root_fd)
        return Applied(size, self._members, tuple(self._warnings))

    def _apply(self, member: Member) -> None:
        path = clamp_path(member.name)
        parent_path, _, name = path.rpartition(b"/")
        if not name:
            self._apply_root(member)
            return
        if len(path) >= PATH_MAX:
            raise InvalidLayer(f"lstat {printable(path)}: file name too long", path=path)
        try:
            parent = self._directories.get(parent_path)
        except OSError as error:
            parent = self._make_parent(parent_path, path, member, error)
        if name[:4] == PREFIX:
            self._apply_whiteout(parent, parent_path, name, member)
            return
        steps = self._steps.get(member.type)
        if steps is None:
            raise InvalidLayer(f"unhandled tar header type {member.type}", path=path)
        create, finish = steps
        try:
            fd = create(parent.fd, name, member)
        except FileExistsError:
            self._meet_existing(parent_path, name, path, member)
        except OSError as error:
            raise refusal(error, member, path) from None
        else:
            finish(fd, parent, name, path, member, True)

    def _apply_root(self, member: Member) -> None:
        """The root's own entry, ``./``, changes nothing; ``/`` and ``..`` are a directory as any other."""
        if clean_path(member.name) == b".":
            return
        if member.type != DIRECTORY:
            raise InvalidLayer(f"unlinkat /: {errno_text(errno.EBUSY)}")
        self._directories.forget()
        self._finish_directory(-1, self._directories.get(b""), b".", b"", member, False)

    def _make_parent(self, parent_path: bytes, path: bytes, member: Member, error: OSError) -> Directory:
        """The parent that could not be opened: make it, if it is missing and not a link to nothing."""
        if error.errno != errno.ENOENT or self._directories.is_dangling(parent_path):
            raise refusal(error, member, path) from None
        try:
            return self._directories.make_all(parent_path)
        except OSError as reason:
            raise failure(reason, f"mkdir {printable(reason.filename)}", path) from None

    def _meet_existing(self, parent_path: bytes, name: bytes, path: bytes, member: Member) -> None:
        """Keep a directory for a directory; replace anything else, then go on as if it had not been."""
        create, finish = self._steps[member.type]
        kept = member.type == DIRECTORY and self._is_directory(parent_path, name)
        try:
            if kept:
                self._directories.forget()
            else:
                self._remove(parent_path, name)
            parent = self._directories.get(parent_path)
            fd = -1 if kept else create(parent.fd, name, member)
        except OSError as error:
            raise refusal(error, member, path) from None
        finish(fd, parent, name, path, member, not kept)

    def _is_directory(self, parent_path: bytes, name: bytes) -> bool:
        status = os.stat(name, dir_fd=self._directories.get(parent_path).fd, follow_symlinks=False)
        return stat.S_ISDIR(status.st_mode)

    def _remove(self, parent_path: bytes, name: bytes) -> None:
        """Remove a name with all below it, and keep the count of bytes right."""
        self._replaced = True
        parent = self._directories.get(parent_path)
        status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self._size_is_exact = False
        elif status.st_nlink == 1:
            self._size -= status.st_size
        remove(parent.fd, name)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._directories.forget()

    # -- whiteouts

    def _apply_whiteout(self, parent: Directory, parent_path: bytes, name: bytes, member: Member) -> None:
        """The name decides, whatever the member's type is."""
        if self._clear_marker(parent_path, name, member):
            parent = self._directories.get(parent_path)
        if name == OPAQUE_MARKER:
            make_opaque(parent.fd, parent_path)
        else:
            make_whiteout(
                parent.fd, parent_path, name[len(PREFIX) :], kernel_id(member.uid), kernel_id(member.gid)
            )

    def _clear_marker(self, parent_path: bytes, name: bytes, member: Member) -> bool:
        """Remove an implied directory that bears the marker's own name, as for any other member."""
        try:
            is_directory = self._is_directory(parent_path, name)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
                raise
            return False
        if not (is_directory and member.type == DIRECTORY):
            self._remove(parent_path, name)
        return True

    # -- one type after the other

    def _finish_file(
        self, fd: int, parent: Directory, name: bytes, path: bytes, member: Member, fresh: bool
    ) -> None:
        try:
            if member.size:
                self._write(fd, path, member)
            self._set_metadata(fd, parent, path, member, fresh)
            os.utime(fd, ns=clamped_times(member))
        finally:
            os.close(fd)

    def _write(self, fd: int, path: bytes, member: Member) -> None:
        self._count(member.size)
        if member.sparse is not None:
            self._write_sparse(fd, path, member)
            return
        for piece in self._reader.read_content():
            try:
                written = os.write(fd, piece)
                while written < len(piece):
                    written += os.write(fd, memoryview(piece)[written:])
            except OSError as error:
                raise failure(error, f"write {printable(path)}", path) from None

    def _write_sparse(self, fd: int, path: bytes, member: Member) -> None:
        """Data where it belongs; the holes stay holes."""
        for offset, piece in self._reader.read_data():
            try:
                written = 0
                while written < len(piece):
                    written += os.pwrite(fd, memoryview(piece)[written:], offset + written)
            except OSError as error:
                raise failure(error, f"write {printable(path)}", path) from None
        try:
            os.ftruncate(fd, member.size)
        except OSError as error:
            raise failure(error, f"truncate {printable(path)}", path) from None

    def _count(self, size_bytes: int) -> None:
        self._size += size_bytes
        limit = self._limits.size_bytes
        if limit is not None and self._size > limit:
            raise LayerTooLarge(f"layer is larger than {limit} bytes")

    def _set_metadata(self, fd: int, parent: Directory, path: bytes, member: Member, fresh: bool) -> None:
        """Owner, attributes and mode of an open file or directory, as far as they are not so already."""
        change = not fresh or parent.inherits
        if change or member.uid != self._uid or member.gid != self._gid:
            set_owner(fd, member, path)
        if member.xattrs:
            self._acl |= b"system.posix_acl_default" in member.xattrs
            set_xattrs(fd, member, path, self._warn)
            change = True
        if change or member.mode & 0o7000 or self._acl:
            set_mode(fd, member.mode & 0o7777, path)

    def _finish_directory(
        self, _: int, parent: Directory, name: bytes, path: bytes, member: Member, fresh: bool
    ) -> None:
        self._times.append((path, *clamped_times(member)))
        plain = member.uid == self._uid and member.gid == self._gid and not member.mode & 0o7000
        if fresh and plain and not (parent.inherits or member.xattrs or self._acl):
            return
        try:
            fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent.fd)
        except OSError as error:
            raise failure(error, f"open {printable(path)}", path) from None
        try:
            self._set_metadata(fd, parent, path, member, fresh)
        finally:
            os.close(fd)

    def _finish_symlink(
        self, _: int, parent: Directory, name: bytes, path: bytes, member: Member, fresh: bool
    ) -> None:
        self._count(len(member.linkname))
        if parent.inherits or member.uid != self._uid or member.gid != self._gid:
            set_owner(name, member, path, parent.fd)
        if member.xattrs:
            set_xattrs_at(parent.fd, name, member, path, self._warn)
        self._set_times(parent, name, path, clamped_times(member))

    def _finish_node(
        self, _: int, parent: Directory, name: bytes, path: bytes, member: Member, fresh: bool
    ) -> None:
        if parent.inherits or member.uid != self._uid or member.gid != self._gid:
            set_owner(name, member, path, parent.fd)
        if member.xattrs:
            set_xattrs_at(parent.fd, name, member, path, self._warn)
        set_mode(name, member.mode & 0o7777, path, parent.fd)
        self._set_times(parent, name, path, clamped_times(member))

    def _create_link(self, parent_fd: int, name: bytes, member: Member) -> int:
        target_parent, _, target = clamp_path(member.linkname).rpartition(b"/")
        source = self._directories.get(target_parent)
        os.link(target or b".", name, src_dir_fd=source.fd, dst_dir_fd=parent_fd, follow_symlinks=False)
        return -1

    def _finish_link(
        self, _: int, parent: Directory, name: bytes, path: bytes, member: Member, fresh: bool
    ) -> None:
        """The link's metadata go to the shared inode; a symbolic link takes the owner only.

        Nothing is left out here: even a chown to the same owner takes setuid bits and
        capabilities away, and a layer unpacked by Docker has lost them.
        """
        status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        set_owner(name, member, path, parent.fd)
        if member.xattrs:
            set_xattrs_at(parent.fd, name, member, path, self._warn)
        if not stat.S_ISLNK(status.st_mode):
            set_mode(name, member.mode & 0o7777, path, parent.fd)
            self._set_times(parent, name, path, clamped_times(member))

    # -- times

    def _set_times(self, parent: Directory, name: bytes, path: bytes, times: tuple[int, int]) -> None:
        try:
            os.utime(name, ns=times, dir_fd=parent.fd, follow_symlinks=False)
        except OSError as error:
            raise failure(error, f"chtimes {printable(path)}", path) from None

    def _set_directory_times(self) -> None:
        """Last of all, since every name made in a directory changes its time."""
        for path, atime, mtime in self._times:
            parent_path, _, name = path.rpartition(b"/")
            try:
                parent = self._directories.get(parent_path)
                if self._replaced and self._is_link(parent, name):
                    # Where a directory was, a link stands now. Docker follows it; so do we, inside the root.
                    os.utime(self._directories.get(path).fd, ns=(atime, mtime))
                    continue
            except OSError as error:
                raise failure(error, f"chtimes {printable(path)}", path) from None
            self._set_times(parent, name or b".", path, (atime, mtime))

    def _is_link(self, parent: Directory, name: bytes) -> bool:
        return stat.S_ISLNK(os.stat(name or b".", dir_fd=parent.fd, follow_symlinks=False).st_mode)

    def _warn(self, text: str) -> None:
        if len(self._warnings) < WARNINGS_KEPT:
            self._warnings.append(text)


def _has_default_acl(fd: int) -> bool:
    try:
        os.getxattr(fd, b"system.posix_acl_default")
    except OSError:
        return False
    return True
