"""Images mounted by hand: the read-only stack of an image's layers on a directory.

A mount outlives the process that made it, so each has a record, ``onggi/mounts/<id>.json``,
and by default a directory ``onggi/mounts/<id>``. A record whose directory is no mountpoint
any more (after a reboot) is cleared by the next command that lists or changes mounts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from onggi.engine.core import Core
from onggi.engine.names import ImageNotFound, find_image
from onggi.errors import Conflict, InvalidArgument, NotFound
from onggi.oci.digest import ImageID, random_id
from onggi.store.atomic import make_directory, write_file

if TYPE_CHECKING:
    from onggi.engine.image import Image

__all__ = ["MountRecord", "MountedImage", "Mounts", "NotMounted"]


class NotMounted(NotFound):
    """Nothing is mounted under this name, id or path."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unmount {name}: not mounted", hint="'onggi image mount' lists what is mounted")


@dataclass(frozen=True, slots=True)
class MountRecord:
    """One mounted image. ``mounted_at`` is seconds since 1970."""

    id: str
    image_id: ImageID
    reference: str
    path: str
    mounted_at: float


class Mounts:
    """``engine.mounts``."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def mount(self, name: str, target: str | None = None) -> MountRecord:
        """Mount an image read-only; on a directory of the data root, or on ``target``.

        The image is leased while mounting. As long as it is mounted, prune passes it over and
        ``rmi`` wants force: its files would go from under the mount.
        """
        with self._core.writing():
            image_id = find_image(self._core, name)
            record = self._record(image_id, name, target)
            with self._core.locks.acquire(f"image-{image_id.hex}", exclusive=False):
                self._attach(image_id, Path(record.path), own=target is None)
                write_file(self._file(record.id), json.dumps(asdict(record)).encode(), 0o600)
            self._core.emit("mount", image_id, {"name": name, "path": record.path})
            return record

    def _record(self, image_id: ImageID, name: str, target: str | None) -> MountRecord:
        id = random_id()[:12]
        path = str(self._core.layout.mounts / id) if target is None else os.path.abspath(target)
        return MountRecord(id, image_id, name, path, time.time())

    def _attach(self, image_id: ImageID, path: Path, *, own: bool) -> None:
        if own:
            make_directory(path, 0o755)
        elif not path.is_dir():
            raise InvalidArgument(f"mount on {path}: not a directory", hint=f"make it first: mkdir {path}")
        elif _is_mounted(path):
            raise Conflict(f"mount on {path}: something is mounted there", hint="choose another directory")
        try:
            mount_image(self._core, image_id, path)
        except BaseException:
            if own:
                os.rmdir(path)
            raise

    def unmount(self, name: str) -> list[MountRecord]:
        """Unmount by path, mount id, image name or id; every mount of that image. Raises NotMounted."""
        with self._core.writing():
            records = self._matching(name)
            if not records:
                raise NotMounted(name)
            for record in records:
                self._detach(record)
                self._core.emit("unmount", record.image_id, {"name": record.reference, "path": record.path})
            return records

    def _matching(self, name: str) -> list[MountRecord]:
        records = list(self._records())
        exact = [record for record in records if name == record.id or os.path.abspath(name) == record.path]
        if exact:
            return exact
        try:
            image_id = find_image(self._core, name)
        except (ImageNotFound, InvalidArgument):
            return [record for record in records if record.reference == name]
        return [record for record in records if record.image_id == image_id]

    def _detach(self, record: MountRecord) -> None:
        from onggi.linux.mount import unmount

        if _is_mounted(record.path):
            unmount(record.path)
        self._forget(record)

    def _forget(self, record: MountRecord) -> None:
        if Path(record.path).parent == self._core.layout.mounts:
            try:
                os.rmdir(record.path)
            except OSError:
                pass
        self._file(record.id).unlink(missing_ok=True)

    def list(self) -> list[MountRecord]:
        """What is mounted now, oldest first."""
        mounted = [record for record in self._records() if _is_mounted(record.path)]
        return sorted(mounted, key=lambda record: record.mounted_at)

    def recover(self) -> None:
        """Forget mounts that are gone, e.g. after a reboot."""
        for record in list(self._records()):
            if not _is_mounted(record.path):
                self._forget(record)

    def _records(self) -> Iterator[MountRecord]:
        try:
            names = sorted(os.listdir(self._core.layout.mounts))
        except (FileNotFoundError, PermissionError):
            return
        for name in names:
            if name.endswith(".json"):
                try:
                    document = json.loads((self._core.layout.mounts / name).read_bytes())
                    yield MountRecord(**{**document, "image_id": ImageID(document["image_id"])})
                except (ValueError, TypeError, KeyError, OSError):
                    continue

    def _file(self, id: str) -> Path:
        return self._core.layout.mounts / f"{id}.json"


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


def _is_mounted(path: str | Path) -> bool:
    """True also for an image of one layer, whose mount is a bind mount (``os.path.ismount`` misses those)."""
    from onggi.linux.filesystem import is_mountpoint

    return is_mountpoint(os.fspath(path))


def mount_image(core: Core, image_id: ImageID, target: Path) -> None:
    """Mount the stack of an image's layers on ``target``, leased against a removal meanwhile."""
    chains = core.images.get(image_id).chain_ids
    if not chains:
        raise InvalidArgument(
            f"mount {image_id.short}: the image has no layers", hint="there is nothing to mount"
        )
    with core.layers.lease(chains[-1]):
        record = core.layers.get(chains[-1])
        if record is None:
            raise ImageNotFound(image_id)
        core.driver.mount(record.cache_id, target)
    core.used(image_id)
