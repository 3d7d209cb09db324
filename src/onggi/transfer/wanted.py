"""The layers that an image has and the store may lack."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from enum import Enum

from onggi.cancel import CancelToken
from onggi.layers.store import LayerStore
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import ChainID, DiffID
from onggi.oci.image_config import ImageConfig
from onggi.record import mutable_record
from onggi.store.locks import Lease

__all__ = ["Need", "Wanted", "wanted_layers"]


class Need(Enum):
    """What a layer of the image still needs."""

    NOTHING = "held"
    UNPACK = "unpack"
    HASH = "hash"  # the layer is here, but not known to come from this blob: prove it


@mutable_record
class Wanted:
    """One layer of the image; ``depth`` counts from 1 at the base."""

    descriptor: Descriptor
    diff_id: DiffID
    chain_id: ChainID
    parent: ChainID | None
    depth: int
    need: Need = Need.UNPACK
    lease: Lease | None = None

    def take_lease(self, layers: LayerStore, leases: ExitStack, cancel: CancelToken) -> None:
        """Shared on a layer that is here, which needs nothing then; exclusive to make one."""
        lease = layers.lease_or_make(self.chain_id, cancel)
        leases.callback(lease.release)
        self.lease = lease
        self.need = Need.UNPACK if lease.exclusive else Need.NOTHING

    def share(self) -> None:
        """The layer is made: let others use it."""
        if self.lease is not None and self.lease.exclusive:
            self.lease.share()


def wanted_layers(config: ImageConfig, descriptors: Sequence[Descriptor]) -> list[Wanted]:
    """One for each layer of an image, base first; ``descriptors`` in the same order."""
    chains = config.chain_ids
    parents = [None, *chains][: len(chains)]
    rows = zip(descriptors, config.diff_ids, chains, parents, strict=True)
    return [Wanted(*row, depth) for depth, row in enumerate(rows, start=1)]
