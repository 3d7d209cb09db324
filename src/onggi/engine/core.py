"""What every verb stands on: one data root, opened.

Opening reads nothing but the driver a root was filled with, and makes nothing. A verb that
changes something does it inside :meth:`Core.writing`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time_ns

from onggi.config import Config
from onggi.drivers.choice import choose, open_driver
from onggi.engine.containers import known_containers, unwritten_containers
from onggi.errors import Conflict, OnggiError
from onggi.layers.store import LayerStore
from onggi.oci.digest import ImageID
from onggi.record import record
from onggi.store.atomic import translate_os_error
from onggi.store.dataroot import DriverMismatch, claim, create_engine_id, populated_drivers
from onggi.store.distribution import DistributionDB
from onggi.store.imagedb import ImageDB
from onggi.store.intents import RemovalIntents
from onggi.store.journal import Event, Journal
from onggi.store.layout import Layout, sweep_temporary_files
from onggi.store.locks import LockDirectory, want_lock
from onggi.store.tags import TagStore

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from pathlib import Path

    from onggi.content.blobs import BlobStore
    from onggi.layers.driver import StorageDriver
    from onggi.layers.writable import WritableLayers
    from onggi.oci.digest import CacheID
    from onggi.oci.image_config import ImageConfig
    from onggi.store.containers import ContainerStore
    from onggi.store.last_use import LastUse
    from onggi.store.manifests import ManifestDB
    from onggi.store.pins import Pins
    from onggi.store.trash import Trash
    from onggi.store.volumes import VolumeStore

__all__ = ["Core", "OthersWrite"]


class OthersWrite(Conflict):
    """A verb that must be alone is not."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"write {root}: other commands are changing it",
            hint="try again when they are through",
            retryable=True,
        )


