"""Layers as the rest of the engine sees them: look up, make, use, remove.

Every mutation is one transaction: stage, flush, rename. Reference counts are not kept but
counted, from images, child layers and containers, at the moment somebody wants to remove
a layer, under that layer's exclusive lease; so they cannot be wrong after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument
from onggi.oci.digest import CacheID, ChainID, LinkID
from onggi.record import record
from onggi.store.atomic import make_directory, read_optional, remove_tree
from onggi.store.imagedb import ImageDB
from onggi.store.layerdb import CorruptLayer, LayerDB, LayerRecord, is_cache_id
from onggi.store.layout import Layout
from onggi.store.locks import Lease, LockDirectory

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.layers.driver import StorageDriver
    from onggi.layers.staging import StagedLayer, Unpacked

__all__ = ["LayerStore", "ReadyLayer", "TooDeep"]


class TooDeep(InvalidArgument):
    """More layers in one chain than Docker registers."""

    def __init__(self, limit: int) -> None:
        super().__init__("max depth exceeded", hint=f"an image can have at most {limit} layers; squash some")


@record
class ReadyLayer:
    """An unpacked layer that waits for its commit."""

    staged: StagedLayer
    chain_id: ChainID
    parent: ChainID | None
    unpacked: Unpacked


class LayerStore:
    """The layers of one data root, through one storage driver."""

    def __init__(self, layout: Layout, driver: StorageDriver, images: ImageDB, *, compat: str) -> None:
        self.driver = driver
        self.db = LayerDB(layout.layerdb)
        self.locks = LockDirectory(layout.locks)
        self._layout = layout
        self._images = images
        self._compat = compat

    # --- looking --------------------------------------------------------------------------

    def get(self, chain: ChainID) -> LayerRecord | None:
        """The record of a layer, or None. Raises CorruptLayer."""
        return self.db.get(chain)

    def usable(self, chain: ChainID) -> LayerRecord | None:
        """The record of a layer whose metadata and driver directory are sound, else None."""
        try:
            record = self.db.get(chain)
            if record is None or self.driver.damage(record.cache_id, self._parent_cache_id(record)):
                return None
        except CorruptLayer:
            return None
        return record

    def damage(self, record: LayerRecord) -> str:
        """What makes a layer unusable, or an empty string."""
        return self.driver.damage(record.cache_id, self._parent_cache_id(record))

    def _parent_cache_id(self, record: LayerRecord) -> CacheID | None:
        if record.parent is None:
            return None
        parent = self.db.get(record.parent)
        if parent is None:
            raise CorruptLayer(self.db.path(record.chain_id), f"its parent {record.parent} does not exist")
        return parent.cache_id

    def lease(self, chain: ChainID, *, exclusive: bool = False, cancel: CancelToken | None = None) -> Lease:
        """Keep a chain from being removed (shared), or be the one who makes or removes it."""
        return self.locks.acquire(_lock_name(chain), exclusive=exclusive, cancel=cancel)

    def try_lease(self, chain: ChainID) -> Lease | None:
        """A shared lease, or None while somebody makes or removes the chain."""
        return self.locks.try_acquire(_lock_name(chain), exclusive=False)

    def lease_or_make(self, chain: ChainID, cancel: CancelToken | None = None) -> Lease:
        """Shared on a layer that is here and usable; exclusive for the one who is to make it."""
        lease = self.lease(chain, cancel=cancel)
        if self.usable(chain) is None:
            lease.release()
            lease = self.lease(chain, exclusive=True, cancel=cancel)
            if self.usable(chain) is not None:
                lease.share()
        return lease

    # --- making ---------------------------------------------------------------------------

    def stage(self, chain: ChainID, depth: int) -> StagedLayer:
        """Make room for a layer; ``depth`` counts from 1 at the base. Raises TooDeep.

        A damaged layer of this chain is remade under its old cache-id and short name, so
        that the layers on top of it stay sound.
        """
        from onggi.layers.staging import StagedLayer

        self._check_depth(depth)
        children = [record.cache_id for record in self.db.records() if record.parent == chain]
        cache_id, link = self._names_for(chain, children)
        lease = self.locks.acquire(f"staging-{cache_id}", exclusive=True)
        base = self._layout.staging / cache_id
        try:
            remove_tree(base)
            make_directory(base, 0o700)
            make_directory(base / "layerdb", 0o700)
            staged = self.driver.stage(base / "layer", cache_id, link, committed=bool(children))
        except BaseException:
            remove_tree(base)
            lease.release(remove=True)
            raise
        return StagedLayer(
            self.driver, base, staged, lease, self.locks, trailing_empty_segment=self._compat == "20.10"
        )

    def is_new(self, chain: ChainID, depth: int) -> bool:
        """True when a layer staged under any other chain can be committed as this one. Raises TooDeep.

        Not when this one is to be remade: it has its names already.
        """
        self._check_depth(depth)
        return chain not in self.db and all(record.parent != chain for record in self.db.records())

    def _check_depth(self, depth: int) -> None:
        if depth > self.driver.max_depth:
            raise TooDeep(self.driver.max_depth)

    def _names_for(self, chain: ChainID, children: list[CacheID]) -> tuple[CacheID, LinkID]:
        old = (read_optional(self.db.path(chain) / "cache-id") or b"").decode("ascii", "replace").strip()
        cache_id = CacheID(old) if is_cache_id(old) else self._below(children) or CacheID.random()
        return cache_id, self.driver.expected_link(cache_id, children)

    def _below(self, children: list[CacheID]) -> CacheID | None:
        """The directory that the layers on top of a lost one stand on, unless it is another's."""
        for child in children:
            below = self.driver.below(child)
            if below is not None and is_cache_id(below) and not self._is_referenced(below):
                return below
        return None

    def commit(self, layers: Sequence[ReadyLayer]) -> list[LayerRecord]:
        """Make unpacked layers exist, base first: one flush for all of them, then the renames.

        Failing, what was installed and not committed is gone from the driver; the caller discards the rest.
        """
        self.db.prepare()
        try:
            records = self._install(layers)
            for layer in layers:
                self.db.commit(layer.staged.write_set, layer.chain_id)
        except BaseException:
            for layer in layers:
                self._undo_staging(layer.staged.base, layer.staged.cache_id)
            raise
        self.db.sync()
        for layer in layers:
            layer.staged.finish()
        return records

    def _install(self, layers: Sequence[ReadyLayer]) -> list[LayerRecord]:
        """Everything but the rename that makes them exist; durable."""
        staged = [layer.staged.staged for layer in layers]
        # Names must not become durable before the data under them.
        self.driver.flush(staged)
        records = []
        fresh: dict[ChainID, CacheID] = {}
        for layer in layers:
            record = layer.staged.record(layer.chain_id, layer.parent, layer.unpacked)
            self.db.write_set(layer.staged.write_set, record)
            parent = None
            if layer.parent is not None:
                parent = fresh.get(layer.parent) or self._require(layer.parent).cache_id
            self.driver.install(layer.staged.staged, parent)
            fresh[layer.chain_id] = record.cache_id
            records.append(record)
        self.driver.sync(staged, [layer.staged.write_set for layer in layers])
        return records

    def _require(self, chain: ChainID) -> LayerRecord:
        record = self.db.get(chain)
        if record is None:
            raise CorruptLayer(self.db.path(chain), "it does not exist")
        return record

    # --- removing -------------------------------------------------------------------------

    def release(self, chains: Iterable[ChainID]) -> list[ChainID]:
        """Remove, top first, the layers of one image that nobody uses any more.

        Stops at the first layer that is used, or leased by a pull in flight (whoever holds
        it commits an image that uses it, or leaves it to ``recover``).
        """
        removed = []
        for chain in reversed(list(chains)):
            lease = self.locks.try_acquire(_lock_name(chain), exclusive=True)
            if lease is None:
                break
            if chain not in self.db:
                # Gone already: an interrupted removal is being finished.
                lease.release(remove=True)
                continue
            if self.is_used(chain):
                lease.release()
                break
            self._remove(chain)
            lease.release(remove=True)
            removed.append(chain)
        return removed

    def is_used(self, chain: ChainID) -> bool:
        """True when an image, a child layer or a container stands on the layer."""
        if any(chain in config.chain_ids for _, config in self._images.images()):
            return True
        if chain in self.db.containers().values():
            return True
        return any(record.parent == chain for record in self.db.records())

    def _remove(self, chain: ChainID) -> None:
        self._finish_removal(self.db.begin_removal(chain))

    def _finish_removal(self, removing: Path) -> None:
        cache_id = (read_optional(removing / "cache-id") or b"").decode("ascii", "replace").strip()
        if is_cache_id(cache_id):
            self.driver.remove(CacheID(cache_id))
        remove_tree(removing)

    # --- after a crash --------------------------------------------------------------------

    def recover(self) -> int:
        """Undo what killed processes left half done; returns how many things were cleared."""
        return self._recover_staging() + self._recover_removals()

    def _recover_staging(self) -> int:
        cleared = 0
        for name in _listdir(self._layout.staging):
            lease = self.locks.try_acquire(f"staging-{name}", exclusive=True)
            if lease is None:
                continue
            self._undo_staging(self._layout.staging / name, CacheID(name))
            lease.release(remove=True)
            cleared += 1
        return cleared

    def _undo_staging(self, base: Path, cache_id: CacheID) -> None:
        uncommitted = (base / "layerdb").exists() and not (base / "layer").exists()
        if uncommitted and not self._is_referenced(cache_id):
            self.driver.remove(cache_id)
        remove_tree(base)

    def _is_referenced(self, cache_id: CacheID) -> bool:
        if cache_id in self.db.container_cache_ids():
            return True
        # An entry that cannot be read names its directory all the same: a layer being remade.
        names = (read_optional(self.db.path(chain) / "cache-id") for chain in self.db.chains())
        return any(name is not None and name.strip() == cache_id.encode() for name in names)

    def _recover_removals(self) -> int:
        cleared = 0
        for removing in self.db.removals():
            chain = ChainID(f"sha256:{removing.name[:64]}")
            lease = self.locks.try_acquire(_lock_name(chain), exclusive=True)
            if lease is None:
                continue
            cache_id = (read_optional(removing / "cache-id") or b"").decode("ascii", "replace").strip()
            if cache_id and self._is_referenced(CacheID(cache_id)):
                remove_tree(removing)
            else:
                self._finish_removal(removing)
            lease.release(remove=chain not in self.db)
            cleared += 1
        return cleared


def _lock_name(chain: ChainID) -> str:
    return f"chain-{chain.hex}"


def _listdir(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
