"""The files of an archive of images: where each lies, so that layers are unpacked in place.

An archive is a tar on disk, a tar in a stream (put aside uncompressed), or a directory with an
OCI layout. Nothing of it is unpacked to be read, and no name from it ever becomes a host path:
links are followed among the members, and a directory is left by nobody.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from onggi.archive.compression import SNIFF_SIZE, Compression, CorruptStream, decompressed, sniff
from onggi.archive.tar import (
    DIRECTORY,
    GLOBAL_HEADER,
    LINK,
    REGULAR,
    SYMLINK,
    InvalidTar,
    Member,
    TarReader,
    TruncatedTar,
)
from onggi.archive.tar_format import clamp_path
from onggi.cancel import CancelToken
from onggi.errors import DataLoss, NotFound
from onggi.linux.openat2 import open_in_root
from onggi.oci.quoting import printable
from onggi.record import record
from onggi.transfer.ahead import Ahead

__all__ = [
    "MAX_MEMBERS",
    "ArchiveFiles",
    "BrokenArchive",
    "Extent",
    "MissingMember",
    "NoSuchArchive",
    "Onlooker",
    "nameless_file",
    "open_archive",
    "open_stream",
    "read_member",
    "stream_pieces",
    "write_whole",
]

# An image has at most 125 layers of four members each; a root file system has more members than this.
MAX_MEMBERS = 1 << 17
# Bytes; the kernel's PATH_MAX.
_MAX_NAME = 4096
_MAX_LINKS = 40
# Bytes read for one header: members that are not layers are small and stand side by side.
_HEADER_CHUNK = 16 * 1024
_STREAM_CHUNK = 256 * 1024
# Milliseconds between two looks at whether the caller wants to stop, while a stream gives nothing.
_POLL_MS = 200
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENAMETOOLONG)


class BrokenArchive(DataLoss):
    """The archive cannot be read, or says what cannot be."""

    def __init__(self, cause: str) -> None:
        super().__init__(printable(cause), hint="the archive is damaged or no image archive: save it again")


class MissingMember(DataLoss):
    """The archive names a file that is not in it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            printable(f"open {name}: no such file in the archive"),
            hint="the archive is incomplete: save it again",
        )
        self.name = name


class NoSuchArchive(NotFound):
    """There is no file of this name; Docker's words."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"open {path}: no such file or directory",
            hint="check the path",
        )


@record
class Extent:
    """Where a member's bytes lie: ``size`` bytes from ``start`` of the file that ``path`` opens.

    The path holds as long as the archive is open.
    """

    path: Path
    start: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """The bytes."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            position, end = self.start, self.start + self.size
            while position < end:
                piece = os.pread(fd, min(1 << 20, end - position), position)
                if not piece:
                    raise TruncatedTar(offset=position)
                position += len(piece)
                yield piece
        finally:
            os.close(fd)


class ArchiveFiles(Protocol):
    """Looks members up by the names other members have for them."""

    def find(self, name: str) -> Extent | None:
        """The regular file of this name, links followed; None when there is none."""

    def directories(self) -> list[str]:
        """Names of the directories at the top, sorted bytewise."""

    def close(self) -> None:
        """End the life of every extent."""


def read_member(files: ArchiveFiles, name: str, limit: int) -> bytes:
    """A small file. Raises MissingMember, BrokenArchive when it is beyond ``limit`` bytes."""
    extent = files.find(name)
    if extent is None:
        raise MissingMember(name)
    if extent.size > limit:
        raise BrokenArchive(f"{name}: {extent.size} bytes are more than {limit}")
    return b"".join(extent.pieces())


class Onlooker(Protocol):
    """Sees a tar that is being put aside, before it is whole."""

    def look(self, spool: int, pieces: Iterator[bytes]) -> None:
        """Take as many pieces as it likes; each stands in the file ``spool`` when it is given.

        Raises what they raise.
        """

    def make_room(self) -> bool:
        """The disk is full: give back what it has taken of it. False when that is nothing."""


def open_archive(
    source: Path | BinaryIO, spool: Path, cancel: CancelToken, onlooker: Onlooker
) -> ArchiveFiles:
    """Open a file, a directory, or a stream; what must be put aside goes to the directory ``spool``.

    Raises NoSuchArchive, BrokenArchive, UnsupportedCompression, Cancelled.
    """
    if not isinstance(source, Path):
        return _open_stream(source, spool, cancel, onlooker)
    fd = open_stream(source)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        return _Directory(fd)
    with io.FileIO(fd, "rb") as file:
        return _open_stream(file, spool, cancel, onlooker)