@record
class Core:
    """The rooms below the engine, joined for one data root. ``driver_reason``: why it has that driver."""

    config: Config
    layout: Layout
    driver: StorageDriver
    driver_reason: str
    locks: LockDirectory
    images: ImageDB
    tags: TagStore
    layers: LayerStore
    distribution: DistributionDB
    journal: Journal
    intents: RemovalIntents

    @classmethod
    def open(cls, config: Config) -> Core:
        """Join the rooms. Raises DriverMismatch, InvalidArgument (driver), ReadOnlyRoot."""
        choice = choose(config.data_root, config.storage_driver)
        layout = Layout(config.data_root, choice.name)
        driver = open_driver(layout, config.exec_root, config.storage_opts)
        locks = LockDirectory(layout.locks)
        images = ImageDB(layout.imagedb)
        return cls(
            config=config,
            layout=layout,
            driver=driver,
            driver_reason=choice.reason,
            locks=locks,
            images=images,
            tags=TagStore(layout.repositories, locks, layout.tag_journal),
            layers=LayerStore(layout, driver, images, compat=config.compat),
            distribution=DistributionDB(layout.distribution, locks),
            journal=Journal(layout.events, locks),
            intents=RemovalIntents(layout.own / "removing"),
        )

    @property
    def last_use(self) -> LastUse:
        """When images and layers were used."""
        from onggi.store.last_use import LastUse

        return LastUse(self.layout.last_use)

    @property
    def pins(self) -> Pins:
        """Images that no prune takes."""
        from onggi.store.pins import Pins

        return Pins(self.layout.pins)

    @property
    def containers(self) -> ContainerStore:
        """Containers' files."""
        from onggi.store.containers import ContainerStore

        return ContainerStore(self.layout, self.locks, compat=self.config.compat)

    @property
    def volumes(self) -> VolumeStore:
        """Volumes' directories, labels and options."""
        from onggi.store.volumes import VolumeStore

        return VolumeStore(self.layout, self.locks, self.trash)

    @property
    def writable(self) -> WritableLayers:
        """Containers' layers."""
        from onggi.drivers.writable import open_writable
        from onggi.layers.writable import WritableLayers

        return WritableLayers(self.layout, self.layers, open_writable(self.driver))

    @property
    def trash(self) -> Trash:
        """Where what goes is deleted."""
        from onggi.store.trash import Trash

        return Trash(self.layout.trash)

    @property
    def blobs(self) -> BlobStore:
        """What pulls have received; only pulls and recovery need that room."""
        from onggi.content.blobs import BlobStore

        return BlobStore(
            self.layout.blobs,
            attempts=self.config.max_download_attempts,
            parallel_min_bytes=self.config.parallel_range_min_bytes,
        )

    @property
    def manifests(self) -> ManifestDB:
        """Manifests as they came or went; only transfers and removals need that room."""
        from onggi.store.manifests import ManifestDB

        return ManifestDB(self.layout.manifests)

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[None]:
        """The right to change the store; first clears what killed processes left.

        ``alone``: nobody else has it meanwhile. Raises NeedsRoot, DataRootOwned, ReadOnlyRoot,
        DiskFull, DriverMismatch (converted meanwhile), OthersWrite.
        """
        self.driver.check_host()
        try:
            self.layout.create()
            self.driver.prepare()
            with claim(self.layout.root), self._writer(alone=alone):
                self._check_driver()
                create_engine_id(self.layout.root)
                self.tags.create()
                self.recover()
                try:
                    yield
                finally:
                    self._release_mounts()
        except OSError as error:
            known = translate_os_error(error, str(self.layout.root))
            raise known or error from error

    def _release_mounts(self) -> None:
        """Let the driver go of what nobody has mounted any more; a failure waits for the next command."""

        def used() -> set[CacheID]:
            from onggi.engine.mounted_layers import mounted_layers

            return mounted_layers(self)

        try:
            self.driver.release_mounts(used)
        except (OnggiError, OSError):
            return

    @contextmanager
    def _writer(self, *, alone: bool) -> Iterator[None]:
        """Be one of the writers; the first one sweeps the temporary files of those that were killed."""
        lease = self.locks.try_acquire("writers", exclusive=True)
        if lease is None and alone:
            raise OthersWrite(self.layout.root)
        if lease is None:
            lease = self.locks.acquire("writers", exclusive=False)
        else:
            sweep_temporary_files(self.layout)
            if not alone:
                lease.share()
        with lease:
            yield

    def _check_driver(self) -> None:
        """Refuse where a conversion has moved the images to another driver since this root was opened."""
        root = self.layout.root
        drivers = populated_drivers(root)
        if drivers and self.driver.name not in drivers:
            raise DriverMismatch(root, drivers[0], self.driver.name)
        if len(drivers) > 1 and not self.config.storage_driver:
            current = choose(root, "").name
            if current != self.driver.name:
                raise DriverMismatch(root, current, self.driver.name)

    def recover(self) -> int:
        """Finish or undo what killed processes left; returns how many things were cleared."""
        return (
            self._clear_mounts()
            + self.layers.recover()
            + self._undo_containers()
            + self._finish_removals()
            + self._forget_manifests()
            + self._discard_blobs()
            + self.trash.empty()
        )

    def _clear_mounts(self) -> int:
        """Before the layers: what stands on them goes first."""
        try:
            if not os.listdir(self.layout.mounts):
                return 0
        except FileNotFoundError:
            return 0
        from onggi.engine.mounts import Mounts

        return Mounts(self).recover()

    def _undo_containers(self) -> int:
        """Remove the layers of containers that never came to be: who makes one holds ``container-making``."""
        if not unwritten_containers(self.layout):
            return 0
        lease = self.locks.try_acquire("container-making", exclusive=True)
        if lease is None:
            return 0
        with lease:
            orphans = unwritten_containers(self.layout)
            for id in orphans:
                self.writable.remove(id)
        return len(orphans)

    def _finish_removals(self) -> int:
        finished = 0
        for image_id, chains in self.intents.pending():
            lease = self.locks.try_acquire(f"image-{image_id.hex}", exclusive=True)
            if lease is None:
                continue
            if not self._is_wanted(image_id):
                self.images.remove(image_id)
                self.layers.release(chains)
                self.forget(image_id)
            self.intents.settle(image_id)
            lease.release(remove=image_id not in self.images)
            finished += 1
        return finished

    def _is_wanted(self, image_id: ImageID) -> bool:
        """True when a name, a child or a container holds the image."""
        if self.tags.snapshot().of(image_id) or self.images.children(image_id):
            return True
        return any(container.image_id == image_id for container in known_containers(self.layout))

    def _forget_manifests(self) -> int:
        """Forget what came with images that are gone: removed by a dockerd, or by a killed removal."""
        forgotten = 0
        for image_id in self._images_with_manifests():
            if image_id in self.images:
                continue
            lease = self.locks.try_acquire(f"image-{image_id.hex}", exclusive=True)
            if lease is None:
                continue
            gone = image_id not in self.images
            if gone:
                self.forget_manifests(image_id)
                forgotten += 1
            lease.release(remove=gone)
        return forgotten

    def _images_with_manifests(self) -> list[ImageID]:
        try:
            names = os.listdir(self.layout.manifests)
        except FileNotFoundError:
            return []
        return [ImageID(f"sha256:{name}") for name in names if len(name) == 64]

    def forget_manifests(self, image_id: ImageID) -> None:
        """Delete an image's manifests, and the kept blobs that no other image's manifest lists."""
        listed = {layer.digest for each in self.manifests.of(image_id) for layer in each.layers}
        self.manifests.remove(image_id)
        kept = listed.intersection(self.blobs.kept())
        if not kept:
            return
        wanted = {layer.digest for each in self.manifests.all() for layer in each.layers}
        for digest in sorted(kept - wanted):
            lease = self.locks.try_acquire(want_lock(digest), exclusive=True)
            if lease is not None:
                self.blobs.discard(digest)
                lease.release(remove=True)

    def _discard_blobs(self) -> int:
        """Delete received blobs whose layers exist: a pull was killed between the two.

        Those that a pull was told to keep stay.
        """
        discarded = 0
        try:
            if not os.listdir(self.layout.blobs / "sha256"):
                return 0
        except FileNotFoundError:
            return 0
        for digest in self.blobs.held():
            diff_id = self.distribution.diff_id(digest)
            if self.blobs.is_kept(digest):
                continue
            if diff_id is None or all(record.diff_id != diff_id for record in self.layers.db.records()):
                continue
            lease = self.locks.try_acquire(want_lock(digest), exclusive=True)
            if lease is not None:
                self.blobs.discard(digest)
                lease.release(remove=True)
                discarded += 1
        return discarded

    def emit(self, action: str, id: str, attributes: Mapping[str, str] | None = None) -> None:
        """Write an image event to the journal."""
        self.journal.append(Event("image", action, id, attributes or {}, time_ns()))

    def used(self, image_id: ImageID) -> None:
        """Note that an image and its layers are used now; one that is gone meanwhile is no error."""
        try:
            chains = self.images.get(image_id).chain_ids
        except OnggiError:
            return
        self.last_use.note([image_id, *chains])

    def forget(self, image_id: ImageID) -> None:
        """An image is gone: so are its pin, its last use, its manifests and the blobs kept for it."""
        self.forget_manifests(image_id)
        self.pins.remove(image_id)
        self.last_use.forget(image_id)

    def size(self, config: ImageConfig) -> int:
        """Σ of an image's layer sizes, in bytes; layers that cannot be read count nothing."""
        records = (self.layers.usable(chain) for chain in config.chain_ids)
        return sum(record.size for record in records if record is not None)
