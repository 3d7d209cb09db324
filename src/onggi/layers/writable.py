"""The writable layers of containers: made, mounted, removed; ``layerdb/mounts/<container>``.

Order of making: both directories in place, then the files that name them (one rename). A crash
before leaves staging directories that tell what to undo, as with layers. Removing goes the
other way; whoever removes has noted that the container is to go, and begins anew after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.drivers.staged import StagedDirectory
from onggi.errors import DataLoss
from onggi.layers.store import LayerStore
from onggi.oci.digest import CacheID, ChainID, LinkID
from onggi.record import record
from onggi.store.atomic import (
    make_directory,
    read_optional,
    remove_tree,
    stage_file,
    sync_directory,
    write_file,
)
from onggi.store.layerdb import CorruptLayer, is_cache_id
from onggi.store.layout import Layout

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

__all__ = ["NoWritableLayer", "WritableDriver", "WritableLayer", "WritableLayers"]


class WritableDriver(Protocol):
    """What is asked of a storage driver for containers (drivers/writable.py)."""

    def stage(self, directory: Path, cache_id: CacheID, link: LinkID) -> StagedDirectory:
        """Lay out an empty writable layer in ``directory``, which must not exist."""

    def mount(self, cache_id: CacheID, *, volatile: bool = False) -> int:
        """A detached mount of the layer on its stack; the caller closes it.

        ``volatile``: what is written need not outlive the host, so nothing is flushed for it.
        """


class NoWritableLayer(DataLoss):
    """The files that name a container's directories are gone."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"read {path}: the container's layer is not recorded",
            hint="'onggi rm' removes the container; 'onggi gc --explain' may list what it wrote",
        )


@record
class WritableLayer:
    """A container's directories; ``parent`` is the chain of its image, None for one without layers."""

    mount_id: CacheID
    init_id: CacheID
    parent: ChainID | None

    def files(self) -> dict[str, bytes]:
        """As ``layerdb/mounts/<container>`` has them."""
        files: dict[str, str] = {"mount-id": self.mount_id, "init-id": self.init_id}
        if self.parent is not None:
            files["parent"] = self.parent
        return {name: text.encode("ascii") for name, text in files.items()}


class WritableLayers:
    """Those of one data root."""

    def __init__(self, layout: Layout, layers: LayerStore, driver: WritableDriver) -> None:
        self._mounts = layout.layerdb / "mounts"
        self._staging = layout.staging
        self._layers = layers
        self._driver = driver

    def path(self, container: str) -> Path:
        """The directory of the files that name its layer."""
        return self._mounts / container

    def get(self, container: str) -> WritableLayer:
        """Raises NoWritableLayer."""
        path = self.path(container)
        mount_id, init_id, parent = (
            (read_optional(path / name) or b"").decode("ascii", "replace").strip()
            for name in ("mount-id", "init-id", "parent")
        )
        if not is_cache_id(mount_id):
            raise NoWritableLayer(path)
        chain = ChainID.parse(parent) if parent else None
        return WritableLayer(CacheID(mount_id), CacheID(init_id or f"{mount_id}-init"), chain)

    # --- making -----------------------------------------------------------------------------

    def create(
        self, container: str, parent: ChainID | None, fill: Callable[[int], None], *, durable: bool
    ) -> WritableLayer:
        """Make a container's layers on a chain, which the caller keeps leased.

        The caller also holds the lock ``container-making``, shared, until the container's own files
        are in place: layers of no container are removed by who gets that lock alone.

        ``fill`` gets the init layer, mounted, as a descriptor of a directory. Raises DataLoss for
        a damaged image.
        """
        mount_id = CacheID.random()
        layer = WritableLayer(mount_id, CacheID(f"{mount_id}-init"), parent)
        below = None if parent is None else self._cache_id(parent)
        with (
            self._staged(layer.init_id, below, durable=durable),
            self._staged(mount_id, layer.init_id, durable=durable) as base,
        ):
            self._fill(layer.init_id, fill, volatile=not durable)
            self._commit(container, layer, base, durable)
        return layer

    def _cache_id(self, chain: ChainID) -> CacheID:
        record = self._layers.get(chain)
        if record is None:
            raise CorruptLayer(self._layers.db.path(chain), "it does not exist")
        return record.cache_id

    @contextmanager
    def _staged(self, cache_id: CacheID, below: CacheID | None, *, durable: bool) -> Iterator[Path]:
        """An installed directory that is undone by ``recover`` unless something names it by the end."""
        locks = self._layers.locks
        with locks.acquire(f"staging-{cache_id}", exclusive=True) as lease:
            base = self._staging / cache_id
            make_directory(base, 0o700)
            make_directory(base / "layerdb", 0o700)
            try:
                staged = self._driver.stage(base / "layer", cache_id, LinkID.random())
                self._layers.driver.install(staged, below, durable=durable)
                yield base
            except BaseException:
                self._layers.driver.remove(cache_id)
                raise
            finally:
                os.rmdir(base / "layerdb")
                remove_tree(base)
                lease.release(remove=True)

    def _fill(self, init_id: CacheID, fill: Callable[[int], None], *, volatile: bool) -> None:
        root = self._driver.mount(init_id, volatile=volatile)
        try:
            fill(root)
        finally:
            os.close(root)

    def _commit(self, container: str, layer: WritableLayer, base: Path, durable: bool) -> None:
        make_directory(self._mounts, 0o755)
        entry = base / "entry"
        make_directory(entry, 0o755)
        for name, data in layer.files().items():
            if durable:
                write_file(entry / name, data, 0o644, durable_name=False)
            else:
                stage_file(entry / name, data, 0o644)
        os.rename(entry, self.path(container))
        if durable:
            sync_directory(self._mounts)

    # --- using ------------------------------------------------------------------------------

    def mount(self, layer: WritableLayer, *, volatile: bool = False) -> int:
        """The container's root, detached; the caller closes it. ``volatile`` as for the driver."""
        return self._driver.mount(layer.mount_id, volatile=volatile)

    def rootfs(self, layer: WritableLayer) -> Path:
        """Where the root is attached while the container runs."""
        return self._layers.driver.path(layer.mount_id) / "merged"

    def upper(self, layer: WritableLayer) -> Path:
        """The directory with what the container changed."""
        return self._layers.driver.diff_path(layer.mount_id)

    # --- removing ---------------------------------------------------------------------------

    def _beside(self, container: str) -> list[str]:
        """Names of what belongs to a container: ``<container>-…``."""
        try:
            return [name for name in os.listdir(self._mounts) if name.startswith(f"{container}-")]
        except FileNotFoundError:
            return []

    def remove(self, container: str) -> None:
        """Delete a container's layers, and those by which it mounts images; what is gone is no error."""
        for name in self._beside(container):
            self.remove(name)
        try:
            layer = self.get(container)
        except NoWritableLayer:
            remove_tree(self.path(container))
            return
        # The directories last: while the entry names them, gc leaves them to who removes.
        self._layers.driver.remove(layer.mount_id)
        self._layers.driver.remove(layer.init_id)
        remove_tree(self.path(container))
