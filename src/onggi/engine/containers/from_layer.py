"""``run --layer``: a container that stands on a lower layer of its image than the uppermost.

Its config is the image's, its files are those of the layers up to there. Which layer that is says
``layerdb/mounts/<container>/parent``, as for every container.
"""

from __future__ import annotations

from onggi.engine.core import Core
from onggi.errors import Conflict, InvalidArgument
from onggi.oci.digest import ChainID
from onggi.oci.image_config import ImageConfig
from onggi.store.containers import StoredContainer

__all__ = ["NoSuchLayer", "StandsOnALowerLayer", "chosen_chain", "refuse_lower_layer"]

_PREFIX = "sha256:"


class NoSuchLayer(InvalidArgument):
    """The image has no layer of this number or id, or more than one."""

    def __init__(self, layer: str, image: str, count: int) -> None:
        super().__init__(
            f"layer {layer} of {image}: there is no such layer, or more than one begins so",
            hint=f"1 is the base, {count} the uppermost; 'onggi layers {image}' shows their ids",
        )


class StandsOnALowerLayer(Conflict):
    """An image of it would have to be one of fewer layers than the image that it names."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"commit {name}: it was started from an intermediate layer of its image (--layer)",
            hint="'onggi export' and 'onggi import' make an image of its files",
        )


def chosen_chain(image: ImageConfig, layer: str, name: str) -> tuple[ChainID | None, list[str]]:
    """The chain to stand on, and warnings.

    ``layer`` is a number (1: the base), or the beginning of a diffID or chainID; empty: all layers.
    Raises NoSuchLayer.
    """
    chains = image.chain_ids
    if not layer:
        return (chains[-1] if chains else None), []
    index = _index(image, layer)
    if index is None:
        raise NoSuchLayer(layer, name, len(chains))
    if index == len(chains) - 1:
        return chains[index], []
    missing = len(chains) - 1 - index
    return chains[index], [
        f"Starting from layer {index + 1} of {len(chains)} of {name} is not recommended: "
        f"what its {missing} upper layer{'s' * (missing > 1)} add or change is missing."
    ]


def _index(image: ImageConfig, layer: str) -> int | None:
    count = len(image.chain_ids)
    if layer.isascii() and layer.isdigit() and len(layer) < len("0123"):
        return int(layer) - 1 if 1 <= int(layer) <= count else None
    wanted = layer.removeprefix(_PREFIX)
    found = [
        index
        for index, ids in enumerate(zip(image.diff_ids, image.chain_ids, strict=True))
        if wanted and any(id.hex.startswith(wanted) for id in ids)
    ]
    return found[0] if len(found) == 1 else None


def refuse_lower_layer(core: Core, stored: StoredContainer, image: ImageConfig | None) -> None:
    """Raises StandsOnALowerLayer, NoWritableLayer."""
    chain = image.chain_ids[-1] if image is not None and image.chain_ids else None
    if core.writable.get(stored.id).parent != chain:
        raise StandsOnALowerLayer(stored.name)