def open_stream(path: Path) -> int:
    """A descriptor to read from. Raises NoSuchArchive."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoSuchArchive(path) from None


def _open_stream(
    stream: BinaryIO | io.FileIO, spool: Path, cancel: CancelToken, onlooker: Onlooker
) -> ArchiveFiles:
    try:
        fd = _plain_file(stream)
        if fd is None:
            fd = _put_aside(_uncompressed(stream, cancel), spool, onlooker)
        return _Tar(fd, cancel)
    except (InvalidTar, CorruptStream) as error:
        raise BrokenArchive(f"Error processing tar file: {error}") from error


def _plain_file(stream: BinaryIO | io.FileIO) -> int | None:
    """A descriptor of its own of an uncompressed regular file that nobody has read from."""
    if not isinstance(stream, io.FileIO) or not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return None
    if stream.tell() or sniff(os.pread(stream.fileno(), SNIFF_SIZE, 0)) is not Compression.NONE:
        return None
    return os.dup(stream.fileno())


def _uncompressed(stream: BinaryIO | io.FileIO, cancel: CancelToken) -> Iterator[bytes]:
    with Ahead(decompressed(stream_pieces(stream, cancel))) as pieces:
        for piece in pieces:
            cancel.check()
            yield piece


def stream_pieces(stream: BinaryIO | io.FileIO, cancel: CancelToken) -> Iterator[bytes]:
    """The stream as it comes; a caller who stops need not wait for a pipe that says nothing."""
    if not isinstance(stream, io.FileIO):
        while piece := stream.read(_STREAM_CHUNK):
            yield piece
        return
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLIN)
    while True:
        while not poll.poll(_POLL_MS):
            cancel.check()
        cancel.check()
        piece = os.read(stream.fileno(), _STREAM_CHUNK)
        if not piece:
            return
        yield piece


def nameless_file(directory: Path) -> int:
    """A descriptor of a new file without a name; a kill leaves at most an empty ``.tmp-`` file."""
    path = directory / f".tmp-archive{os.urandom(8).hex()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd


def write_whole(fd: int, piece: bytes) -> None:
    """Write all of a piece."""
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def _put_aside(pieces: Iterable[bytes], directory: Path, onlooker: Onlooker) -> int:
    fd = nameless_file(directory)
    try:
        written = _written(fd, pieces, onlooker)
        onlooker.look(fd, written)
        for _ in written:
            pass
    except BaseException:
        os.close(fd)
        raise
    return fd


def _written(fd: int, pieces: Iterable[bytes], onlooker: Onlooker) -> Iterator[bytes]:
    """Each piece once it is in the file."""
    position = 0
    for piece in pieces:
        try:
            write_whole(fd, piece)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not onlooker.make_room():
                raise
            os.lseek(fd, position, os.SEEK_SET)
            write_whole(fd, piece)
        position += len(piece)
        yield piece


class _Window:
    """Chunks of a file for the tar reader, with a way to move on unread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._position = 0

    def __iter__(self) -> Iterator[bytes]:
        while piece := os.pread(self._fd, _HEADER_CHUNK, self._position):
            self._position += len(piece)
            yield piece

    def skip(self, size: int) -> None:
        self._position += size


class _Tar:
    """A tar in a file; owns the descriptor. Names are indexed once, contents are not read."""

    def __init__(self, fd: int, cancel: CancelToken) -> None:
        self._fd = fd
        self._files: dict[bytes, Extent] = {}
        self._links: dict[bytes, bytes] = {}
        try:
            self._index(cancel)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _index(self, cancel: CancelToken) -> None:
        size = os.fstat(self._fd).st_size
        window = _Window(self._fd)
        reader = TarReader(window)
        for number, member in enumerate(reader):
            cancel.check()
            if number == MAX_MEMBERS:
                raise BrokenArchive(f"more than {MAX_MEMBERS} members: this is no image archive")
            start = reader.offset
            if start + member.size > size:
                raise TruncatedTar(offset=start)
            self._add(member, start)
            reader.skip_content(window.skip)

    def _add(self, member: Member, start: int) -> None:
        name = clamp_path(member.name)
        if member.type in (DIRECTORY, GLOBAL_HEADER):
            return
        if max(len(name), len(member.linkname)) > _MAX_NAME:
            raise BrokenArchive(f"a member's name is longer than {_MAX_NAME} bytes")
        if name in self._files or name in self._links:
            raise BrokenArchive(f"{_shown(name)} stands twice in the archive")
        if member.type == SYMLINK:
            self._links[name] = member.linkname
        elif member.type == LINK:
            self._links[name] = b"/" + clamp_path(member.linkname)
        elif member.type == REGULAR and member.sparse is None:
            self._files[name] = Extent(Path(f"/proc/self/fd/{self._fd}"), start, member.size)

    def directories(self) -> list[str]:
        names = {name.partition(b"/")[0] for name in (*self._files, *self._links) if b"/" in name}
        return [name.decode("utf-8", "surrogateescape") for name in sorted(names)]

    def find(self, name: str) -> Extent | None:
        encoded = name.encode("utf-8", "surrogateescape")
        return None if len(encoded) > _MAX_NAME else self._files.get(self._resolve(encoded))

    def _resolve(self, name: bytes) -> bytes:
        """Follow links among the members, as in a chroot of the archive."""
        parts = deque(name.split(b"/"))
        done: list[bytes] = []
        links = 0
        while parts:
            part = parts.popleft()
            if part == b"..":
                del done[-1:]
            elif part not in (b"", b"."):
                done.append(part)
            target = self._links.get(b"/".join(done)) if self._links else None
            if target is None:
                continue
            links += 1
            if links > _MAX_LINKS:
                raise BrokenArchive(f"{_shown(name)}: too many levels of symbolic links")
            done = [] if target.startswith(b"/") else done[:-1]
            parts.extendleft(reversed(target.split(b"/")))
        return b"/".join(done)


class _Directory:
    """A directory with an OCI layout; owns its descriptor and those of the files found."""

    def __init__(self, fd: int) -> None:
        self._root = fd
        self._open: dict[str, int] = {}

    def close(self) -> None:
        for fd in (*self._open.values(), self._root):
            os.close(fd)
        self._open.clear()
        self._root = -1

    def directories(self) -> list[str]:
        with os.scandir(self._root) as entries:
            names = [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [name.decode("utf-8", "surrogateescape") for name in sorted(names)]

    def find(self, name: str) -> Extent | None:
        fd = self._open.get(name)
        if fd is None:
            try:
                path = name.encode("utf-8", "surrogateescape")
                fd = open_in_root(self._root, path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno in _NO_SUCH_FILE:
                    return None
                raise
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                return None
            self._open[name] = fd
        return Extent(Path(f"/proc/self/fd/{fd}"), 0, os.fstat(fd).st_size)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
