"""One layer of the store, by any of its names: what it holds, what it changes.

A layer is called by its chainID, diffID, cache-id, link, the digest of a blob it came as, a
prefix (two digits or more) of any of them, or by its place in an image: ``nginx#1`` is the base.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from onggi.engine.core import Core
from onggi.engine.names import ImageNotFound, find_image
from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.record import record
from onggi.store.layerdb import TAR_SPLIT, CorruptLayer, LayerRecord
from onggi.store.locks import lease_order

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.archive.tar import Member
    from onggi.layers.contents import LayerArchive
    from onggi.oci.digest import ChainID
    from onggi.tree.differences import Change
    from onggi.tree.layer_tree import KeptDirectories, LayerTree

__all__ = ["AmbiguousLayer", "LayerNotFound", "StoredLayer", "find_layer", "opened_layers", "stack_below"]

_HEX_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{2,64}")
_LINK = re.compile(r"[A-Z2-7]{26}")


class LayerNotFound(NotFound):
    """No layer is called so."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(
            f"No such layer: {text}",
            hint=hint or "'onggi layers IMAGE' shows every id; IMAGE#1 is the base layer of an image",
        )


class AmbiguousLayer(InvalidArgument):
    """Several layers, of different content or place, are called so."""

    def __init__(self, text: str, found: Sequence[LayerRecord]) -> None:
        chains = ", ".join(record.chain_id[:19] for record in found[:6])
        super().__init__(
            f"layer {text}: {len(found)} layers are called so: chainIDs {chains}",
            hint="name it by its chainID, or as IMAGE#N",
        )


