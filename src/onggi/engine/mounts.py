"""Images mounted by hand: the read-only stack of an image's layers on a directory.

By default that is ``onggi/mounts/<id>``. What is on record of a mount, and what a killed maker
leaves, see :mod:`mount_records`; every changing command clears that.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from onggi.engine.core import Core
from onggi.engine.mount_records import MOUNTED, MOUNTING, MountRecord, MountRecords, own_namespace
from onggi.engine.names import ImageNotFound, find_image
from onggi.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from onggi.oci.digest import CacheID, ImageID, random_id
from onggi.store.atomic import make_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.engine.image import Image

__all__ = ["MountRecord", "MountedElsewhere", "MountedImage", "Mounts", "NotMounted"]


class NotMounted(NotFound):
    """Nothing is mounted under this name, id or path."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unmount {name}: not mounted", hint="'onggi image mount' lists what is mounted")


class MountedElsewhere(FailedPrecondition):
    """The mount is in another mount namespace, where ``process`` lives; from here it cannot be reached."""

    def __init__(self, record: MountRecord, process: int) -> None:
        super().__init__(
            f"unmount {record.path}: it is mounted in the mount namespace of process {process}",
            hint=f"nsenter --mount=/proc/{process}/ns/mnt onggi image unmount {record.id}",
        )


