"""Copy a part of a merged tree to a directory of the host, or into a tar stream.

On the host every step is taken from the descriptor of the directory before it and follows no
link, so nothing that the image holds, and nothing that stands at the destination, leads
elsewhere. A file appears under its name when it is whole.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING

from onggi.errors import Conflict, FailedPrecondition
from onggi.record import mutable_record
from onggi.tree.errors import printable

if TYPE_CHECKING:
    from typing import BinaryIO

    from onggi.tree.merged import Entry, Merged

__all__ = ["CopyConflict", "DeviceRefused", "copy_entry", "write_tar"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE_BYTES = 1 << 20
# What a file system or a user without rights may refuse without the copy being worth less.
_OPTIONAL = (errno.ENOTSUP, errno.EPERM, errno.EACCES)


class CopyConflict(Conflict):
    """A directory stands where a file must go, or the other way round; Docker's words."""

    def __init__(self, path: bytes, *, is_directory: bool) -> None:
        there, here = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
        shown = printable(path)
        super().__init__(
            f'cannot overwrite {there} "{shown}" with {here} "{shown}"',
            hint="copy to another place, or remove what is there",
        )


class DeviceRefused(FailedPrecondition):
    """This user makes no devices, and the image has one there."""

    def __init__(self, path: bytes) -> None:
        super().__init__(
            f"copy {printable(path)}: making a device needs root",
            hint="copy as root, or to '-', a tar stream that may hold devices",
        )


@mutable_record
class _Open:
    """A directory being filled; its own metadata comes last."""

    entry: Entry
    fd: int
    made: bool


def copy_entry(
    view: Merged, top: Entry, parent_fd: int, name: bytes, *, keep_owner: bool = False, contents: bool = False
) -> int:
    """Copy ``top`` and all below it to ``name`` in ``parent_fd``; gives the bytes of the files.

    An existing file is replaced, an existing directory filled. ``contents``: ``name`` is a
    directory that is there already and keeps its own metadata. ``keep_owner`` needs root;
    otherwise everything belongs to the caller. Hard links among what is copied stay links; sockets
    are left out.

    Raises CopyConflict, DeviceRefused, OSError.
    """
    copier = _Copier(view, keep_owner)
    try:
        copier.run(top, parent_fd, name, contents=contents)
    finally:
        copier.abandon()
    return copier.copied_bytes


