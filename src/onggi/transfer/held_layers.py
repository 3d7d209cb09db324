"""Layers that are here under another chain: made from their files instead of fetched again.

A layer's files do not depend on its parent, yet Docker keeps one copy for each chain and
fetches its blob for each. Where the blob is known to unpack to a layer that is here, that
layer's tar is put together from its tar-split and its files, and handed to the worker as if
it had arrived: uncompressed, and proved by its diffID as ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.errors import OnggiError
from onggi.layers.store import LayerStore
from onggi.layers.tar_stream import layer_tar
from onggi.oci.digest import ChainID, DiffID, Digest
from onggi.store.locks import Lease

__all__ = ["HeldLayers", "find_held"]


def find_held(layers: LayerStore, diff_id: DiffID | None) -> ChainID | None:
    """A usable layer of this diffID under any chain."""
    if diff_id is None:
        return None
    alike = (record.chain_id for record in layers.db.records() if record.diff_id == diff_id)
    return next((chain for chain in alike if layers.usable(chain) is not None), None)


class HeldLayers:
    """Tars in files without a name, for the length of a ``with`` block; thread-safe.

    ``known`` tells a blob's diffID; ``directory`` must be on the data root's file system.
    """

    def __init__(self, layers: LayerStore, known: Callable[[Digest], DiffID | None], directory: Path) -> None:
        self._layers = layers
        self._known = known
        self._directory = directory
        self._files = ExitStack()

    def __enter__(self) -> HeldLayers:
        return self

    def __exit__(self, *exception: object) -> None:
        self._files.close()

    def tar(self, digest: Digest, cancel: CancelToken) -> tuple[Path, int] | None:
        """A file with the blob's content uncompressed, and its size; None when it must be fetched.

        A layer that somebody works on is not waited for, a changed one not used. Raises Cancelled.
        """
        chain = find_held(self._layers, self._known(digest))
        lease = self._layers.try_lease(chain) if chain is not None else None
        if chain is None or lease is None:
            return None
        try:
            return self._write(chain, lease, cancel)
        except (OnggiError, OSError):
            cancel.check()
            return None

    def _write(self, chain: ChainID, lease: Lease, cancel: CancelToken) -> tuple[Path, int]:
        with ExitStack() as stack:
            stack.callback(lease.release)
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            with ExitStack() as failed:
                failed.callback(os.close, fd)
                size = 0
                for piece in layer_tar(self._layers, chain):
                    cancel.check()
                    size += _write_all(fd, piece)
                self._files.push(failed.pop_all())
        return Path(f"/proc/self/fd/{fd}"), size


def _write_all(fd: int, piece: bytes) -> int:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
    return len(piece)
