"""An image of one new layer, as ``import`` and ``commit`` make it: layer, config, name, or nothing of it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.layers.store import LayerStore
from onggi.oci.digest import ChainID, DiffID, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.reference import Reference
from onggi.oci.timestamps import format_ns
from onggi.record import record
from onggi.store.imagedb import ImageDB
from onggi.store.locks import LockDirectory
from onggi.store.tags import TagStore
from onggi.transfer.new_layer import LayerMaker
from onggi.transfer.undo import take_back

__all__ = ["ImageMaker"]


@record
class ImageMaker:
    """The stores that an image goes into; ``spool`` is where streams are written."""

    layers: LayerStore
    images: ImageDB
    tags: TagStore
    locks: LockDirectory
    workers: Workers
    spool: Path

    def make(
        self,
        verb: str,
        source: io.FileIO | Iterable[bytes],
        configure: Callable[[DiffID], ImageConfig],
        reference: Reference | None,
        cancel: CancelToken,
        *,
        parent: ImageConfig | None = None,
        skip_empty: bool = False,
        built: bool = False,
    ) -> ImageID:
        """Make the image of the archive ``source`` upon ``parent``; failing, leave the store as it was.

        ``configure`` is given the layer's diffID; for ``skip_empty`` see :meth:`LayerMaker.bring`.
        ``verb`` stands in the tag's history. ``built``: with Docker's mark of images made here.
        Raises ImageNotFound, TooDeep, UnpackFailed, CorruptStream, DiskFull and the errors of ``source``.
        """
        made: list[ChainID] = []
        fresh: list[ImageID] = []
        try:
            with ExitStack() as held:
                self._keep_parent(parent, held, cancel)
                maker = LayerMaker(self.layers, self.workers, self.spool)
                below = parent.chain_ids if parent else ()
                config = configure(maker.bring(source, below, cancel, held, made, skip_empty=skip_empty))
                lock = f"image-{config.id.hex}"
                held.enter_context(self.locks.acquire(lock, exclusive=False, cancel=cancel))
                fresh += [config.id] if config.id not in self.images else []
                self._add(config, parent, built=built)
                self._name(verb, config.id, reference)
        except BaseException:
            take_back(self.layers, self.images, self.tags, self.locks, fresh, made)
            raise
        return config.id

    def _keep_parent(self, parent: ImageConfig | None, held: ExitStack, cancel: CancelToken) -> None:
        if parent is None:
            return
        lock = f"image-{parent.id.hex}"
        held.enter_context(self.locks.acquire(lock, exclusive=False, cancel=cancel))
        self.images.get(parent.id)
        if parent.chain_ids:
            held.enter_context(self.layers.lease(parent.chain_ids[-1], cancel=cancel))

    def _add(self, config: ImageConfig, parent: ImageConfig | None, *, built: bool) -> None:
        self.images.add(config)
        if parent is not None:
            self.images.set_parent(config.id, parent.id)
        if built:
            self.images.mark_built(config.id)

    def _name(self, verb: str, image_id: ImageID, reference: Reference | None) -> None:
        if reference is not None:
            with self.tags.transaction(verb) as names:
                names.set(reference.tagged(), image_id)
            self.images.set_last_updated(image_id, format_ns(time.time_ns()))
