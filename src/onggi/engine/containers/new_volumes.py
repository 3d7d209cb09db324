"""The volumes of a container that is being made: made where they are missing, and filled.

An image that is mounted gets layers of its own, as a container does (``layerdb/mounts``): so its
layers stay, whatever becomes of its name, and no command takes them for unused.

An empty volume gets what the image has at its place, unless the user said ``nocopy``: owner, mode,
times, attributes, hard links. The leases of all its volumes are held, in the order of their names,
until the container is in place: so nobody removes one meanwhile, and none is filled twice.

A volume that is being filled is noted under ``onggi/filling/``. Who finds one so that was killed
over it empties it and begins anew, if no container has it yet.

Source: moby ``daemon/create_unix.go`` (populateVolumes), ``container/container_unix.go``
(CopyImagePathContent).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from time import time_ns
from types import TracebackType

from onggi.engine.containers.mount_points import used_volumes, volume_labels
from onggi.engine.containers.mount_specs import InvalidMount, MountPoint
from onggi.engine.core import Core
from onggi.errors import OnggiError
from onggi.store.journal import Event
from onggi.store.volumes import StoredVolume

__all__ = ["NewVolumes"]


class NewVolumes:
    """Context manager over the creation of one container; by an error its own volumes go again.

    Those that have a name stay, as with Docker.
    """

    def __init__(self, core: Core, points: Mapping[str, MountPoint], *, durable: bool) -> None:
        self._core = core
        self._points = {path: point for path, point in points.items() if point.kind == "volume"}
        self._images = [point for point in points.values() if point.kind == "image"]
        self._durable = durable
        self._leases = ExitStack()
        self._made: list[str] = []

    def __enter__(self) -> NewVolumes:
        for point in self._points.values():
            self._core.volumes.check(point.name, point.options)
        for name in sorted({point.name for point in self._points.values()}):
            lock = self._core.volumes.lock_name(name)
            self._leases.enter_context(self._core.locks.acquire(lock, exclusive=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._leases:
            for name in self._made if error is not None else ():
                try:
                    self._core.volumes.remove(name, durable=False)
                except (OnggiError, OSError):
                    continue  # it is nobody's; prune takes it

    def make(self, mount_root: Callable[[], int], rootfs: str) -> None:
        """Make and fill them. ``mount_root`` opens the container's root; it is closed here.

        ``rootfs`` is how errors call that root. Raises InvalidVolume, InvalidMount, CannotMountVolume.
        """
        for point in self._images:
            self._lay_out(point)
        if not self._points:
            return
        root = -1
        try:
            wanted = {path: point for path, point in self._points.items() if not point.inherited}
            if any(point.copies for point in wanted.values()):
                root = mount_root()
            for path, point in sorted(wanted.items()):
                if not point.spec:
                    _check_place(root, path, rootfs)
                volume = self._volume(point)
                if point.copies:
                    self._fill(root, path, volume, rootfs)
        finally:
            if root >= 0:
                os.close(root)

    def _lay_out(self, point: MountPoint) -> None:
        core, image_id = self._core, point.image
        assert image_id is not None
        with ExitStack() as held:
            held.enter_context(core.locks.acquire(f"image-{image_id.hex}", exclusive=False))
            chains = core.images.get(image_id).chain_ids
            if not chains:
                raise InvalidMount(f"mount {point.source}: the image has no layers")
            held.enter_context(core.layers.lease(chains[-1]))
            core.writable.create(point.name, chains[-1], lambda root: None, durable=self._durable)
        core.used(image_id)

    def _volume(self, point: MountPoint) -> StoredVolume:
        store = self._core.volumes
        named = bool(point.spec.get("Source"))
        if not named and not store.exists(point.name):
            self._made.append(point.name)
        labels = volume_labels(point, self._core.config.compat)
        durable = self._durable or named
        volume = store.create(point.name, labels=labels, options=point.options, durable=durable)
        event = Event("volume", "create", point.name, {"driver": point.driver}, time_ns())
        self._core.journal.append(event)
        return volume

    # --- the first content --------------------------------------------------------------------

    def _fill(self, root: int, path: str, volume: StoredVolume, rootfs: str) -> None:
        if not volume.is_mounted_when_used:
            self._fill_directory(root, path, volume, rootfs)
            return
        from onggi.engine.volume_mounts import VolumeMounts

        mounts = VolumeMounts(self._core)
        try:
            with mounts.hold(volume):
                self._fill_directory(root, path, volume, rootfs)
        finally:
            mounts.let_go(volume)

    def _fill_directory(self, root: int, path: str, volume: StoredVolume, rootfs: str) -> None:
        store = self._core.volumes
        if store.is_half_filled(volume.name):
            self._begin_anew(volume)
        if os.listdir(volume.path):
            return
        store.begin_filling(volume.name)
        _copy(root, path, volume, rootfs)
        if self._durable and volume.name not in self._made:
            _flush(volume)
        store.end_filling(volume.name)

    def _begin_anew(self, volume: StoredVolume) -> None:
        from onggi.tree.walk import remove

        if volume.name not in used_volumes(self._core):
            directory = os.open(volume.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                for name in os.listdir(directory):
                    remove(directory, os.fsencode(name))
            finally:
                os.close(directory)
        self._core.volumes.end_filling(volume.name)


def _flush(volume: StoredVolume) -> None:
    """What has a name outlives containers, and a power cut."""
    from onggi.linux.filesystem import syncfs

    directory = os.open(volume.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        syncfs(directory)
    finally:
        os.close(directory)


def _check_place(root: int, path: str, rootfs: str) -> None:
    """Docker's check of volumes that the image asks for."""
    from onggi.linux.openat2 import open_in_root

    try:
        os.close(open_in_root(root, os.fsencode(path), os.O_PATH | os.O_DIRECTORY))
    except NotADirectoryError:
        raise InvalidMount(f"cannot mount volume over existing file, file exists {rootfs}{path}") from None
    except OSError:
        return


def _copy(root: int, path: str, volume: StoredVolume, rootfs: str) -> None:
    """What the container's root has at ``path``, links on the way followed inside it; nothing is no error."""
    from onggi.tree.copy_out import copy_entry
    from onggi.tree.layer_tree import DirectoryLayer, KeptDirectories
    from onggi.tree.merged import Merged

    kept = KeptDirectories()
    layer = DirectoryLayer(os.dup(root), kept)
    parent = os.open(volume.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        view = Merged([layer])
        try:
            top = view.resolve(os.fsencode(path))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise InvalidMount(
                f"copy {path} of the image to volume {volume.name}: {os.strerror(error.errno or 0).lower()}"
            ) from error
        if not top.is_directory:
            raise InvalidMount(f"source {rootfs}{path} is not directory")
        copy_entry(view, top, parent, b"_data", keep_owner=True)
    finally:
        os.close(parent)
        layer.close()
        kept.close()
