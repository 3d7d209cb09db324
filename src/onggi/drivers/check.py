"""A worker's other job: is a layer's directory still what the layer was made of?

``content`` passes over tar-split once, and does two things with it:

* The archive is put together again from tar-split and files, and hashed; each file's CRC names
  those that were changed.
* The archive's headers, which stand in tar-split whole, make the tree that they tell of, and with
  that the directory is compared. What a file's inode says is read while it is open for its content.

``tree`` does only the second; it is the fast check, which looks at ctimes instead of contents.

What differs leaves in the packets of report.py.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from onggi.archive.crc64 import crc64
from onggi.archive.tar import InvalidTar, TarReader
from onggi.archive.tar_format import clamp_path
from onggi.archive.tarsplit import FileEntry, InvalidTarSplit, Segment, read_gzip
from onggi.drivers.report import Report, Send
from onggi.store.layerdb import TAR_SPLIT
from onggi.tree.compare import compare_tree, prove
from onggi.tree.errors import InvalidLayer, errno_text, printable
from onggi.tree.expected import ExpectedTree
from onggi.tree.files import Files

if TYPE_CHECKING:
    from onggi.archive.tar import Member
    from onggi.tree.expected import Node

__all__ = ["check"]

# Bytes gathered before they are hashed, in a third of a millisecond: half of a core's cache.
_BUFFER_BYTES = 512 * 1024
# Bytes of a hole that are read at once where the file system has none there.
_PIECE_BYTES = 1024 * 1024


def check(
    request: dict[str, object], send: Send, is_core_free: Callable[[], bool] = lambda: False
) -> dict[str, object]:
    """Do one part; ``request`` has ``part``, the paths ``diff`` and ``split``, and ``unpacked_ns``.

    ``is_core_free`` is asked now and then whether there is a core that nobody needs.

    The result has ``flaws`` (file, reason, mendable; that tar-split cannot be read) and ``file``
    (what is to blame where the bytes are wrong and no path is); where the headers can be read,
    ``size``, ``header_size`` and ``shadowed``, a count; and of the content ``diff_id`` and ``bytes``.
    """
    report = Report(send)
    result: dict[str, object] = {"flaws": [], "file": request.get("file", "")}
    unpacked_ns = request["unpacked_ns"]
    root = os.open(str(request["diff"]), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        contents = _Contents(root, is_core_free) if request["part"] == "content" else None
        shadowed: frozenset[bytes] = frozenset()
        try:
            tree = _expected_tree(Path(str(request["split"])), contents)
            shadowed = frozenset(tree.shadowed)
            compare_tree(
                tree,
                root,
                lambda path, change: report.add(path, *change),
                unpacked_ns=None if unpacked_ns is None else int(str(unpacked_ns)),
            )
            result["size"], result["header_size"] = tree.sizes()
            result["shadowed"] = len(shadowed)
        except (InvalidTarSplit, InvalidTar, InvalidLayer) as error:
            result["flaws"] = [(f"layerdb/{TAR_SPLIT}", error.message, False)]
        if contents is not None:
            result |= contents.tell(report, shadowed)
    finally:
        os.close(root)
    report.flush()
    return result


def _expected_tree(split: Path, contents: _Contents | None) -> ExpectedTree:
    """The tree that the headers make; ``contents`` sees every entry, whatever the headers are like."""
    with read_gzip(split) as entries:
        if contents is None:
            return _build(entries, None)
        passed = contents.passed(entries)
        try:
            return _build(passed, contents)
        finally:
            for _ in passed:
                pass


def _build(entries: Iterable[Segment | FileEntry], contents: _Contents | None) -> ExpectedTree:
    tree = ExpectedTree()
    headers = _Headers(entries)
    reader = TarReader(headers)
    for member in reader:
        node = tree.add(member)
        if contents is not None:
            contents.node = node
        if member.sparse is None:
            reader.skip_content(headers.skip)
        elif contents is not None:
            contents.compare_sparse(reader, member)
    tree.finish()
    return tree


class _Contents:
    """Contents of files on their way through the archive.

    ``node`` is that of the header that came last: the file that comes next should be it.
    """

    def __init__(self, root: int, is_core_free: Callable[[], bool]) -> None:
        self.node: Node | None = None
        self._files = Files(root)
        self._device = os.fstat(root).st_dev
        self._archive = _Archive(is_core_free)
        self._wrong: list[tuple[bytes, str, str]] = []
        self._result: dict[str, object] = {}

    def passed(self, entries: Iterable[Segment | FileEntry]) -> Iterator[Segment | FileEntry]:
        """The entries, each after its bytes have been added to the archive."""
        with self._files, self._archive as archive:
            for entry in entries:
                if isinstance(entry, Segment):
                    archive.put(entry.payload)
                elif entry.size:
                    self._add_file(entry)
                yield entry
        self._result = {"diff_id": archive.diff_id(), "bytes": archive.size_bytes}

    def _add_file(self, entry: FileEntry) -> None:
        """Add a file's bytes, and note it when they are not the recorded ones."""
        node = self.node
        path = node.first if node is not None and node.member == entry.name else clamp_path(entry.name)
        try:
            fd, status = self._files.descriptor(path)
        except InvalidLayer as error:
            self._wrong.append((entry.name, "", error.message))
            return
        try:
            if node is not None and status.st_dev == self._device:
                prove(node, fd, status)
            size, crc = self._archive.read(fd, entry.size)
        except OSError as error:
            reason = f"cannot be read: {errno_text(error.errno or errno.EIO)}"
            self._wrong.append((entry.name, "", reason))
            return
        finally:
            os.close(fd)
        if size != entry.size:
            found = f"{size}{'+' * (size > entry.size)} bytes"
            self._wrong.append((entry.name, f"{entry.size} bytes", found))
        elif crc != entry.crc:
            self._wrong.append((entry.name, "", ""))

    def compare_sparse(self, reader: TarReader, member: Member) -> None:
        """A sparse file's data lie in tar-split."""
        if not _same_sparse(reader, member, self._files):
            self._wrong.append((member.name, "", ""))

    def tell(self, report: Report, shadowed: frozenset[bytes]) -> dict[str, object]:
        """Report what is wrong, but of names that the archive itself replaces; gives the result's part."""
        for name, expected, found in self._wrong:
            if name not in shadowed:
                report.add(name, "content", expected, found)
        return self._result


