"""``cp``: files into and out of a container, running or not.

Inside, every path is resolved by the kernel with the container's root as ``/``; what its processes
do to links meanwhile changes which of its own files is meant, and nothing else.
"""

from __future__ import annotations

import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import time

from onggi.archive.compression import decompressed
from onggi.cancel import CancelToken
from onggi.engine.containers.changes import packed_tree, read_user
from onggi.engine.containers.container_events import emit
from onggi.engine.containers.copy_paths import (
    CopyRefused,
    Destination,
    absolute,
    asserts_directory,
    host_destination,
    host_source,
    names_contents,
    plan,
)
from onggi.engine.containers.roots import mounted_root
from onggi.engine.core import Core
from onggi.errors import InvalidArgument, NotFound
from onggi.linux.openat2 import open_in_root
from onggi.record import record
from onggi.store.containers import StoredContainer
from onggi.transfer.archive_files import stream_pieces
from onggi.tree.copy_in import CopyRules, unpack_into

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["ContainerFiles", "FileNotInContainer", "PathStatus", "ReadOnlyTarget"]

_PATH = os.O_PATH | os.O_CLOEXEC


class FileNotInContainer(NotFound):
    """The container has no such path; Docker's words."""

    def __init__(self, path: str, name: str) -> None:
        super().__init__(f"Could not find the file {path} in container {name}")


class ReadOnlyTarget(InvalidArgument):
    """Nothing may be written there; Docker's words."""