class Mounts:
    """``engine.mounts``."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._records = MountRecords(core.layout.mounts)

    # --- mounting -------------------------------------------------------------------------

    def mount(self, name: str, target: str | None = None) -> MountRecord:
        """Mount an image read-only; on a directory of the data root, or on ``target``.

        The image is leased while mounting. As long as it is mounted, prune passes it over and
        ``rmi`` wants force: its files would go from under the mount.
        """
        with self._core.writing():
            image_id = find_image(self._core, name)
            with self._core.locks.acquire(f"image-{image_id.hex}", exclusive=False):
                record = self._make(image_id, name, target)
            self._core.emit("mount", image_id, {"name": name, "path": record.path})
            return record

    def _make(self, image_id: ImageID, name: str, target: str | None) -> MountRecord:
        chains = self._core.images.get(image_id).chain_ids
        if not chains:
            raise InvalidArgument(
                f"mount {image_id.short}: the image has no layers", hint="there is nothing to mount"
            )
        with ExitStack() as leases:
            # Each, not just the uppermost: none is to be repaired before the record tells of us.
            for chain in chains:
                leases.enter_context(self._core.layers.lease(chain))
            layer = self._core.layers.get(chains[-1])
            if layer is None:
                raise ImageNotFound(image_id)
            id = random_id()[:12]
            path = str(self._records.own_path(id)) if target is None else os.path.abspath(target)
            record = MountRecord(
                id, image_id, name, path, time.time(), MOUNTING, layer.cache_id, own_namespace()
            )
            return self._attach(record, own=target is None)

    def _attach(self, record: MountRecord, *, own: bool) -> MountRecord:
        """Record, mount, record; a failure leaves nothing, a kill what :meth:`recover` clears."""
        lease = self._core.locks.acquire(f"mount-{record.id}", exclusive=True)
        try:
            self._announce(record, own=own)
            try:
                if own:
                    make_directory(Path(record.path), 0o755)
                mounted = self._mount(record)
            except BaseException:
                self._undo(record)
                raise
        finally:
            lease.release(remove=True)
        return mounted

    def _announce(self, record: MountRecord, *, own: bool) -> None:
        """Write the record, unless the directory is none, or somebody else's mountpoint."""
        path = record.path
        if not own and not os.path.isdir(path):
            raise InvalidArgument(f"mount on {path}: not a directory", hint=f"make it first: mkdir {path}")
        with self._core.locks.acquire("mounts", exclusive=True):
            if not own and (record.is_here or self._is_being_mounted_on(path)):
                raise Conflict(
                    f"mount on {path}: something is mounted there", hint="choose another directory"
                )
            self._records.write(record)

    def _is_being_mounted_on(self, path: str) -> bool:
        others = (other.path for other in self._records if other.state == MOUNTING)
        return os.path.realpath(path) in map(os.path.realpath, others)

    def _mount(self, record: MountRecord) -> MountRecord:
        self._core.driver.mount(CacheID(record.cache_id), Path(record.path))
        mounted = record.as_mounted()
        self._records.write(mounted)
        self._core.used(record.image_id)
        return mounted

    # --- unmounting -----------------------------------------------------------------------

    def unmount(self, name: str) -> list[MountRecord]:
        """Unmount by path, mount id, image name or id; every mount of that image.

        Raises NotMounted, MountedElsewhere.
        """
        with self._core.writing():
            done = [record for record in self._matching(name) if self._detach(record)]
            if not done:
                raise NotMounted(name)
            for record in done:
                self._core.emit("unmount", record.image_id, {"name": record.reference, "path": record.path})
            return done

    def _matching(self, name: str) -> list[MountRecord]:
        records = list(self._records)
        exact = [record for record in records if name == record.id or os.path.abspath(name) == record.path]
        if exact:
            return exact
        try:
            image_id = find_image(self._core, name)
        except (ImageNotFound, InvalidArgument):
            return [record for record in records if record.reference == name]
        return [record for record in records if record.image_id == image_id]

    def _detach(self, record: MountRecord) -> bool:
        """False when somebody else was quicker."""
        with self._core.locks.acquire(f"mount-{record.id}", exclusive=True) as lease:
            known = self._records.read(record.id)
            if known is not None:
                process = known.lives_elsewhere
                if process:
                    raise MountedElsewhere(known, process)
                self._undo(known)
            lease.release(remove=True)
        return known is not None

    def _undo(self, record: MountRecord) -> None:
        from onggi.linux.mount import unmount

        if record.is_shown:
            unmount(record.path)
        self._records.forget(record.id)

    # --- looking --------------------------------------------------------------------------

    def list(self) -> list[MountRecord]:
        """What is mounted now, oldest first; in other mount namespaces too."""
        mounted = [
            record
            for record in self._records
            if record.state == MOUNTED and (record.is_here or record.lives_elsewhere)
        ]
        return sorted(mounted, key=lambda record: record.mounted_at)

    # --- after a crash --------------------------------------------------------------------

    def abandoned(self) -> tuple[str, ...]:
        """Ids of mounts that are gone or were never finished, and of directories without a record."""
        held = self._core.locks.is_held
        return tuple(id for id in self._records.ids() if self._is_abandoned(id) and not held(f"mount-{id}"))

    def recover(self) -> int:
        """Clear what is abandoned; returns how many things were."""
        return sum(self.clear(id) for id in self.abandoned())

    def clear(self, id: str) -> bool:
        """Clear an abandoned mount; False when it is not abandoned after all."""
        lease = self._core.locks.try_acquire(f"mount-{id}", exclusive=True)
        if lease is None:
            return False
        with lease:
            abandoned = self._is_abandoned(id)
            if abandoned:
                self._undo(self._records.read(id) or self._records.lost(id))
            lease.release(remove=True)
        return abandoned

    def _is_abandoned(self, id: str) -> bool:
        """To be asked while nobody has the lease ``mount-<id>``, or we have."""
        record = self._records.read(id)
        if record is None:
            return id in self._records.ids()
        return not record.lives_elsewhere and (record.state == MOUNTING or not record.is_here)


class MountedImage:
    """``with image.mount() as root``: a read-only tree, unmounted at the end of the block."""

    def __init__(self, core: Core, image: Image, target: Path | None) -> None:
        self._mounts = Mounts(core)
        self._image = image
        self._target = target
        self._record: MountRecord | None = None

    def __enter__(self) -> Path:
        target = None if self._target is None else str(self._target)
        self._record = self._mounts.mount(self._image.id, target)
        return Path(self._record.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._record is not None:
            self._mounts.unmount(self._record.id)
