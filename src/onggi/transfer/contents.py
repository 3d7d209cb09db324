"""The bytes of a layer's blob: made from the layer's files, or read where a pull has kept them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.archive.compress import compressed
from onggi.archive.compression import Compression
from onggi.cancel import CancelToken
from onggi.content.verify import Verifier
from onggi.errors import DataLoss
from onggi.layers.store import LayerStore
from onggi.layers.tar_stream import layer_tar
from onggi.oci.digest import ChainID, Digest
from onggi.record import record
from onggi.transfer.ahead import Ahead

__all__ = ["KeptBlob", "KeptBlobDamaged", "LayerBlob", "SmallBlob"]

_READ_BYTES = 256 * 1024


class KeptBlobDamaged(DataLoss):
    """A blob that was kept has other bytes than its name says."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"read {path}: other bytes than its name says", hint=f"remove it: rm {path}")


@record
class LayerBlob:
    """A layer's tar, put together and compressed anew each time it is opened.

    ``on_read`` gets the bytes of tar read so far.
    """

    layers: LayerStore
    chain_id: ChainID
    compression: Compression
    on_read: Callable[[int], None]
    cancel: CancelToken

    @property
    def digest(self) -> Digest | None:
        """Nobody knows before it is made."""
        return None

    @property
    def size(self) -> int | None:
        """Nobody knows before it is made."""
        return None

    @contextmanager
    def open(self) -> Iterator[Iterator[bytes]]:
        """Raises (while iterating) LayerChanged, CorruptLayer; NoCompressor at once."""
        with self.layers.lease(self.chain_id, cancel=self.cancel):
            pieces = compressed(self._tar(), self.compression)
            with Ahead(pieces) as ahead:
                yield ahead

    def _tar(self) -> Iterator[bytes]:
        position = 0
        for piece in layer_tar(self.layers, self.chain_id):
            position += len(piece)
            yield piece
            self.on_read(position)


@record
class KeptBlob:
    """A whole blob in a file; proved while it is read, before its last piece is given."""

    path: Path
    digest: Digest
    size: int
    on_read: Callable[[int], None]

    @classmethod
    def find(cls, path: Path, digest: Digest, on_read: Callable[[int], None]) -> KeptBlob | None:
        """The blob, or None when the file is gone."""
        try:
            return cls(path, digest, os.stat(path).st_size, on_read)
        except FileNotFoundError:
            return None

    @contextmanager
    def open(self) -> Iterator[Iterator[bytes]]:
        """Raises (while iterating) KeptBlobDamaged."""
        yield self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        verifier = Verifier(self.digest)
        last = b""
        with open(self.path, "rb", buffering=0) as file:
            while piece := file.read(_READ_BYTES):
                verifier.update(piece)
                if last:
                    yield last
                    self.on_read(verifier.position)
                last = piece
        if not verifier.matches():
            raise KeptBlobDamaged(self.path)
        yield last


@record
class SmallBlob:
    """A blob in memory: an image config."""

    data: bytes

    @property
    def digest(self) -> Digest:
        """Of the data."""
        return Digest.of(self.data)

    @property
    def size(self) -> int:
        """Of the data, in bytes."""
        return len(self.data)

    @contextmanager
    def open(self) -> Iterator[Iterator[bytes]]:
        """The data as one piece."""
        yield iter((self.data,))
