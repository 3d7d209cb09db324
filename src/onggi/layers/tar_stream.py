"""A layer's tar stream, byte for byte the one it was made from.

Whoever sends a layer away (push, save, sync) or looks into it reads it here; the last piece
is handed out only when all bytes before it make the layer's diffID.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256

from onggi.errors import DataLoss, OnggiError
from onggi.layers.store import LayerStore
from onggi.oci.digest import ChainID, DiffID
from onggi.store.layerdb import TAR_SPLIT, CorruptLayer

Via = Callable[[Iterator[bytes]], AbstractContextManager[Iterator[bytes]]]

__all__ = ["LayerChanged", "layer_tar", "layer_tar_size"]

# Bytes gathered before a piece is handed on: enough that hashing and deflating run without the GIL.
_PIECE_BYTES = 256 * 1024


class LayerChanged(DataLoss):
    """The files of a layer are no longer those it was made of (docker-engine §5.3: Docker's words)."""

    def __init__(self, diff_id: DiffID, cause: str = "") -> None:
        super().__init__(
            f"could not verify layer data for: {diff_id}. This may be because internal files in the layer "
            "store were modified. Re-pulling or rebuilding this image may resolve the issue",
            hint=f"{cause}; 'onggi verify' names every changed path"
            if cause
            else "'onggi verify' names them",
        )
        self.diff_id = diff_id
        self.cause = cause


def layer_tar(layers: LayerStore, chain: ChainID, *, via: Via = nullcontext) -> Iterator[bytes]:
    """The uncompressed tar in pieces of about 256 KiB to 1 MiB; hold a lease on ``chain`` meanwhile.

    ``via`` passes the pieces on before they are hashed, e.g. from a thread that reads ahead.

    Raises (while iterating):
        CorruptLayer: layerdb's entry cannot be read, or there is none.
        LayerChanged: the bytes are not those of the diffID.
    """
    record = layers.get(chain)
    if record is None:
        raise CorruptLayer(layers.db.path(chain), "it does not exist")
    split = layers.db.path(chain) / TAR_SPLIT
    hashed = sha256()
    last = b""
    try:
        with via(_gathered(layers.driver.tar(record.cache_id, split))) as pieces:
            for piece in pieces:
                hashed.update(piece)
                if last:
                    yield last
                last = piece
    except OnggiError as error:
        raise LayerChanged(record.diff_id, error.message) from error
    if f"sha256:{hashed.hexdigest()}" != record.diff_id:
        raise LayerChanged(record.diff_id)
    if last:
        yield last


def layer_tar_size(layers: LayerStore, chain: ChainID) -> int:
    """Bytes of :func:`layer_tar`, without reading the layer's files. Raises CorruptLayer, DataLoss."""
    record = layers.get(chain)
    if record is None:
        raise CorruptLayer(layers.db.path(chain), "it does not exist")
    return layers.driver.tar_size(record.cache_id, layers.db.path(chain) / TAR_SPLIT)


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth a call each."""
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        small.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(small) if len(small) > 1 else piece
            small.clear()
            size = 0
    if small:
        yield b"".join(small)
