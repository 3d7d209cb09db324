"""What a pull would do, without doing it: bytes to fetch, layers held, disk needed.

Only manifests and the image config travel; the store is read, never written.
"""

from __future__ import annotations

from enum import Enum

from onggi.cancel import CancelToken
from onggi.oci.digest import ChainID, Digest, ImageID
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.transfer.held_layers import find_held
from onggi.transfer.pull import Puller, PullOptions

__all__ = ["LayerState", "PlannedLayer", "PullPlan", "plan_pull"]

# Unpacked bytes per compressed byte, where nobody tells: typical of Linux layers in gzip.
_USUAL_EXPANSION = 2.8


class LayerState(Enum):
    """Where a layer's bytes are now."""

    HELD = "held"
    PARTIAL = "partial"
    MISSING = "missing"


@record
class PlannedLayer:
    """One layer: compressed ``size_bytes``, of which ``have_bytes`` need not be fetched."""

    digest: Digest
    media_type: str
    chain_id: ChainID
    size_bytes: int
    state: LayerState
    have_bytes: int


@record
class PullPlan:
    """A pull before it happens. ``disk_needed_bytes`` is an estimate: unpacked sizes are not announced."""

    reference: Reference
    digest: Digest
    platform: Platform
    image_id: ImageID
    layers: tuple[PlannedLayer, ...]
    up_to_date: bool

    @property
    def bytes_to_fetch(self) -> int:
        """Compressed bytes that are not here yet."""
        return sum(layer.size_bytes - layer.have_bytes for layer in self.layers)

    @property
    def disk_needed_bytes(self) -> int:
        """Bytes at the pull's peak: received blobs beside the files unpacked from them."""
        missing = [layer for layer in self.layers if layer.state is not LayerState.HELD]
        received = sum(layer.size_bytes - layer.have_bytes for layer in missing)
        return received + int(sum(layer.size_bytes for layer in missing) * _USUAL_EXPANSION)


def plan_pull(puller: Puller, reference: Reference, options: PullOptions, cancel: CancelToken) -> PullPlan:
    """Ask the registry what ``reference`` is, and the store what of it is here."""
    repository = puller.client.repository(reference)
    resolved = repository.resolve(reference, cancel)
    selected = puller.select(repository, reference, resolved.raw, resolved.media_type, options, cancel)
    config = puller.fetch_config(repository, selected.manifest, cancel)
    layers = []
    for descriptor, diff_id, chain in zip(
        selected.manifest.layers, config.diff_ids, config.chain_ids, strict=True
    ):
        known = puller.distribution.diff_id(descriptor.digest) == diff_id
        held = known and puller.layers.usable(chain) is not None
        # What is here under another chain is unpacked anew, and not fetched.
        here = held or (known and find_held(puller.layers, diff_id) is not None)
        have = descriptor.size if here else min(descriptor.size, puller.blobs.partial_size(descriptor))
        state = LayerState.HELD if held else LayerState.PARTIAL if have else LayerState.MISSING
        layers.append(
            PlannedLayer(descriptor.digest, descriptor.media_type, chain, descriptor.size, state, have)
        )
    up_to_date = puller.tags.snapshot().find(reference) == config.id
    platform = Platform(config.os or "linux", config.architecture, config.variant)
    return PullPlan(reference, selected.digest, platform, config.id, tuple(layers), up_to_date)
