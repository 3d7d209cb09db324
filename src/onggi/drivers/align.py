"""A worker's job: a layer's contents are kept on blocks of 4 KiB, with an index that the kernel mounts.

While the tar arrives, one thread inflates and hashes it, the other parses its headers, writes
each content to the data file and what is no content to tar-split; at the end the tree becomes the
index. What no index can show is unpacked into a directory instead, as where the tar is kept.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from onggi.archive.erofs.format import BLOCK_BITS_4K, NotRepresentable
from onggi.archive.tar import Member, TarReader
from onggi.archive.tarsplit import read_gzip
from onggi.archive.tarsplit_writer import TarSplitWriter, gzip_writer
from onggi.drivers.aligned import archive, data_bytes, on_block, scan
from onggi.drivers.erofs_names import DATA, INDEX, SPLIT
from onggi.drivers.keep import tree_index, unpack_instead, write_all, write_new
from onggi.drivers.stream import CAPABILITIES, Flusher, Follower, Stream, confine
from onggi.linux.filesystem import write_back

__all__ = ["align"]

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# Bytes of small contents gathered before they are written, and from where one is written without.
_BUFFER_BYTES = 1024 * 1024
_LARGE_BYTES = 128 * 1024


def align(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """Contents, tar-split and index into ``directory``; or a tree there, and tar-split into ``write_set``.

    ``request`` has the index's ``uuid`` in hex. The staging lease is only kept open.
    """
    blob, directory, write_set, _lease = descriptors
    stream = Stream(Follower(control, blob, int(str(request["start"]))))
    confine(directory, (*CAPABILITIES, "CAP_SYS_CHROOT"))
    contents = _Contents(directory)
    split = os.open(SPLIT, _CREATE, 0o400, dir_fd=directory)
    with gzip_writer(split) as out:
        scanned = scan(TarReader(stream, observer=_Splitter(TarSplitWriter(out), contents)))
    contents.write_back()
    write_back(split)
    try:
        uuid = bytes.fromhex(str(request["uuid"]))
        index = tree_index(scanned.tree, scanned.end, uuid, block_bits=BLOCK_BITS_4K)
    except NotRepresentable as error:
        stream.finish()
        found = unpack_instead(request, stream, _pieces(split, contents.fd), directory, write_set, error)
        for name in (DATA, SPLIT):
            os.unlink(name, dir_fd=directory)
        return found
    write_new(directory, INDEX, index)
    stream.finish()
    return {"diff_id": stream.diff_id, "size": scanned.tree.sizes()[0], "members": scanned.members}


def _pieces(split: int, data: int) -> Iterator[bytes]:
    """The tar, from what was made of it."""
    os.lseek(split, 0, os.SEEK_SET)
    with open(split, "rb", closefd=False) as file, read_gzip(file) as entries:
        yield from archive(entries, data)


class _Contents:
    """The data file: each content begins on a block, and the last block of each is whole.

    The kernel reads whole blocks: it fails where the file ends within one.
    """

    def __init__(self, directory: int) -> None:
        self.size_bytes = 0
        self.fd = os.open(DATA, _CREATE, 0o400, dir_fd=directory)
        self._buffer = bytearray()
        self._flusher = Flusher(lambda: os.fdatasync(self.fd))

    def write(self, piece: bytes | memoryview) -> None:
        """A piece of a content."""
        self.size_bytes += len(piece)
        if len(piece) < _LARGE_BYTES:
            self._buffer += piece
        else:
            self._flush()
            write_all(self.fd, piece)
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def end(self) -> None:
        """The content is complete."""
        padding = on_block(self.size_bytes) - self.size_bytes
        self._buffer += bytes(padding)
        self.size_bytes += padding

    def _flush(self) -> None:
        if self._buffer:
            write_all(self.fd, self._buffer)
            self._buffer.clear()
        self._flusher.note(self.size_bytes)

    def write_back(self) -> None:
        """Everything is on its way to the disk; the driver's fsync makes sure of it."""
        self._flush()
        write_back(self.fd)
        self._flusher.check()


class _Splitter:
    """Sends an archive two ways: contents to the data file, the rest and their CRCs to tar-split."""

    def __init__(self, split: TarSplitWriter, contents: _Contents) -> None:
        self._split = split
        self._contents = contents
        self._in_sparse = False

    def segment(self, data: bytes) -> None:
        """Bytes that are no content, or data of a sparse member, which are one here."""
        if self._in_sparse:
            self.content(data)
        else:
            self._split.segment(data)

    def begin(self, member: Member) -> None:
        """See TarObserver. Raises DuplicatePath."""
        self._split.begin(member)
        self._in_sparse = member.sparse is not None

    def content(self, piece: bytes | memoryview) -> None:
        """See TarObserver."""
        self._split.content(piece)
        self._contents.write(piece)

    def finish(self, member: Member) -> None:
        """See TarObserver."""
        self._contents.end()
        if self._in_sparse:
            member = Member(member.name, member.type, size=data_bytes(member))
            self._in_sparse = False
        self._split.finish(member)

    def end(self) -> None:
        """See TarObserver."""
        self._split.end()