@record
class PathStatus:
    """A path in the container: ``status`` is ``lstat``'s, ``target`` that of a symbolic link."""

    name: str
    status: os.stat_result
    target: str

    @property
    def is_directory(self) -> bool:
        """Whether it is one itself."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


@record
class _Located:
    """A path found: ``directory`` is open, ``entry`` a name in it (empty: itself)."""

    directory: int
    entry: bytes
    status: os.stat_result


class ContainerFiles:
    """The files of one container, reached for one verb at a time. ``name`` is what errors call it."""

    def __init__(self, core: Core, stored: StoredContainer, name: str) -> None:
        self._core = core
        self._stored = stored
        self._name = name

    # --- looking --------------------------------------------------------------------------

    def stat(self, path: str) -> PathStatus:
        """What is at ``path``; a link is not followed unless a slash follows. Raises FileNotInContainer."""
        with mounted_root(self._core, self._stored) as root:
            return self._stat(root, path)

    def _stat(self, root: int, path: str) -> PathStatus:
        with self._located(root, path) as found:
            target = ""
            if stat.S_ISLNK(found.status.st_mode):
                target = os.fsdecode(os.readlink(found.entry, dir_fd=found.directory))
            return PathStatus(posixpath.basename(absolute(path)), found.status, target)

    @contextmanager
    def _located(self, root: int, path: str) -> Iterator[_Located]:
        if not path:
            raise InvalidArgument("bad parameter: path cannot be empty", hint=f"{self._name}:/ is all of it")
        full = absolute(path)
        whole = asserts_directory(full) or full == "/"
        above, entry = (full, "") if whole else posixpath.split(full)
        try:
            directory = open_in_root(root, os.fsencode(above), os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise FileNotInContainer(path, self._name) from error
        try:
            status = os.stat(entry or ".", dir_fd=directory, follow_symlinks=False)
            yield _Located(directory, os.fsencode(entry), status)
        except FileNotFoundError as error:
            raise FileNotInContainer(path, self._name) from error
        finally:
            os.close(directory)

    # --- out ------------------------------------------------------------------------------

    def archive(self, path: str, *, follow: bool = False) -> Iterator[bytes]:
        """A tar stream, its root entry called as the path's last part (``.`` for ``dir/.``), in pieces."""
        with mounted_root(self._core, self._stored) as root:
            found = self._followed(root, path) if follow else path
            name = posixpath.basename(absolute(found).rstrip("/")) or "."
            yield from self._packed(root, found, name)
        emit(self._core, "archive-path", self._stored)

    def copy_out(self, path: str, target: str, *, follow: bool = False) -> int:
        """Copy to a path of this host, everything becoming the caller's; bytes of the tar stream copied.

        Raises FileNotInContainer, CopyRefused, CannotOverwrite.
        """
        with mounted_root(self._core, self._stored) as root:
            destination = host_destination(target)
            found = self._followed(root, path) if follow else path
            is_directory = self._stat(root, found).is_directory
            full = absolute(path)
            contents = names_contents(full) or full == "/"
            name = "" if contents else posixpath.basename(full.rstrip("/"))
            place = plan(name, is_directory, destination)
            counted = _Counted(self._packed(root, found, place.name))
            _unpack_on_host(counted, place.directory)
        emit(self._core, "archive-path", self._stored)
        return counted.bytes

    def _followed(self, root: int, path: str) -> str:
        """What a link at ``path`` says; any other path itself. Once, as Docker does."""
        status = self._stat(root, path)
        if not status.is_link:
            return path
        return posixpath.join(posixpath.dirname(absolute(path)), status.target)

    def _packed(self, root: int, path: str, name: str) -> Iterator[bytes]:
        with self._located(root, path) as found:
            yield from packed_tree(
                found.directory, self._core.config.compat, found.entry, os.fsencode(name), names=root
            )

    # --- in -------------------------------------------------------------------------------

    def copy_in(self, source: str, target: str, *, follow: bool = False, archive: bool = False) -> int:
        """Copy a path of this host; bytes of the tar stream copied. ``archive``: see :meth:`extract`.

        Raises NoSuchPath, CopyRefused, FileNotInContainer, CannotOverwrite, ReadOnlyTarget.
        """
        with mounted_root(self._core, self._stored) as root:
            destination = self._destination(root, target)
            found = host_source(source, follow=follow)
            place = plan(found.name, found.is_directory, destination)
            directory = os.open(found.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                entry, name = os.fsencode(found.entry), os.fsencode(place.name)
                counted = _Counted(packed_tree(directory, self._core.config.compat, entry, name))
                self._extract(root, counted, place.directory, archive=archive)
            finally:
                os.close(directory)
            return counted.bytes

    def write(self, data: bytes | BinaryIO, target: str, *, mode: int = 0o644) -> int:
        """Make a file of bytes, or of a stream whose length can be told; gives that length."""
        content = io.BytesIO(data) if isinstance(data, bytes) else data
        size = content.seek(0, os.SEEK_END) - content.seek(0)
        with mounted_root(self._core, self._stored) as root:
            destination = self._destination(root, target)
            if destination.is_directory:
                raise CopyRefused(f"{target}: a directory is there", hint="name the file to be made")
            place = plan("file", False, destination)
            info = tarfile.TarInfo(place.name)
            info.size, info.mode, info.mtime = size, mode, int(time())
            self._extract(root, _one_member(info, content), place.directory, archive=False)
        return size

    def extract_stream(self, stream: BinaryIO | io.FileIO, target: str, *, archive: bool = False) -> int:
        """Unpack a tar stream, compressed or not, into a directory; its bytes, uncompressed."""
        with mounted_root(self._core, self._stored) as root:
            destination = self._destination(root, target)
            if not destination.is_directory:
                raise CopyRefused(f'destination "{self._name}:{target}" must be a directory')
            counted = _Counted(decompressed(stream_pieces(stream, CancelToken())))
            self._extract(root, counted, destination.path, archive=archive)
            return counted.bytes

    def _destination(self, root: int, target: str) -> Destination:
        """A link there stands for what it says. Raises CopyRefused for what can be no destination."""
        path = target
        try:
            status = self._stat(root, path)
            if status.is_link:
                path = posixpath.join(posixpath.dirname(absolute(path)), status.target)
                status = self._stat(root, path)
        except FileNotInContainer:
            return Destination(absolute(path), False, False)
        mode = status.status.st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise CopyRefused(f'destination "{self._name}:{target}" must be a directory or a regular file')
        return Destination(absolute(path), True, status.is_directory)

    def _extract(self, root: int, pieces: Iterable[bytes], directory: str, *, archive: bool) -> None:
        try:
            opened = open_in_root(root, os.fsencode(directory), _PATH)
        except OSError as error:
            raise FileNotInContainer(directory, self._name) from error
        try:
            if not stat.S_ISDIR(os.fstat(opened).st_mode):
                raise CopyRefused("extraction point is not a directory")
            self._check_writable(opened, directory)
        finally:
            os.close(opened)
        owner = read_user(root, self._stored) if archive else None
        unpack_into(pieces, root, os.fsencode(directory), CopyRules(owner=owner))
        emit(self._core, "extract-to-dir", self._stored)

    def _check_writable(self, opened: int, directory: str) -> None:
        """What is mounted there decides, or the container's own root."""
        read_only = bool(os.fstatvfs(opened).f_flag & os.ST_RDONLY)
        points = self._stored.document.get("MountPoints") or {}
        place = absolute(directory).removesuffix("/.").rstrip("/") + "/"
        mounted = any(place.startswith(point.rstrip("/") + "/") for point in points)
        if mounted and read_only:
            raise ReadOnlyTarget("mounted volume is marked read-only")
        if not mounted and (read_only or self._stored.host_config.get("ReadonlyRootfs")):
            raise ReadOnlyTarget("container rootfs is marked read-only")


class _Counted:
    """Pieces, and how many bytes they were."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.bytes += len(piece)
            yield piece


def _one_member(info: tarfile.TarInfo, content: BinaryIO) -> Iterator[bytes]:
    """An archive of one file."""
    yield info.tobuf(tarfile.PAX_FORMAT)
    while piece := content.read(1 << 20):
        yield piece
    yield bytes(-info.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def _unpack_on_host(pieces: Iterable[bytes], directory: str) -> None:
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unpack_into(pieces, root, b"", CopyRules(chown=False))
    finally:
        os.close(root)
