"""What is on record of images mounted by hand, and what of it is still so.

A mount outlives the process that made it, so ``onggi/mounts/<id>.json`` says what is mounted
where. It is written before the mount is made, as ``mounting``, and again after it, as ``mounted``;
meanwhile its maker holds the lease ``mount-<id>``. Whoever finds a record and its lease free knows:

* ``mounting``: the maker was killed; what is mounted there, if anything is, goes with the record;
* ``mounted`` and no mount: somebody else has unmounted it, or the machine was started anew.

A mount is seen in the mount namespace it was made in, which the record names: those who live in
another one leave it alone as long as anybody lives there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from onggi.linux.filesystem import mounts_on
from onggi.oci.digest import ImageID
from onggi.record import record
from onggi.store.atomic import read_optional, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MOUNTED", "MOUNTING", "MountRecord", "MountRecords", "own_namespace"]

MOUNTING, MOUNTED = "mounting", "mounted"

# File systems that show the layers of an image as one tree.
_STACKS = (b"overlay", b"erofs")


@record
class MountRecord:
    """One mounted image. ``mounted_at`` is seconds since 1970.

    ``cache_id`` is the directory of the image's uppermost layer, by which the kernel's table of
    mounts tells of it; ``namespace`` the mount namespace, as ``/proc/self/ns/mnt`` leads to.
    """

    id: str
    image_id: ImageID
    reference: str
    path: str
    mounted_at: float
    state: str = MOUNTED
    cache_id: str = ""
    namespace: str = ""

    def to_document(self) -> dict[str, object]:
        """What its file says."""
        return {name: getattr(self, name) for name in self.__match_args__}

    def as_mounted(self) -> MountRecord:
        """The same when the mount is made."""
        return _from_document({**self.to_document(), "state": MOUNTED})

    @property
    def is_here(self) -> bool:
        """True when something is mounted on its directory, as this process sees it."""
        return bool(mounts_on(self.path))

    @property
    def is_shown(self) -> bool:
        """True when what is mounted there can be this image, and not something else that came before it."""
        name = self.cache_id.encode()
        return any(line.type in _STACKS or name in line.text for line in mounts_on(self.path))

    @property
    def lives_elsewhere(self) -> int:
        """A process in the mount namespace it belongs to, if that is another one than ours; else 0."""
        if self.namespace in ("", own_namespace()):
            return 0
        return _process_in(self.namespace)


class MountRecords:
    """The records of one data root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __iter__(self) -> Iterator[MountRecord]:
        """Those that can be read, sorted by id."""
        for id in self.ids():
            record = self.read(id)
            if record is not None:
                yield record

    def ids(self) -> list[str]:
        """Of records and of directories without one, sorted."""
        try:
            names = os.listdir(self.directory)
        except (FileNotFoundError, PermissionError):
            return []
        return sorted({name.removesuffix(".json") for name in names if not name.startswith(".")})

    def read(self, id: str) -> MountRecord | None:
        """The record, or None when there is none that can be read."""
        try:
            document = json.loads(read_optional(self._file(id)) or b"")
            return _from_document(document)
        except (ValueError, TypeError, KeyError, OSError):
            return None

    def write(self, record: MountRecord) -> None:
        """Store it; durable when this returns."""
        write_file(self._file(record.id), json.dumps(record.to_document()).encode(), 0o600)

    def lost(self, id: str) -> MountRecord:
        """What stands for a record that is not there, or cannot be read."""
        return MountRecord(id, ImageID(""), "", str(self.own_path(id)), 0.0, MOUNTING)

    def own_path(self, id: str) -> Path:
        """The directory for a mount that names none."""
        return self.directory / id

    def forget(self, id: str) -> None:
        """Delete the directory made for a mount, then its record."""
        try:
            os.rmdir(self.own_path(id))
        except OSError:
            pass
        self._file(id).unlink(missing_ok=True)

    def _file(self, id: str) -> Path:
        return self.directory / f"{id}.json"


def _from_document(document: dict[str, Any]) -> MountRecord:
    return MountRecord(**{**document, "image_id": ImageID(document["image_id"])})


def own_namespace() -> str:
    """``mnt:[4026531841]``; empty where /proc does not tell."""
    try:
        return os.readlink("/proc/self/ns/mnt")
    except OSError:
        return ""


def _process_in(namespace: str) -> int:
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/ns/mnt") == namespace:
                return int(name)
        except OSError:
            continue
    return 0
