"""``onggi storage convert``: the images of a data root move to the other storage driver.

1. Every layer is converted, base first: its tar as the old driver gives it, proved by the
   diffID, goes through a worker of the new driver, whose own diffID must be the same.
2. The metadata that no driver minds (configs, names, caches of blobs) are copied.
3. One rename makes the new driver's metadata those of the root (store/conversion.py).
4. The old driver's data are removed, unless they are to be kept.

Ids, names, their history, pins, last use and kept manifests stay what they are. Killed before
step 3, the root is the old driver's and the same command goes on with the layer it was at;
killed behind it, the same command removes what is left of the old one. Nobody else may write
meanwhile, and nothing may be mounted: a mount stands on the old driver's files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.drivers.choice import DRIVERS, open_driver
from onggi.drivers.workers import Workers
from onggi.engine.containers import known_containers
from onggi.engine.core import Core
from onggi.engine.mounts import Mounts
from onggi.errors import Conflict, DataLoss, FailedPrecondition, InvalidArgument
from onggi.layers.store import LayerStore, ReadyLayer
from onggi.layers.tar_stream import layer_tar, layer_tar_size
from onggi.oci.digest import ChainID
from onggi.progress import Message, ProgressSink
from onggi.record import record
from onggi.store.conversion import LayoutApart, chosen_driver, convertings, publish
from onggi.store.dataroot import populated_drivers
from onggi.store.imagedb import ImageDB
from onggi.store.layerdb import CorruptLayer, LayerRecord
from onggi.store.layout import Layout

__all__ = ["Conversion", "ConversionReport", "ConvertedLayerDiffers", "StorageInUse"]


class StorageInUse(Conflict):
    """Something stands on the files of the old driver."""

    def __init__(self, who: str, way_out: str) -> None:
        super().__init__(f"convert storage: {who} stands on its files", hint=way_out)
        self.who = who


class HoldsImages(FailedPrecondition):
    """There are images of the driver to be already."""

    def __init__(self, current: str, to: str) -> None:
        super().__init__(
            f"convert storage: {to} holds images here already",
            hint=f"kept by --keep? 'onggi storage convert --to {current}' gives them up",
        )


class ConvertedLayerDiffers(DataLoss):
    """The new driver did not get what the old one has."""

    def __init__(self, layer: LayerRecord, found: str) -> None:
        super().__init__(
            f"convert layer {layer.chain_id}: the new driver has {found}, not {layer.diff_id}",
            hint="nothing has changed; 'onggi verify --all' tells whether the layer is sound",
        )


@record
class ConversionReport:
    """``layers`` were converted now, ``already`` by a command before that was stopped.

    ``size_bytes`` are those of their tars; ``free_bytes`` of the file system, before.
    ``removed``: drivers whose data are gone (in a dry run: would go). ``refusals``: what stands on the
    files, so that the conversion would be refused (in a dry run only).
    """

    source: str
    to: str
    images: int
    layers: int
    already: int
    size_bytes: int
    free_bytes: int
    removed: tuple[str, ...]
    dry_run: bool
    refusals: tuple[StorageInUse, ...] = ()


class Conversion:
    """One conversion, used once."""

    def __init__(self, core: Core, to: str, progress: ProgressSink, cancel: CancelToken) -> None:
        if to not in DRIVERS:
            raise InvalidArgument(
                f"convert storage: there is no storage driver {to!r}", hint=f"--to {' or '.join(DRIVERS)}"
            )
        self._core = core
        self._to = to
        self._progress = progress
        self._cancel = cancel
        self._apart = LayoutApart(core.layout.root, to)
        driver = open_driver(self._apart, core.config.exec_root, core.config.storage_opts)
        self._target = LayerStore(
            self._apart, driver, ImageDB(self._apart.imagedb), compat=core.config.compat
        )

    def run(self, *, keep: bool, dry_run: bool) -> ConversionReport:
        """Convert, or tell what would be done.

        Raises StorageInUse, HoldsImages, LayerChanged, CorruptLayer, TooDeep, DiskFull, NeedsRoot.
        """
        if dry_run:
            return self._plan(keep=keep, dry_run=True)
        with self._core.writing(alone=True):
            report = self._plan(keep=keep, dry_run=False)
            if self._to != self._core.driver.name:
                for refusal in self._users():
                    raise refusal
                self._convert()
            for each in report.removed:
                self._remove(each)
        return report

    # --- looking --------------------------------------------------------------------------

    def _plan(self, *, keep: bool, dry_run: bool) -> ConversionReport:
        core = self._core
        source = core.driver.name
        waiting: list[LayerRecord] = []
        already = 0
        if self._to != source:
            if self._to in populated_drivers(core.layout.root):
                raise HoldsImages(source, self._to)
            layers = self._layers()
            waiting = [layer for layer in layers if self._target.usable(layer.chain_id) is None]
            already = len(layers) - len(waiting)
        size_bytes = sum(layer_tar_size(core.layers, layer.chain_id) for layer in waiting)
        status = os.statvfs(core.layout.root)
        return ConversionReport(
            source,
            self._to,
            len(core.images.ids()),
            len(waiting),
            already,
            size_bytes,
            status.f_bavail * status.f_frsize,
            () if keep else tuple(self._old_drivers()),
            dry_run,
            tuple(self._users()) if dry_run and self._to != source else (),
        )

    def _layers(self) -> list[LayerRecord]:
        """The layers of all images, each once, behind the one it stands on."""
        chains: dict[ChainID, None] = {}
        for image_id in self._core.images.ids():
            config = self._core.images.get(image_id)
            if len(config.chain_ids) > self._target.driver.max_depth:
                limit = self._target.driver.max_depth
                raise InvalidArgument(
                    f"convert storage: image {image_id.short} has {len(config.chain_ids)} layers, "
                    f"{self._to} mounts {limit}",
                    hint="remove the image, or leave the data root as it is",
                )
            chains.update(dict.fromkeys(config.chain_ids))
        return [self._record(chain) for chain in chains]

    def _record(self, chain: ChainID) -> LayerRecord:
        record = self._core.layers.get(chain)
        if record is None:
            raise CorruptLayer(self._core.layers.db.path(chain), "it does not exist")
        return record

    def _old_drivers(self) -> Iterator[str]:
        """Whose data go: the driver we come from, or what an earlier conversion left behind."""
        root = self._core.layout.root
        if self._to != self._core.driver.name:
            yield self._core.driver.name
            return
        begun = convertings(root)
        for each in DRIVERS:
            if each == self._to:
                continue
            ours = each in begun or chosen_driver(root) == self._to
            layout = Layout(root, each)
            if ours and (layout.image.is_dir() or layout.driver_home.is_dir() or each in begun):
                yield each

    def _users(self) -> Iterator[StorageInUse]:
        """Everything that stands on the files, each as the refusal that it is."""
        containers = {container.short_id for container in known_containers(self._core.layout)}
        containers |= {name[:12] for name in self._core.layers.db.containers()}
        for short in sorted(containers):
            yield StorageInUse(f"container {short}", f"remove it: docker rm {short}")
        for mount in Mounts(self._core).list():
            yield StorageInUse(f"the mount on {mount.path}", f"unmount it: onggi image unmount {mount.path}")

    # --- doing ----------------------------------------------------------------------------

    def _convert(self) -> None:
        self._target.driver.check_host()
        self._apart.create()
        self._target.driver.prepare()
        self._target.db.prepare()
        self._sweep()
        layers = self._layers()
        workers = Workers(self._target.driver.job_name)
        try:
            for number, layer in enumerate(layers, 1):
                self._cancel.check()
                if self._target.usable(layer.chain_id) is None:
                    self._progress(Message(f"Converting layer {number}/{len(layers)}", layer.diff_id.short))
                    self._convert_layer(workers, layer)
        finally:
            workers.close()
        self._copy_metadata()
        self._core.trash.discard(Layout(self._core.layout.root, self._to).image)
        publish(self._apart)

    def _sweep(self) -> None:
        """Delete what a killed conversion left without a record."""
        driver = self._target.driver
        known = {record.cache_id for record in self._target.db.records()}
        for cache_id in driver.cache_ids():
            if cache_id not in known:
                driver.remove(cache_id)
        for link in driver.orphan_links():
            driver.remove_link(link)

    def _convert_layer(self, workers: Workers, layer: LayerRecord) -> None:
        depth = self._depth(layer)
        staged = self._target.stage(layer.chain_id, depth)
        try:
            tar = staged.base / "tar"
            fd = os.open(tar, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                unpacking = staged.unpack(workers, fd, lambda consumed: None)
                try:
                    size = 0
                    for piece in layer_tar(self._core.layers, layer.chain_id):
                        self._cancel.check()
                        size += _write(fd, piece)
                        unpacking.feed(size)
                    unpacking.end(size)
                    unpacked = unpacking.result()
                finally:
                    unpacking.close()
            finally:
                os.close(fd)
            if unpacked.diff_id != layer.diff_id:
                raise ConvertedLayerDiffers(layer, unpacked.diff_id)
            os.unlink(tar)
        except BaseException:
            staged.discard()
            raise
        self._target.commit([ReadyLayer(staged, layer.chain_id, layer.parent, unpacked)])

    def _depth(self, layer: LayerRecord) -> int:
        depth, parent = 1, layer.parent
        while parent is not None:
            depth, parent = depth + 1, self._record(parent).parent
        return depth

    def _copy_metadata(self) -> None:
        """Configs, names, and what blobs are known by: no driver minds them."""
        source, target = self._core.layout, self._apart
        for old, new in ((source.imagedb, target.imagedb), (source.distribution, target.distribution)):
            shutil.rmtree(new)
            shutil.copytree(old, new, symlinks=True)
        shutil.copy2(source.repositories, target.repositories)
        from onggi.linux.filesystem import syncfs

        fd = os.open(target.own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)

    def _remove(self, driver: str) -> None:
        """Delete a driver's data; its metadata first, so that nobody takes them for whole."""
        layout = Layout(self._core.layout.root, driver)
        gone: Sequence[Path] = (
            layout.image,
            self._core.layout.own / "converting" / driver,
            layout.driver_home,
        )
        for path in gone:
            self._core.trash.discard(path)


def _write(fd: int, piece: bytes) -> int:
    done = os.write(fd, piece)
    while done < len(piece):
        done += os.write(fd, memoryview(piece)[done:])
    return done
