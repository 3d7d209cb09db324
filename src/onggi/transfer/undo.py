"""What a verb that fails half way takes back: the images and layers it made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onggi.errors import OnggiError
from onggi.layers.store import LayerStore
from onggi.oci.digest import ChainID, ImageID
from onggi.store.imagedb import ImageDB
from onggi.store.locks import LockDirectory
from onggi.store.tags import TagStore

__all__ = ["take_back"]


def take_back(
    layers: LayerStore,
    images: ImageDB,
    tags: TagStore,
    locks: LockDirectory,
    image_ids: Iterable[ImageID],
    chains: Sequence[ChainID],
) -> list[ImageID]:
    """Remove images and then layers (given base first), unless somebody else has come to use them.

    Called without leases on any of them. Returns the images that went.
    """
    gone = []
    for image_id in image_ids:
        lease = locks.try_acquire(f"image-{image_id.hex}", exclusive=True)
        if lease is None:
            continue
        if not _has_names(tags, image_id):
            images.remove(image_id)
            gone.append(image_id)
        lease.release(remove=image_id not in images)
    for chain in reversed(chains):
        layers.release([chain])
    return gone


def _has_names(tags: TagStore, image_id: ImageID) -> bool:
    """Names that cannot be read may be its own."""
    try:
        return bool(tags.snapshot().of(image_id))
    except OnggiError:
        return True
