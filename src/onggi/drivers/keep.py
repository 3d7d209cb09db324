"""A worker's job: a layer's tar is kept as it is, with an index that the kernel mounts.

While the tar arrives, one thread hashes it and writes it to its file, another parses its headers,
builds the tree that they make and sums up each content; at the end the tree becomes the index. Nothing
is created per member, and nothing needs a privilege: owners and modes are numbers in the index.

What no index can show (a default ACL, which a file system hands down; data that do not lie on
blocks) is unpacked into a directory instead, from the tar that is there by then.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator

from onggi.archive import layer_sums, tar, tarsplit
from onggi.archive.compression import Compression
from onggi.archive.erofs.format import BLOCK_BITS_TAR, NotRepresentable
from onggi.archive.erofs.writer import write_index
from onggi.archive.tar_format import clean_path
from onggi.drivers.erofs_names import INDEX, SUMS, TAR
from onggi.drivers.stream import CAPABILITIES, Flusher, Follower, Stream, confine
from onggi.drivers.unpack import write_tree
from onggi.errors import FailedPrecondition
from onggi.linux.filesystem import write_back
from onggi.store.layerdb import TAR_SPLIT
from onggi.tree.acl import DEFAULT
from onggi.tree.apply import ApplyLimits
from onggi.tree.errors import LayerTooLarge
from onggi.tree.expected import ExpectedTree

__all__ = ["MustBeUnpacked", "Scan", "keep", "tree_index", "unpack_instead", "write_all", "write_new"]

_READ_BYTES = 1024 * 1024
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class MustBeUnpacked(FailedPrecondition):
    """The layer cannot be kept as a tar with an index, and this user cannot unpack it."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"keep layer: {reason}: it must be unpacked, which needs root",
            hint="pull this image as root",
        )


def keep(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """The tar and its index into ``directory``; or a tree there, and tar-split into ``write_set``.

    ``request`` has the index's ``uuid`` in hex. The staging lease is only kept open.
    """
    blob, directory, write_set, _lease = descriptors
    data = _Tar(directory)
    stream = Stream(
        Follower(control, blob, int(str(request["start"]))), take=data.write, at_end=data.write_back
    )
    confine(directory, (*CAPABILITIES, "CAP_SYS_CHROOT"))
    scan = Scan(stream)
    try:
        index = tree_index(scan.tree, stream.size_bytes, bytes.fromhex(str(request["uuid"])))
    except NotRepresentable as error:
        stream.finish()
        found = unpack_instead(request, stream, data.pieces(), directory, write_set, error)
        os.unlink(TAR, dir_fd=directory)
        return found
    write_new(directory, INDEX, index)
    write_new(directory, SUMS, layer_sums.pack_sums(scan.sums))
    stream.finish()
    return {"diff_id": stream.diff_id, "size": scan.tree.sizes()[0], "members": scan.members}


def tree_index(
    tree: ExpectedTree, data_bytes: int, uuid: bytes, *, block_bits: int = BLOCK_BITS_TAR
) -> bytearray:
    """A tree's index. Raises NotRepresentable."""
    if tree.has_default_acl:
        raise NotRepresentable(b"", f"{DEFAULT.decode()} is handed down by the file system below")
    return write_index(tree.root, data_bytes=data_bytes, block_bits=block_bits, uuid=uuid)


class _Tar:
    """The file that the tar goes to; written by the inflating thread."""

    def __init__(self, directory: int) -> None:
        self.size_bytes = 0
        self.fd = os.open(TAR, _CREATE, 0o400, dir_fd=directory)
        self._flusher = Flusher(lambda: os.fdatasync(self.fd))

    def write(self, piece: bytes) -> None:
        """Append a piece."""
        write_all(self.fd, piece)
        self.size_bytes += len(piece)
        self._flusher.note(self.size_bytes)

    def write_back(self) -> None:
        """Everything is on its way to the disk; the driver's fsync makes sure of it."""
        write_back(self.fd)
        self._flusher.check()

    def pieces(self) -> Iterator[bytes]:
        """What was written, from the start."""
        position = 0
        while piece := os.pread(self.fd, _READ_BYTES, position):
            position += len(piece)
            yield piece


class Scan:
    """Everything that is to know of a tar, in one pass: ``tree`` and packed ``sums``.

    Raises what apply.py raises for an archive that cannot be unpacked, in the same words.
    """

    def __init__(self, stream: Iterable[bytes]) -> None:
        self.tree = ExpectedTree()
        self.sums: list[bytes] = []
        self.members = 0
        self._run(tar.TarReader(stream))
        self.tree.finish()

    def _run(self, reader: tar.TarReader) -> None:
        crc32, pack = layer_sums.crc32_function(), layer_sums.SUM.pack
        limit = ApplyLimits().members
        seen: set[bytes] = set()
        for member in reader:
            name = clean_path(member.name)
            if name in seen:
                raise tarsplit.DuplicatePath(member.name)
            seen.add(name)
            if len(seen) > limit:
                raise LayerTooLarge(f"layer has more than {limit} members")
            position = reader.offset
            self.tree.add(member, position, name)
            if member.size:
                crc = length = 0
                for _, piece in reader.read_data():
                    crc = crc32(piece, crc)
                    length += len(piece)
                self.sums.append(pack(position // layer_sums.BLOCK, length, crc))
        self.members = len(seen)


def unpack_instead(
    request: dict[str, object],
    stream: Stream,
    pieces: Iterable[bytes],
    directory: int,
    write_set: int,
    reason: NotRepresentable,
) -> dict[str, object]:
    """Make a directory of a tar that is complete, told again by ``pieces``. Raises MustBeUnpacked."""
    if os.geteuid() != 0:
        raise MustBeUnpacked(reason.reason)
    os.mkdir("diff", 0o755, dir_fd=directory)
    root = os.open("diff", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    split = os.open(TAR_SPLIT, flags, 0o644, dir_fd=write_set)
    confine(root)
    compression = Compression.NONE if request["repeated"] else stream.compression
    applied = write_tree(request, pieces, root, split, compression)
    return {"diff_id": stream.diff_id, "size": applied.size_bytes, "members": applied.members}


def write_new(directory: int, name: str, content: bytes | bytearray) -> None:
    """Write a file of the layer and send it on its way to the disk."""
    fd = os.open(name, _CREATE, 0o400, dir_fd=directory)
    try:
        write_all(fd, content)
        write_back(fd)
    finally:
        os.close(fd)


def write_all(fd: int, content: bytes | bytearray | memoryview) -> None:
    """Write all of it, however many calls that takes."""
    written = os.write(fd, content)
    view = memoryview(content)
    while written < len(content):
        written += os.write(fd, view[written:])
