"""Save: images become one archive, written once from front to back.

Nothing is copied aside: a header needs the size of a layer before its bytes, and tar-split
knows it; a blob of an OCI layout is named by the digest of its bytes, and for an uncompressed
layer that is its diffID. The layer's hash is checked while it streams (layers/tar_stream), so a
changed file ends the archive before its last piece, with an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from onggi.archive.tar_format import DIRECTORY, REGULAR, SYMLINK, Member
from onggi.archive.tar_write import END_OF_ARCHIVE, format_header, padding
from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, Unsupported
from onggi.layers.store import LayerStore
from onggi.layers.tar_stream import layer_tar, layer_tar_size
from onggi.oci.digest import ChainID, DiffID
from onggi.transfer.ahead import Ahead
from onggi.transfer.archive_layouts import (
    OCI_LAYER,
    Blob,
    Entry,
    SavedImage,
    docker_entries,
    legacy_entries,
    oci_entries,
)

__all__ = ["EmptyExport", "SaveOptions", "write_images"]

_SECOND_NS = 10**9
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class _LayerTar:
    """An uncompressed layer; satisfies the layouts' Content."""

    layers: LayerStore
    chain: ChainID
    size_bytes: int

    def pieces(self) -> Iterator[bytes]:
        return layer_tar(self.layers, self.chain)


def write_images(
    layers: LayerStore,
    images: Sequence[SavedImage],
    out: Output,
    options: SaveOptions,
    cancel: CancelToken,
) -> None:
    """Write the archive; the caller holds leases on every layer.

    Raises EmptyExport, LayerChanged, CorruptLayer, Cancelled, OSError of ``out``.
    """
    for image in images:
        if not image.config.diff_ids:
            raise EmptyExport(image.config.id)
    sizes: dict[DiffID, int] = {}

    def layer(chain: ChainID, diff_id: DiffID) -> _LayerTar:
        if diff_id not in sizes:
            sizes[diff_id] = layer_tar_size(layers, chain)
        return _LayerTar(layers, chain, sizes[diff_id])

    def blob(chain: ChainID, diff_id: DiffID) -> Blob:
        return Blob(diff_id, OCI_LAYER, layer(chain, diff_id))

    if options.format == "oci":
        entries = oci_entries(images, blob)
    elif options.compat == "20.10":
        entries = legacy_entries(images, layer, options.compat)
    else:
        entries = docker_entries(images, blob, options.compat)
    _write(entries, out, options.compat, cancel)


def _write(entries: Iterable[Entry], out: Output, compat: str, cancel: CancelToken) -> None:
    owner = b"root" if compat == "20.10" else b""
    for entry in entries:
        cancel.check()
        out.write(format_header(_member(entry, compat), user=owner, group=owner))
        if isinstance(entry.content, bytes):
            out.write(entry.content + padding(len(entry.content)))
        else:
            with Ahead(entry.content.pieces()) as pieces:
                for piece in pieces:
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