@record
class StoredLayer:
    """A layer as ``find_layer`` found it; ``name`` is what errors call it."""

    core: Core
    record: LayerRecord
    name: str

    def files(self, path: str | bytes = b"") -> Iterator[Member]:
        """The members of its archive, in the archive's order: those at ``path`` and below it.

        Whiteouts are files called ``.wh.…`` as they stand in the archive. Reads headers, not
        contents; memory does not grow with the layer.

        Raises (while iterating): LayerNotFound (removed meanwhile), DataLoss.
        """
        with self._kept():
            yield from self._archive.members(os.fsencode(path))

    def read(self, path: str | bytes) -> Iterator[bytes]:
        """The content of one of its files, in pieces, checked against the checksum kept of it at the end.

        Raises LayerNotFound (removed meanwhile), NoSuchMember, NotAFile; while iterating DataLoss.
        """
        with self._kept():
            return self._kept_while(self._archive.read(os.fsencode(path)))

    def _kept_while(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with self._kept():
            yield from pieces

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep the layer from removal, where that may be written down. Raises LayerNotFound."""
        with ExitStack() as leases:
            _lease(self.core, self.record.chain_id, leases)
            if self.core.layers.get(self.record.chain_id) != self.record:
                raise LayerNotFound(self.name, "it was removed meanwhile")
            yield

    def diff(self, other: StoredLayer | None = None) -> Iterator[Change]:
        """What it changes in the layers below it; with ``other``: what leads from here to there.

        With ``other`` the two file systems are compared, each layer with all that is below it.
        The kinds are those of ``docker diff``, sorted by path, a directory before what it holds.
        Raises OSError (while iterating) when files go away.
        """
        from onggi.tree.differences import differences
        from onggi.tree.merged import Merged

        before = stack_below(self.core, self.record)
        if other is None:
            before = before[1:]
        after = stack_below(self.core, (other or self).record)
        with opened_layers(self.core, before, after) as trees:
            old, new = (Merged([trees[chain] for chain in stack]) for stack in (before, after))
            yield from differences(old if before else None, new)

    @property
    def _archive(self) -> LayerArchive:
        from onggi.layers.contents import LayerArchive

        tar_split = self.core.layers.db.path(self.record.chain_id) / TAR_SPLIT
        return LayerArchive(self.core.driver, self.record.cache_id, tar_split, self.name)


def stack_below(core: Core, record: LayerRecord) -> list[ChainID]:
    """The layer and all below it, uppermost first. Raises CorruptLayer, LayerNotFound (removed meanwhile)."""
    stack = [record.chain_id]
    parent = record.parent
    while parent is not None:
        found = core.layers.get(parent)
        if found is None:
            raise _missing(core, record.chain_id, f"its parent {parent} does not exist")
        stack.append(parent)
        parent = found.parent
    return stack


@contextmanager
def opened_layers(core: Core, *stacks: Sequence[ChainID]) -> Iterator[dict[ChainID, LayerTree]]:
    """The layers as trees by chainID, each opened once; leased where the root may be written.

    Each stack is that of a layer or image, uppermost first, or its upper part. A root that is
    read-only, or a Docker daemon's, can be looked at too: then nobody keeps the layers from being
    removed meanwhile, and reading ends with an error. Raises CorruptLayer, LayerNotFound (removed
    meanwhile).
    """
    from onggi.tree.layer_tree import OpenLayers

    with ExitStack() as held:
        layers = held.enter_context(OpenLayers())
        trees: dict[ChainID, LayerTree] = {}
        for chain in lease_order(stack[::-1] for stack in stacks):
            _lease(core, chain, held)
            trees[chain] = layers.add(_open_tree(core, chain, layers.kept))
        yield trees


def _lease(core: Core, chain: ChainID, leases: ExitStack) -> None:
    try:
        leases.enter_context(core.layers.lease(chain))
    except OSError:
        return  # a root that can only be read


def _open_tree(core: Core, chain: ChainID, kept: KeptDirectories) -> LayerTree:
    found = core.layers.get(chain)
    if found is None:
        raise _missing(core, chain, "it does not exist")
    try:
        return core.driver.tree(found.cache_id, kept)
    except FileNotFoundError as error:
        raise _missing(core, chain, f"{os.fsdecode(error.filename)} is gone") from None


def _missing(core: Core, chain: ChainID, reason: str) -> OnggiError:
    """What a layer is that was there a moment ago: removed, or damaged."""
    if chain in core.layers.db:
        return CorruptLayer(core.layers.db.path(chain), reason)
    return LayerNotFound(chain, "it was removed meanwhile")


# --- by name ----------------------------------------------------------------------------------


def find_layer(core: Core, text: str, number: int | None = None, *, whole_stack: bool = False) -> StoredLayer:
    """The layer that ``text`` names; with ``number`` the layer of the image ``text`` (1: the base).

    ``whole_stack``: what lies below it matters, so a diffID that has several places is ambiguous.
    Raises LayerNotFound, AmbiguousLayer, ImageNotFound, CorruptLayer.
    """
    name, mark, place = text.rpartition("#")
    if number is not None:
        return _of_image(core, text, number)
    if mark:
        if not (place.isascii() and place.isdigit()):
            raise LayerNotFound(text, "after # stands the number of a layer: 1 is the base")
        return _of_image(core, name, int(place))
    found = _by_id(core, text)
    if not found:
        return _only_layer(core, text)
    if len({item.diff_id for item in found}) > 1 or (whole_stack and len(found) > 1):
        raise AmbiguousLayer(text, found)
    return StoredLayer(core, found[0], text)


def _of_image(core: Core, name: str, number: int) -> StoredLayer:
    config = core.images.get(find_image(core, name))
    count = len(config.chain_ids)
    if not 1 <= number <= count:
        raise LayerNotFound(f"{name}#{number}", f"{name} has {count} layers, 1 is the base")
    chain = config.chain_ids[number - 1]
    found = core.layers.get(chain)
    if found is None:
        raise CorruptLayer(core.layers.db.path(chain), "it does not exist")
    return StoredLayer(core, found, f"{name}#{number}")


def _by_id(core: Core, text: str) -> list[LayerRecord]:
    records = list(core.layers.db.records())
    if _LINK.fullmatch(text):
        target = _link_target(core, text)
        return [item for item in records if item.cache_id == target]
    if not _HEX_PREFIX.fullmatch(text):
        return []
    prefix = text.removeprefix("sha256:")
    return [item for item in records if any(id.startswith(prefix) for id in _ids(core, item))]


def _ids(core: Core, item: LayerRecord) -> Iterator[str]:
    yield item.chain_id.hex
    yield item.diff_id.hex
    yield item.cache_id
    for source in core.distribution.sources(item.diff_id):
        yield source.digest.hex


def _link_target(core: Core, link: str) -> str:
    try:
        return os.readlink(core.layout.driver_home / "l" / link).split("/")[1]
    except (OSError, IndexError):
        return ""


def _only_layer(core: Core, text: str) -> StoredLayer:
    """An image of one layer may stand for that layer."""
    try:
        count = len(core.images.get(find_image(core, text)).chain_ids)
    except ImageNotFound:
        raise LayerNotFound(text) from None
    except OnggiError as error:
        if isinstance(error, InvalidArgument):
            raise LayerNotFound(text) from None
        raise
    if count != 1:
        raise LayerNotFound(text, f"{text} is an image of {count} layers: say {text}#1 … {text}#{count}")
    return _of_image(core, text, 1)
