"""``system prune``: what nobody uses, and images by the time of their last use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from onggi.engine.containers import known_containers
from onggi.engine.core import Core
from onggi.engine.filters import Filters, compile_filters
from onggi.engine.gc import GcReport, collect
from onggi.engine.image import Image
from onggi.engine.images import Images
from onggi.engine.marks import mounted_images
from onggi.engine.networks.networks import Networks
from onggi.engine.removal import PruneReport, Removal, Removed
from onggi.engine.volumes import PrunedVolumes, Volumes
from onggi.errors import InvalidArgument
from onggi.oci.digest import ChainID
from onggi.record import record
from onggi.tree.size import disk_usage

__all__ = ["SystemPruneReport", "system_prune"]

_FILTERS = ("label", "label!", "until")


@record
class SystemPruneReport:
    """What went. ``size_bytes`` is the data root afterwards, in blocks on disk.

    ``space_reclaimed_bytes``: Docker's Σ size of deleted layers, the blocks of leftovers, the
    files of ``volumes`` (names).
    """

    removed: list[Removed]
    leftovers: GcReport
    space_reclaimed_bytes: int
    size_bytes: int
    networks: list[str]
    volumes: Sequence[str]


def system_prune(
    core: Core,
    images: Images,
    networks: Networks,
    *,
    keep_bytes: int | None,
    until_s: float | None,
    all: bool,
    volumes: bool,
    filters: Filters,
) -> SystemPruneReport:
    """Leftovers, networks and volumes first, then images: dangling (or ``all`` unused) ones, or by last use.

    By last use only images go: networks have none, nor have volumes. Raises InvalidArgument for
    ``until`` beside ``volumes``, as Docker does.
    """
    if volumes and "until" in filters:
        raise InvalidArgument('The "until" filter is not supported with "--volumes"')
    leftovers = collect(core, explain=False, dry_run=False)
    unused: list[str] = []
    taken = PrunedVolumes((), 0)
    if keep_bytes is None and until_s is None:
        unused = networks.prune(filters)
        taken = Volumes(core).prune(filters) if volumes else taken
        pruned = images.prune(all=all, filters=filters)
    else:
        pruned = _Expiry(core, images, filters).run(keep_bytes, until_s)
    return SystemPruneReport(
        pruned.removed,
        leftovers,
        pruned.space_reclaimed_bytes + leftovers.reclaimed_bytes + taken.space_bytes,
        root_usage(core),
        unused,
        taken.names,
    )


def root_usage(core: Core) -> int:
    """Bytes of blocks of the data root, without the images mounted in it."""
    own, mounts = core.layout.own, core.layout.mounts
    parts = [path for path in core.layout.root.iterdir() if path != own] if core.layout.root.exists() else []
    parts += [path for path in own.iterdir() if path != mounts] if own.exists() else []
    return sum(disk_usage(path) for path in parts)


class _Expiry:
    """Removes least recently used images that nobody holds, oldest first."""

    def __init__(self, core: Core, images: Images, filters: Filters) -> None:
        self._core = core
        self._images = images
        self._matches = compile_filters(filters, _FILTERS, images.get, lambda image: False)
        self._removal = Removal(core, "prune")

    def run(self, keep_bytes: int | None, until_s: float | None) -> PruneReport:
        with self._core.writing():
            if until_s is not None:
                limit = time.time() - until_s
                self._expire(lambda image: image.last_used < limit)
            if keep_bytes is not None:
                self._shrink(keep_bytes)
            return self._removal.report()

    def _expire(self, wanted: Callable[[Image], bool]) -> None:
        for image in self._candidates():
            if wanted(image):
                self._removal.expire(image, image.last_used)

    def _shrink(self, keep_bytes: int) -> None:
        """Until the data root takes ``keep_bytes`` of blocks, or nothing more may go."""
        size_bytes = root_usage(self._core)
        blocks = self._layer_blocks() if size_bytes > keep_bytes else {}
        for image in self._candidates():
            if size_bytes <= keep_bytes:
                return
            seen = len(self._removal.report().removed)
            self._removal.expire(image, image.last_used)
            for removed in self._removal.report().removed[seen:]:
                size_bytes -= blocks.get(removed.deleted or "", 0)

    def _layer_blocks(self) -> dict[str, int]:
        from onggi.engine.sweep_layers import layer_bytes

        return {chain: layer_bytes(self._core, ChainID(chain)) for chain in self._core.layers.db.chains()}

    def _candidates(self) -> Iterator[Image]:
        """Oldest use first; children before the images they were built on."""
        held = {container.image_id for container in known_containers(self._core.layout)}
        held |= mounted_images(self._core) | set(self._core.pins.ids())
        found = [image for image in self._images.list(all=True) if image.id not in held]
        waiting = sorted(filter(self._matches, found), key=lambda image: image.last_used)
        progress = True
        while progress:
            progress, later = False, []
            for image in waiting:
                if self._core.images.children(image.id):
                    later.append(image)
                elif image.id in self._core.images:
                    progress = True
                    yield image
            waiting = later
