"""A directory as an archive: what ``commit`` makes a layer of, and what ``export`` and ``cp`` give out.

Docker's rules (docker-engine §7.1–7.3): depth first, each directory's names sorted bytewise, a
directory before what it holds, the root itself left out; times in whole seconds; of extended
attributes file capabilities only; the second and every further name of an inode is a hard link to
the first; sockets are left out. In the directory of a layer whiteouts become ``.wh.`` files.

Somebody may be changing the tree. What disappears before it is read is left out; a file that
shrinks meanwhile is filled up with NUL bytes to the length that its header says, and what one
grows is not read.

Source: moby ``pkg/archive/archive.go`` (TarWithOptions), ``archive_linux.go``.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from onggi.archive.tar_format import (
    DEVICE_BLOCK,
    DEVICE_CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    Member,
)
from onggi.archive.tar_write import END_OF_ARCHIVE, format_header, padding
from onggi.record import record
from onggi.tree.layer_file import CutOff
from onggi.tree.whiteout import OPAQUE_MARKER, PREFIX, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from onggi.tree.layer_file import LayerFile
    from onggi.tree.layer_tree import LayerTree

__all__ = ["PackRules", "pack"]

_PIECE_BYTES = 1 << 20
_CAPABILITY = "security.capability"
# Capabilities of revision 3 name a user namespace's root, which means nothing elsewhere (linux/capability.h).
_REVISION_BYTE, _REVISION_2, _REVISION_3, _REVISION_2_BYTES = 3, 2, 3, 20
_WHITEOUT_MODE = 0o600
_TYPES = {
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: DEVICE_CHARACTER,
    stat.S_IFBLK: DEVICE_BLOCK,
    stat.S_IFIFO: FIFO,
}
# Removed, or replaced by something else, between two looks.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO)


def _nameless(number: int) -> bytes:
    return b""


@record
class PackRules:
    """Where Docker's versions differ. ``type_bits``: modes say the file type too (before 24).

    ``user`` and ``group`` give the name of a number, or nothing (since 23). ``layer``: the tree is
    a layer's directory, with overlayfs's whiteouts in it.
    """

    type_bits: bool = False
    user: Callable[[int], bytes] = _nameless
    group: Callable[[int], bytes] = _nameless
    layer: bool = False


def pack(tree: LayerTree, rules: PackRules, top: bytes = b"", name: bytes = b"") -> Iterator[bytes]:
    """The archive of all below ``top``, in pieces; ``name`` (if any) is what ``top`` itself is called.

    ``top`` is a path without links; without a ``name`` it is a directory and left out itself.
    Memory is that of the listings along one path, and of the names of files with several.
    """
    packer = _Packer(tree, rules)
    if name:
        yield from packer.entry(top, name)
    else:
        yield from packer.below(top, b"")
    yield END_OF_ARCHIVE


class _Listing(NamedTuple):
    """What is left of a directory, the next one last; ``name`` is what the archive calls it."""

    path: bytes
    name: bytes
    names: list[bytes]


class _Packer:
    def __init__(self, tree: LayerTree, rules: PackRules) -> None:
        self._tree = tree
        self._rules = rules
        self._first_names: dict[tuple[int, int], bytes] = {}

    def entry(self, path: bytes, name: bytes) -> Iterator[bytes]:
        """An entry and all below it."""
        directory, _, last = path.rpartition(b"/")
        status = self._tree.lstat(directory, last)
        if status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        yield from self._one(directory, last, name, status)
        if stat.S_ISDIR(status.st_mode):
            yield from self.below(path, name)

    def below(self, path: bytes, name: bytes) -> Iterator[bytes]:
        """What is in a directory."""
        stack = [self._listing(path, name)]
        while stack:
            current = stack[-1]
            if not current.names:
                stack.pop()
                continue
            last = current.names.pop()
            try:
                status = self._tree.lstat(current.path, last)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                continue
            if status is None:
                continue
            called = _join(current.name, last)
            yield from self._one(current.path, last, called, status)
            if stat.S_ISDIR(status.st_mode):
                stack.append(self._listing(_join(current.path, last), called))

    def _listing(self, path: bytes, name: bytes) -> _Listing:
        try:
            names = sorted((each for each, _ in self._tree.scan(path)), reverse=True)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            names = []
        return _Listing(path, name, names)

    # --- one entry ------------------------------------------------------------------------

    def _one(self, directory: bytes, last: bytes, name: bytes, status: os.stat_result) -> Iterator[bytes]:
        member = self._member(name, status)
        if member is None:
            return
        try:
            if member.type == SYMLINK:
                member.linkname = self._tree.readlink(directory, last)
            if member.type == REGULAR:
                self._add_capability(member, directory, last)
                file = self._tree.open(directory, last)
            opaque = member.type == DIRECTORY and self._rules.layer and self._tree.is_opaque(directory, last)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return
        if self._rules.layer and is_whiteout(status):
            _become_whiteout(member)
            yield self._header(member)
        elif member.type == REGULAR:
            with file:
                yield from self._content(member, file)
        else:
            yield self._header(member)
            if opaque:
                yield self._header(_opaque_marker(member))

    def _member(self, name: bytes, status: os.stat_result) -> Member | None:
        """What the header says, but for link targets and attributes; None for what no archive holds."""
        kind = _TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return None
        mode = status.st_mode if self._rules.type_bits else stat.S_IMODE(status.st_mode)
        member = Member(name, kind, mode, status.st_uid, status.st_gid, status.st_mtime_ns)
        if kind == DIRECTORY:
            member.name += b"/"
        elif kind in (DEVICE_CHARACTER, DEVICE_BLOCK):
            member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if kind != DIRECTORY and status.st_nlink > 1:
            self._link(member, (status.st_dev, status.st_ino))
        return member

    def _link(self, member: Member, inode: tuple[int, int]) -> None:
        first = self._first_names.setdefault(inode, member.name)
        if first != member.name:
            member.type, member.linkname = LINK, first

    def _add_capability(self, member: Member, directory: bytes, last: bytes) -> None:
        value = self._tree.xattrs(directory, last).get(_CAPABILITY)
        if not value:
            return
        if len(value) > _REVISION_BYTE and value[_REVISION_BYTE] == _REVISION_3:
            value = value[:_REVISION_BYTE] + bytes((_REVISION_2,)) + value[_REVISION_BYTE + 1 :]
            value = value[:_REVISION_2_BYTES]
        member.xattrs[_CAPABILITY.encode()] = value

    def _content(self, member: Member, file: LayerFile) -> Iterator[bytes]:
        member.size = file.size_bytes
        yield self._header(member)
        left = member.size
        while left:
            size = min(left, _PIECE_BYTES)
            try:
                piece = file.read(size) or bytes(size)
            except CutOff:
                piece = bytes(size)
            left -= len(piece)
            yield piece
        yield padding(member.size)

    def _header(self, member: Member) -> bytes:
        rules = self._rules
        return format_header(member, user=rules.user(member.uid), group=rules.group(member.gid))


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def _become_whiteout(member: Member) -> None:
    """An empty file; a link name stays.

    The kernel makes all whiteouts of a mount links of one inode. Docker makes hard links of them
    first, then files, and forgets the link name: readers ignore it, and diffIDs depend on it.
    """
    directory, slash, last = member.name.rpartition(b"/")
    member.name = directory + slash + PREFIX + last
    member.type, member.mode, member.size = REGULAR, _WHITEOUT_MODE, 0


def _opaque_marker(directory: Member) -> Member:
    return Member(
        directory.name + OPAQUE_MARKER, REGULAR, directory.mode & 0o777, directory.uid, directory.gid
    )
