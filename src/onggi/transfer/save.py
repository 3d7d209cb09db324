"""Save: images become one archive, written once from front to back.

Nothing is copied aside: a header needs the size of a layer before its bytes, and tar-split
knows it; a blob of an OCI layout is named by the digest of its bytes, and for an uncompressed
layer that is its diffID. (``--compression`` alone must make the layers first.) The layer's
hash is checked while it streams (layers/tar_stream), so a changed file ends the archive
before its last piece, with an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from onggi.archive.compress import compressed
from onggi.archive.compression import Compression
from onggi.archive.tar_format import DIRECTORY, REGULAR, SYMLINK, Member
from onggi.archive.tar_write import END_OF_ARCHIVE, format_header, padding
from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, Unsupported
from onggi.layers.store import LayerStore
from onggi.layers.tar_stream import layer_tar, layer_tar_size
from onggi.oci.digest import ChainID, DiffID
from onggi.record import field, mutable_record, record
from onggi.transfer.ahead import Ahead
from onggi.transfer.archive_files import nameless_file, write_whole
from onggi.transfer.archive_layouts import (
    OCI_LAYER,
    Blob,
    Entry,
    SavedImage,
    docker_entries,
    legacy_entries,
    oci_entries,
)

if TYPE_CHECKING:
    from onggi.transfer.archive_layouts import Content

__all__ = ["EmptyExport", "Output", "SaveOptions", "write_images"]

_SECOND_NS = 10**9
_PIECE_BYTES = 1 << 20
_DIRECTORY_MODE, _FILE_MODE, _LINK_MODE = 0o755, 0o644, 0o777
_TYPE_BITS = {DIRECTORY: 0o040000, REGULAR: 0o100000, SYMLINK: 0o120000}


class EmptyExport(Unsupported):
    """An image without layers."""

    def __init__(self, image_id: str) -> None:
        super().__init__(
            "empty export - not implemented",
            hint=f"image {image_id} has no layers, so there is nothing to save",
        )


class Output(Protocol):
    """What takes the archive: a binary file."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


@record
class SaveOptions:
    """``format`` is ``docker`` or ``oci``; ``compression`` (``gzip``, ``zstd``) is for OCI only."""

    format: str = "docker"
    compression: str = ""
    compat: str = "28"

    def check(self) -> None:
        """Raises InvalidArgument."""
        if self.format not in ("docker", "oci"):
            raise InvalidArgument(
                f"unknown archive format {self.format!r}", hint="formats are docker and oci"
            )
        if self.compression and self.format != "oci":
            raise InvalidArgument(
                "layers of a docker archive are not compressed",
                hint="compress the archive as a whole (onggi save IMAGE | gzip), or use --format oci",
            )


@record
class _LayerTar:
    """An uncompressed layer; satisfies the layouts' Content."""

    layers: LayerStore
    chain: ChainID
    size_bytes: int

    def pieces(self) -> Iterator[bytes]:
        return layer_tar(self.layers, self.chain, via=Ahead)


class _Packed:
    """A compressed layer in a file without a name; satisfies the layouts' Content."""

    def __init__(self, fd: int, pieces: Iterable[bytes]) -> None:
        self._fd = fd
        self.size_bytes = 0
        hashed = sha256()
        for piece in pieces:
            write_whole(fd, piece)
            hashed.update(piece)
            self.size_bytes += len(piece)
        self.digest = f"sha256:{hashed.hexdigest()}"

    def pieces(self) -> Iterator[bytes]:
        position = 0
        while piece := os.pread(self._fd, _PIECE_BYTES, position):
            position += len(piece)
            yield piece


@mutable_record
class _Blobs:
    """Every layer once, as it stands in the archive; owns the files that compressed ones wait in."""

    layers: LayerStore
    compression: Compression
    spool: Path
    cancel: CancelToken
    files: ExitStack
    known: dict[DiffID, Blob] = field(default_factory=dict)

    def layer(self, chain: ChainID, diff_id: DiffID) -> Content:
        """The content alone."""
        return self.blob(chain, diff_id).content

    def blob(self, chain: ChainID, diff_id: DiffID) -> Blob:
        """A compressed layer is compressed here: its digest names it in the archive."""
        if diff_id not in self.known:
            self.known[diff_id] = self._make(chain, diff_id)
        return self.known[diff_id]

    def _make(self, chain: ChainID, diff_id: DiffID) -> Blob:
        if self.compression is Compression.NONE:
            size = layer_tar_size(self.layers, chain)
            return Blob(diff_id, OCI_LAYER, _LayerTar(self.layers, chain, size))
        fd = nameless_file(self.spool)
        self.files.callback(os.close, fd)
        tar = layer_tar(self.layers, chain, via=Ahead)
        packed = _Packed(fd, self._watched(compressed(tar, self.compression)))
        return Blob(packed.digest, f"{OCI_LAYER}+{self.compression.value}", packed)

    def _watched(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.cancel.check()
            yield piece


def write_images(
    layers: LayerStore,
    images: Sequence[SavedImage],
    out: Output,
    options: SaveOptions,
    spool: Path,
    cancel: CancelToken,
) -> None:
    """Write the archive; the caller holds leases on every layer. ``spool`` is for compressed layers.

    Raises EmptyExport, LayerChanged, CorruptLayer, Cancelled, OSError of ``out``.
    """
    for image in images:
        if not image.config.diff_ids:
            raise EmptyExport(image.config.id)
    with ExitStack() as files:
        blobs = _Blobs(layers, Compression(options.compression), spool, cancel, files)
        if options.format == "oci":
            entries = oci_entries(images, blobs.blob)
        elif options.compat == "20.10":
            entries = legacy_entries(images, blobs.layer, options.compat)
        else:
            entries = docker_entries(images, blobs.blob, options.compat)
        _write(entries, out, options.compat, cancel)


def _write(entries: Iterable[Entry], out: Output, compat: str, cancel: CancelToken) -> None:
    owner = b"root" if compat == "20.10" else b""
    for entry in entries:
        cancel.check()
        out.write(format_header(_member(entry, compat), user=owner, group=owner))
        if isinstance(entry.content, bytes):
            out.write(entry.content + padding(len(entry.content)))
        else:
            for piece in entry.content.pieces():
                cancel.check()
                out.write(piece)
            out.write(padding(entry.content.size_bytes))
    out.write(END_OF_ARCHIVE)


def _member(entry: Entry, compat: str) -> Member:
    size = len(entry.content) if isinstance(entry.content, bytes) else entry.content.size_bytes
    kind, mode = REGULAR, _FILE_MODE
    if entry.link:
        kind, mode = SYMLINK, _LINK_MODE
    elif entry.name.endswith("/"):
        kind, mode = DIRECTORY, _DIRECTORY_MODE
    if compat == "20.10":
        mode |= _TYPE_BITS[kind]
    return Member(
        entry.name.encode(),
        kind,
        mode,
        mtime_ns=entry.mtime_s * _SECOND_NS,
        size=size,
        linkname=entry.link.encode(),
    )