class _Archive:
    """Hashes an archive as it is put together. A context manager: its end is the archive's.

    Bytes are gathered in a buffer and hashed there, while the core's caches hold them still; layers are
    checked side by side in processes. From when ``is_core_free`` says so, a thread hashes one buffer
    while the next is filled: it costs more in all, since bytes move between the cores.
    """

    def __init__(self, is_core_free: Callable[[], bool]) -> None:
        self.size_bytes = 0
        self._is_core_free = is_core_free
        self._hash = sha256()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0
        self._thread: threading.Thread | None = None
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | None] = SimpleQueue()

    def put(self, piece: bytes) -> None:
        """The bytes that come next."""
        end = self._filled + len(piece)
        if end > _BUFFER_BYTES:
            for start in range(0, len(piece), _BUFFER_BYTES):
                self._pass_on()
                part = piece[start : start + _BUFFER_BYTES]
                self._buffer[: len(part)] = part
                self._filled = len(part)
            return
        self._buffer[self._filled : end] = piece
        self._filled = end

    def read(self, fd: int, size: int) -> tuple[int, int]:
        """Read a file that should have ``size`` bytes, to one byte more; gives its length and CRC-64."""
        done = crc = 0
        while True:
            start = self._filled
            wanted = min(size + 1 - done, _BUFFER_BYTES - start)
            got = os.readv(fd, (self._buffer[start : start + wanted],))
            self._filled = end = start + got
            crc = crc64(self._buffer[start:end], crc)
            done += got
            if got < wanted or done > size:
                return done, crc
            self._pass_on()

    def _pass_on(self) -> None:
        """The buffer is empty again."""
        self.size_bytes += self._filled
        if self._thread is None and self._is_core_free():
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
            self._free.put(memoryview(bytearray(_BUFFER_BYTES)))
        if self._thread is None:
            self._hash.update(self._buffer[: self._filled])
        else:
            self._full.put((self._buffer, self._filled))
            self._buffer = self._free.get()
        self._filled = 0

    def _run(self) -> None:
        while (full := self._full.get()) is not None:
            buffer, filled = full
            self._hash.update(buffer[:filled])
            self._free.put(buffer)

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._pass_on()
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()

    def diff_id(self) -> str:
        """The digest of all, at the end."""
        return f"sha256:{self._hash.hexdigest()}"


class _Headers:
    """The archive without the contents that are passed over; sparse members' are there whole."""

    def __init__(self, entries: Iterable[Segment | FileEntry]) -> None:
        self._entries = entries
        self._skipped = 0

    def __iter__(self) -> Iterator[bytes]:
        for entry in self._entries:
            if isinstance(entry, Segment):
                if self._skipped:
                    raise InvalidTarSplit(f"{self._skipped} bytes of content are missing")
                yield entry.payload
            elif entry.size > self._skipped:
                raise InvalidTarSplit(f"{printable(entry.name)}: its header tells of another size")
            else:
                self._skipped -= entry.size

    def skip(self, size: int) -> None:
        """The content that comes next is passed over."""
        self._skipped += size


def _same_sparse(reader: TarReader, member: Member, files: Files) -> bool:
    """Whether a sparse file has its data, and zeros between them."""
    try:
        fd, status = files.descriptor(clamp_path(member.name))
    except InvalidLayer:
        return False
    position = 0
    try:
        for offset, piece in reader.read_data():
            if not _is_zero(fd, position, offset) or os.pread(fd, len(piece), offset) != piece:
                return False
            position = offset + len(piece)
        return _is_zero(fd, position, member.size) and status.st_size == member.size
    except OSError:
        return False
    finally:
        os.close(fd)


def _is_zero(fd: int, start: int, end: int) -> bool:
    """Whether a file reads as zeros from ``start`` to ``end``; holes are passed over unread."""
    while start < end:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:
            return True  # ENXIO: no data behind it
        if start >= end:
            return True
        piece = os.pread(fd, min(_PIECE_BYTES, end - start), start)
        if not piece or piece.count(0) != len(piece):
            return False
        start += len(piece)
    return True