class _Copier:
    def __init__(self, view: Merged, keep_owner: bool) -> None:
        self._view = view
        self._keep_owner = keep_owner
        self._stack: list[_Open] = []
        self._first_names: dict[tuple[int, int], bytes] = {}
        self.copied_bytes = 0

    def run(self, top: Entry, parent_fd: int, name: bytes, *, contents: bool) -> None:
        for entry in self._view.walk(top):
            if entry is top:
                self._copy(entry, parent_fd, name)
                if contents and self._stack:
                    self._stack[0].made = False
                continue
            self._leave(entry.path.rpartition(b"/")[0])
            self._copy(entry, self._stack[-1].fd, entry.name)
        while self._stack:
            self._close()

    def abandon(self) -> None:
        """Close what an error left open."""
        for opened in self._stack:
            os.close(opened.fd)
        self._stack.clear()

    def _leave(self, parent: bytes) -> None:
        while self._stack[-1].entry.path != parent:
            self._close()

    def _close(self) -> None:
        opened = self._stack[-1]
        if opened.made:
            self._set_metadata(opened.entry, opened.fd)
        os.close(self._stack.pop().fd)

    def _copy(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        if stat.S_ISSOCK(entry.status.st_mode):
            return
        if entry.is_directory:
            self._stack.append(_Open(entry, self._directory(entry, parent_fd, name), made=True))
            return
        if _is_directory(parent_fd, name):
            raise CopyConflict(entry.path, is_directory=True)
        temporary = b".onggi-" + os.urandom(6).hex().encode()
        try:
            self._make(entry, parent_fd, temporary)
            os.rename(temporary, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        except BaseException:
            _unlink(parent_fd, temporary)
            raise

    def _directory(self, entry: Entry, parent_fd: int, name: bytes) -> int:
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
        except FileExistsError:
            pass
        try:
            return os.open(name, _OPEN_DIRECTORY, dir_fd=parent_fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise CopyConflict(entry.path, is_directory=False) from None
            raise

    def _make(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        kind = stat.S_IFMT(entry.status.st_mode)
        if self._linked(entry, parent_fd, name):
            return
        if kind == stat.S_IFREG:
            self._file(entry, parent_fd, name)
            return
        if kind == stat.S_IFLNK:
            os.symlink(self._view.readlink(entry), name, dir_fd=parent_fd)
        else:
            self._node(entry, kind, parent_fd, name)
        if self._keep_owner:
            owner = entry.status.st_uid, entry.status.st_gid
            os.chown(name, *owner, dir_fd=parent_fd, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(name, stat.S_IMODE(entry.status.st_mode), dir_fd=parent_fd)
        os.utime(name, ns=_times(entry), dir_fd=parent_fd, follow_symlinks=False)

    def _node(self, entry: Entry, kind: int, parent_fd: int, name: bytes) -> None:
        try:
            os.mknod(name, kind | 0o600, entry.status.st_rdev, dir_fd=parent_fd)
        except PermissionError:
            if kind not in (stat.S_IFCHR, stat.S_IFBLK):
                raise
            raise DeviceRefused(entry.path) from None

    def _linked(self, entry: Entry, parent_fd: int, name: bytes) -> bool:
        """Make a further name of what was copied under its first name already; False: this is the first."""
        if entry.status.st_nlink < 2 or not self._stack:
            return False
        inode = entry.status.st_dev, entry.status.st_ino
        below = entry.path[len(self._stack[0].entry.path) :].lstrip(b"/")
        first = self._first_names.setdefault(inode, below)
        if first == below:
            return False
        directory = os.dup(self._stack[0].fd)
        try:
            *parents, last = first.split(b"/")
            for parent in parents:
                inner = os.open(parent, _OPEN_DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = inner
            os.link(last, name, src_dir_fd=directory, dst_dir_fd=parent_fd, follow_symlinks=False)
        finally:
            os.close(directory)
        return True

    def _file(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=parent_fd)
        try:
            with self._view.open(entry) as source:
                self.copied_bytes += source.copy_to(fd)
            self._set_metadata(entry, fd)
        finally:
            os.close(fd)

    def _set_metadata(self, entry: Entry, fd: int) -> None:
        """Owner, attributes, mode, times: in this order, since each change spoils those after it."""
        status = entry.status
        if self._keep_owner:
            os.fchown(fd, status.st_uid, status.st_gid)
        for key, value in self._view.xattrs(entry).items():
            try:
                os.setxattr(fd, key, value)
            except OSError as error:
                if error.errno not in _OPTIONAL:
                    raise
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        os.utime(fd, ns=_times(entry))


def _times(entry: Entry) -> tuple[int, int]:
    return entry.status.st_mtime_ns, entry.status.st_mtime_ns


def _is_directory(parent_fd: int, name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _unlink(parent_fd: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return


# --- as a tar stream --------------------------------------------------------------------------


def write_tar(view: Merged, top: Entry, name: bytes, out: BinaryIO) -> int:
    """Write ``top`` and all below it to ``out`` as an archive whose root is called ``name``.

    PAX format: any name, any attribute, nanoseconds. A file that has several names in what is
    written is stored once, as hard links. Gives the bytes of the files. Raises OSError.
    """
    writer = _TarWriter(view, len(top.path), name)
    with tarfile.open(
        fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for entry in view.walk(top):
            writer.add(archive, entry)
    return writer.written_bytes


class _TarWriter:
    def __init__(self, view: Merged, prefix_length: int, name: bytes) -> None:
        self._view = view
        self._prefix_length = prefix_length
        self._name = name
        self._links: dict[tuple[int, int], str] = {}
        self.written_bytes = 0

    def add(self, archive: tarfile.TarFile, entry: Entry) -> None:
        info = self._info(entry)
        if info is None:
            return
        if info.type != tarfile.REGTYPE:
            archive.addfile(info)
            return
        with self._view.open(entry) as file:
            info.size = file.size_bytes
            archive.addfile(info, io.BufferedReader(file, _PIECE_BYTES))
        self.written_bytes += info.size

    def _info(self, entry: Entry) -> tarfile.TarInfo | None:
        status = entry.status
        info = tarfile.TarInfo(self._member_name(entry))
        info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        info.mtime = status.st_mtime_ns // 10**9
        kind = _TAR_TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        info.type = kind
        if kind == tarfile.SYMTYPE:
            info.linkname = os.fsdecode(self._view.readlink(entry))
        elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        info.pax_headers = self._headers(entry)
        self._link(info, entry)
        return info

    def _member_name(self, entry: Entry) -> str:
        below = entry.path[self._prefix_length :].lstrip(b"/")
        return os.fsdecode(self._name + b"/" + below if below else self._name)

    def _headers(self, entry: Entry) -> dict[str, str]:
        """PAX records: what the header block has no room for."""
        headers = {}
        seconds, nanoseconds = divmod(entry.status.st_mtime_ns, 10**9)
        if nanoseconds:
            headers["mtime"] = f"{seconds}.{nanoseconds:09d}"
        for key, value in self._view.xattrs(entry).items():
            headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
        return headers

    def _link(self, info: tarfile.TarInfo, entry: Entry) -> None:
        """Turn the second name of an inode into a hard link to the first."""
        if entry.is_directory or entry.status.st_nlink < 2:
            return
        inode = entry.status.st_dev, entry.status.st_ino
        first = self._links.setdefault(inode, info.name)
        if first != info.name:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0


_TAR_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
