"""A worker's other job: is a layer's directory still what the layer was made of?

Two parts that share nothing but the tar-split, so that they can run beside each other:

* ``content`` puts the archive together again from tar-split and files, and hashes it; each
  file's CRC names those that were changed.
* ``tree`` parses the archive's headers, which stand in tar-split whole, builds the tree that
  they make, and compares it with the directory. No contents are read, but of sparse files,
  whose data lie in tar-split.

What differs leaves in the packets of report.py.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from onggi.archive.crc64 import crc64
from onggi.archive.tar import InvalidTar, TarReader
from onggi.archive.tar_format import clamp_path
from onggi.archive.tarsplit import FileEntry, InvalidTarSplit, Segment, read_gzip
from onggi.drivers.report import Report, Send
from onggi.store.layerdb import TAR_SPLIT
from onggi.tree.errors import InvalidLayer, errno_text, printable
from onggi.tree.files import Files

if TYPE_CHECKING:
    from onggi.archive.tar import Member

__all__ = ["check"]

# Bytes of a file read at once, and gathered before they are hashed: what the cores' caches hold.
_BUFFER_BYTES = 1024 * 1024
_HASH_BYTES = 256 * 1024


def check(request: dict[str, object], send: Send) -> dict[str, object]:
    """Do one part; ``request`` has ``part``, the paths ``diff`` and ``split``, and ``unpacked_ns``.

    The result has ``flaws`` (file, reason, mendable; that tar-split cannot be read), ``file``
    (what is to blame where the bytes are wrong and no path is) and the part's own: ``diff_id``
    and ``bytes``, or ``size``, ``header_size`` and ``shadowed`` (hex).
    """
    report = Report(send)
    flaws: list[tuple[str, str, bool]] = []
    root = os.open(str(request["diff"]), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        split = Path(str(request["split"]))
        if request["part"] == "content":
            result = _check_content(split, root, report)
        else:
            unpacked_ns = request["unpacked_ns"]
            result = _check_tree(split, root, report, int(str(unpacked_ns)) if unpacked_ns else None)
    except (InvalidTarSplit, InvalidTar, InvalidLayer) as error:
        result = {}
        flaws.append((f"layerdb/{TAR_SPLIT}", error.message, False))
    finally:
        os.close(root)
    report.flush()
    return {"flaws": flaws, "file": request.get("file", ""), **result}


# --- contents ---------------------------------------------------------------------------------


def _check_content(split: Path, root: int, report: Report) -> dict[str, object]:
    archive = _Archive()
    with read_gzip(split) as entries, Files(root) as files:
        for entry in entries:
            if isinstance(entry, Segment):
                archive.put(entry.payload)
            elif entry.size:
                _add_file(entry, files, archive, report)
    return {"diff_id": archive.diff_id(), "bytes": archive.size_bytes}


def _add_file(entry: FileEntry, files: Files, archive: _Archive, report: Report) -> None:
    """Add a file's bytes, and report it when they are not the recorded ones."""
    try:
        fd = files.descriptor(entry.name)
    except InvalidLayer as error:
        report.add(entry.name, "content", "", error.message)
        return
    try:
        size, crc = archive.read(fd, entry.size)
    except OSError as error:
        report.add(entry.name, "content", "", f"cannot be read: {errno_text(error.errno or errno.EIO)}")
        return
    finally:
        os.close(fd)
    if size != entry.size:
        report.add(entry.name, "content", f"{entry.size} bytes", f"{size}{'+' * (size > entry.size)} bytes")
    elif crc != entry.crc:
        report.add(entry.name, "content")


class _Archive:
    """Hashes an archive as it is put together, in one buffer: what is read into it is hashed there.

    No thread does the hashing: handing over costs a small file more than it saves, and layers
    are checked side by side in processes.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._hash = sha256()
        self._view = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0

    def put(self, data: bytes) -> None:
        """Bytes that are no file's."""
        if len(data) > _BUFFER_BYTES - self._filled:
            self._flush()
        if len(data) > _BUFFER_BYTES:
            self._hash.update(data)
            self.size_bytes += len(data)
            return
        self._view[self._filled : self._filled + len(data)] = data
        self._advance(len(data))

    def read(self, fd: int, size: int) -> tuple[int, int]:
        """Read a file that should have ``size`` bytes, to one byte more; gives its length and CRC-64."""
        done = crc = 0
        while done <= size:
            wanted = min(size + 1 - done, _BUFFER_BYTES)
            if wanted > _BUFFER_BYTES - self._filled:
                self._flush()
            place = self._view[self._filled : self._filled + wanted]
            length = os.readv(fd, [place])
            crc = crc64(place[:length], crc)
            done += length
            self._advance(length)
            if length < wanted:
                break
        return done, crc

    def _advance(self, length: int) -> None:
        self._filled += length
        if self._filled >= _HASH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._hash.update(self._view[: self._filled])
        self.size_bytes += self._filled
        self._filled = 0

    def diff_id(self) -> str:
        """The digest of all."""
        self._flush()
        return f"sha256:{self._hash.hexdigest()}"


# --- the tree ---------------------------------------------------------------------------------


def _check_tree(split: Path, root: int, report: Report, unpacked_ns: int | None) -> dict[str, object]:
    from onggi.tree.compare import Change, compare_tree
    from onggi.tree.expected import ExpectedTree

    tree = ExpectedTree()
    with read_gzip(split) as entries, Files(root) as files:
        headers = _Headers(entries)
        reader = TarReader(headers)
        for member in reader:
            tree.add(member)
            if member.sparse is None:
                reader.skip_content(headers.skip)
            elif unpacked_ns is None and not _same_sparse(reader, member, files):
                report.add(clamp_path(member.name), "content")
    tree.finish()

    def difference(path: bytes, change: Change) -> None:
        report.add(path, *change)

    compare_tree(tree, root, difference, unpacked_ns=unpacked_ns)
    size, header_size = tree.sizes()
    return {
        "size": size,
        "header_size": header_size,
        "shadowed": [name.hex() for name in tree.shadowed[:1000]],
    }


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
        fd = files.descriptor(member.name)
    except InvalidLayer:
        return False
    position = 0
    try:
        for offset, piece in reader.read_data():
            if not _is_zero(fd, position, offset) or os.pread(fd, len(piece), offset) != piece:
                return False
            position = offset + len(piece)
        return _is_zero(fd, position, member.size) and os.fstat(fd).st_size == member.size
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
        piece = os.pread(fd, min(_BUFFER_BYTES, end - start), start)
        if not piece or piece.count(0) != len(piece):
            return False
        start += len(piece)
    return True
