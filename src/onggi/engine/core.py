"""What every verb stands on: one data root, opened.

Opening reads nothing but the driver a root was filled with, and makes nothing. A verb that
changes something does it inside :meth:`Core.writing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import time_ns

from onggi.config import Config
from onggi.drivers.overlay2 import Overlay2
from onggi.layers.driver import StorageDriver
from onggi.layers.store import LayerStore
from onggi.oci.digest import ImageID
from onggi.store.atomic import translate_os_error
from onggi.store.dataroot import claim, create_engine_id, open_layout
from onggi.store.distribution import DistributionDB
from onggi.store.imagedb import ImageDB
from onggi.store.journal import Event, Journal
from onggi.store.layout import Layout
from onggi.store.locks import LockDirectory
from onggi.store.tags import TagStore

__all__ = ["Core"]

SUPPORTED_DRIVERS = (Overlay2.name,)


@dataclass(frozen=True, slots=True)
class Core:
    """The rooms below the engine, joined for one data root."""

    config: Config
    layout: Layout
    driver: StorageDriver
    locks: LockDirectory
    images: ImageDB
    tags: TagStore
    layers: LayerStore
    distribution: DistributionDB
    journal: Journal

    @classmethod
    def open(cls, config: Config) -> Core:
        """Join the rooms. Raises DriverMismatch, InvalidArgument (driver), ReadOnlyRoot."""
        layout = open_layout(config.data_root, config.storage_driver, SUPPORTED_DRIVERS)
        driver = Overlay2(layout.driver_home)
        locks = LockDirectory(layout.locks)
        images = ImageDB(layout.imagedb)
        return cls(
            config=config,
            layout=layout,
            driver=driver,
            locks=locks,
            images=images,
            tags=TagStore(layout.repositories, locks),
            layers=LayerStore(layout, driver, images, compat=config.compat),
            distribution=DistributionDB(layout.distribution, locks),
            journal=Journal(layout.events, locks),
        )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The right to change the store; first clears what killed processes left.

        Raises NeedsRoot, DataRootOwned, ReadOnlyRoot, DiskFull.
        """
        self.driver.check_host()
        try:
            self.layout.create()
            self.driver.prepare()
            with claim(self.layout.root):
                create_engine_id(self.layout.root)
                self.tags.create()
                self.layers.recover()
                yield
        except OSError as error:
            known = translate_os_error(error, str(self.layout.root))
            raise known or error from error

    def emit(self, action: str, id: str, attributes: Mapping[str, str] | None = None) -> None:
        """Write an image event to the journal."""
        self.journal.append(Event("image", action, id, attributes or {}, time_ns()))

    def size(self, image_id: ImageID) -> int:
        """Σ of the image's layer sizes, in bytes; layers that cannot be read count nothing."""
        records = (self.layers.usable(chain) for chain in self.images.get(image_id).chain_ids)
        return sum(record.size for record in records if record is not None)
