"""Volumes of the driver ``local``, as Docker keeps them: a directory each, labels in a database.

::

    R/volumes/                0701
    ├── metadata.db           0600  bbolt: bucket ``volumes``, name → {"Name","Driver","Labels","Options"}
    └── <name>/               0701
        ├── _data/            0755  the files; what is mounted here has its attributes
        └── opts.json         0600  what is mounted on _data while somebody uses it; absent without options

The directory is the volume; what the database says of a name without a directory counts for
nothing (dockerd deletes it). So the entry is written first, then the directory is renamed into
place: a volume is there with its labels or not at all. Removing goes the other way. A directory
that the database does not name is a volume without labels, for dockerd too.

``metadata.db`` is also the lock that tells who is master of the root (dataroot.py).

Source: moby ``volume/local/local.go``, ``volume/local/local_unix.go``, ``volume/service/db.go``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from onggi.errors import Conflict, InvalidArgument, NotFound, Unsupported
from onggi.oci.digest import random_id
from onggi.oci.quoting import quoted
from onggi.record import field, record
from onggi.store.atomic import make_directory, read_optional, stage_file, write_file
from onggi.store.bolt import Bucket, read_database, write_database
from onggi.store.layout import Layout
from onggi.store.locks import LockDirectory
from onggi.store.trash import Trash

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ANONYMOUS",
    "DRIVER",
    "InvalidVolume",
    "SomethingMounted",
    "StoredVolume",
    "VolumeNotFound",
    "VolumeStore",
    "check_driver",
]

DRIVER = "local"
ANONYMOUS = "com.docker.volume.anonymous"
"""The label of a volume that nobody gave a name (Docker 23 and later); its value is empty."""

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"
_NAME_LIMIT = 240
"""Bytes of a name: a lock is named after it, and the file system takes 255."""

_BUCKET = b"volumes"
_OPTIONS = ("type", "o", "device", "size")
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


class VolumeNotFound(NotFound):
    """No volume has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume", hint="'onggi volume ls' lists what is here")
        self.name = name


class InvalidVolume(InvalidArgument):
    """A name or options that no volume can have."""

    def __init__(self, name: str, reason: str, hint: str = "") -> None:
        super().__init__(f"create {name}: {reason}", hint=hint)


class UnknownDriver(Unsupported):
    """Volumes of plugins."""

    def __init__(self, name: str, driver: str) -> None:
        super().__init__(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found',
            hint="the driver that is here is local",
        )


class SomethingMounted(Conflict):
    """Deleting a volume would delete what is mounted in it."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(f"remove {name}: something is mounted on {path}", hint=f"umount {path}")


@record
class StoredVolume:
    """A volume. ``labels`` and ``options`` are None where Docker has none; ``path`` is its ``_data``."""

    name: str
    path: Path
    labels: Mapping[str, str] | None = field(default=None, hash=False)
    options: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def anonymous(self) -> bool:
        """True when nobody named it, as far as is known (Docker 20.10 does not note it)."""
        return ANONYMOUS in (self.labels or {})

    @property
    def is_mounted_when_used(self) -> bool:
        """True when its files are on something that has to be mounted."""
        return bool((self.options or {}).get("device"))


def check_driver(name: str, driver: str) -> None:
    """Raises UnknownDriver."""
    if driver not in ("", DRIVER):
        raise UnknownDriver(name, driver)


class VolumeStore:
    """The directory ``volumes/``.

    Whoever makes, fills or removes a volume holds ``volume-<name>``; the database has a lock of its own.
    """

    def __init__(self, layout: Layout, locks: LockDirectory, trash: Trash) -> None:
        self._root = layout.root / "volumes"
        self._filling = layout.own / "filling"
        self._staging = layout.staging
        self._database = self._root / "metadata.db"
        self._locks = locks
        self._trash = trash

    def lock_name(self, name: str) -> str:
        """The lease of who makes, fills or removes it."""
        return f"volume-{name}"

    def path(self, name: str) -> Path:
        """A volume's files."""
        return self._root / name / "_data"

    # --- looking ------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Every volume, sorted."""
        try:
            found = os.listdir(self._root)
        except FileNotFoundError:
            return []
        return sorted(name for name in found if self.exists(name))

    def exists(self, name: str) -> bool:
        """Whether there is such a volume."""
        return bool(re.fullmatch(_NAME, name)) and self.path(name).is_dir()

    def get(self, name: str) -> StoredVolume:
        """Raises VolumeNotFound, CorruptDatabase."""
        if not self.exists(name):
            raise VolumeNotFound(name)
        return self._stored(name, read_database(self._database))

    def all(self) -> list[StoredVolume]:
        """Every volume, sorted by name. Raises CorruptDatabase."""
        names = self.names()
        database = read_database(self._database) if names else Bucket({})
        return [self._stored(name, database) for name in names]

    def _stored(self, name: str, database: Bucket) -> StoredVolume:
        known = _entry(database, name)
        options = known.get("Options") or self._mount_options(name)
        return StoredVolume(name, self.path(name), known.get("Labels"), options or None)

    def _mount_options(self, name: str) -> dict[str, str]:
        """What opts.json says where the database says nothing."""
        try:
            known = json.loads(read_optional(self._root / name / "opts.json") or b"{}")
        except ValueError:
            return {}
        named = {"type": "MountType", "o": "MountOpts", "device": "MountDevice"}
        return {option: str(known[key]) for option, key in named.items() if known.get(key)}

    # --- making -------------------------------------------------------------------------------

    def check(self, name: str, options: Mapping[str, str]) -> None:
        """Raises InvalidVolume for a name or options that no volume can have."""
        _check_name(name)
        _check_options(name, options)

    def create(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> StoredVolume:
        """Make a volume, or give the one that is there, whatever its labels and options; under its lease.

        Raises InvalidVolume.
        """
        self.check(name, options or {})
        if self.exists(name):
            return self.get(name)
        self._note(name, labels, options, durable=durable)
        self._make(name, options or {}, durable=durable)
        return StoredVolume(name, self.path(name), labels, options or None)

    def _note(
        self, name: str, labels: Mapping[str, str] | None, options: Mapping[str, str] | None, *, durable: bool
    ) -> None:
        # A map that was asked for is one, even an empty one; order is Go's.
        entry = {
            "Name": name,
            "Driver": DRIVER,
            "Labels": None if labels is None else dict(sorted(labels.items())),
            "Options": dict(sorted(options.items())) if options else None,
        }
        self._change(lambda entries: entries.update({name.encode(): _encoded(entry)}), durable=durable)

    def _change(self, change: Callable[[dict[bytes, Any]], None], *, durable: bool) -> None:
        with self._locks.acquire("volumes", exclusive=True):
            database = read_database(self._database)
            change(database.bucket(_BUCKET).entries)
            write_database(self._database, database, durable=durable)

    def _make(self, name: str, options: Mapping[str, str], *, durable: bool) -> None:
        id = random_id()
        with self._locks.acquire(f"staging-{id}", exclusive=True) as lease:
            staged = self._staging / id
            make_directory(staged, 0o701)
            make_directory(staged / "_data", 0o755)
            if options:
                document = {
                    "MountType": options.get("type", ""),
                    "MountOpts": options.get("o", ""),
                    "MountDevice": options.get("device", ""),
                    "Quota": {"Size": 0},
                }
                write = write_file if durable else stage_file
                write(staged / "opts.json", _encoded(document), 0o600)
            os.rename(staged, self._root / name)
            lease.release(remove=True)

    # --- the first content ----------------------------------------------------------------------

    def begin_filling(self, name: str) -> None:
        """Note that an empty volume is being filled: a kill from here on is seen."""
        make_directory(self._filling, 0o700)
        stage_file(self._filling / name, b"", 0o600)

    def is_half_filled(self, name: str) -> bool:
        """Whether who filled it was killed; under its lease, so that nobody is doing it."""
        return (self._filling / name).exists()

    def end_filling(self, name: str) -> None:
        """It is filled, or nobody will."""
        (self._filling / name).unlink(missing_ok=True)

    # --- removing -----------------------------------------------------------------------------

    def remove(self, name: str, *, durable: bool = True) -> None:
        """Delete it, under its lease. Raises VolumeNotFound, SomethingMounted."""
        if not self.exists(name):
            raise VolumeNotFound(name)
        directory = self._root / name
        for mounted in _mounted_below(directory):
            raise SomethingMounted(name, mounted)
        self._trash.discard(directory)
        self.forget(name, durable=durable)

    def forget(self, name: str, *, durable: bool = False) -> None:
        """Drop what is noted of a volume that is gone, under its lease."""
        self.end_filling(name)
        self._change(lambda entries: entries.pop(name.encode(), None), durable=durable)

    def noted(self) -> list[str]:
        """Names of which something is noted, those of volumes that are gone too; sorted.

        Not what Docker notes of other drivers' volumes. Raises CorruptDatabase.
        """
        database = read_database(self._database)
        bucket = database.entries.get(_BUCKET)
        names = [os.fsdecode(name) for name in (bucket.entries if isinstance(bucket, Bucket) else ())]
        ours = {name for name in names if _entry(database, name).get("Driver") in (None, "", DRIVER)}
        try:
            ours.update(name for name in os.listdir(self._filling) if not name.startswith("."))
        except FileNotFoundError:
            pass
        return sorted(ours)


def _entry(database: Bucket, name: str) -> dict[str, Any]:
    """What the database says of a volume; nothing where it cannot be read."""
    entries = database.entries.get(_BUCKET)
    value = entries.entries.get(name.encode()) if isinstance(entries, Bucket) else None
    try:
        known = json.loads(value) if isinstance(value, bytes) else {}
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def _encoded(document: Mapping[str, Any]) -> bytes:
    from onggi.oci.go_json import dump

    return dump(document)


def _mounted_below(directory: Path) -> list[str]:
    """Places at or below ``directory`` where this process sees something mounted."""
    top = os.path.realpath(directory)
    table = (read_optional("/proc/self/mountinfo") or b"").decode("utf-8", "surrogateescape")
    places = [line.split(" ", 5)[4] for line in table.splitlines()]
    return [place for place in places if place == top or place.startswith(f"{top}/")]


def _check_name(name: str) -> None:
    if len(name) == 1:
        raise InvalidVolume(
            name, "volume name is too short, names should be at least two alphanumeric characters"
        )
    if not re.fullmatch(_NAME, name):
        raise InvalidVolume(
            name,
            f"{quoted(name)} includes invalid characters for a local volume name, only "
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path",
        )
    if len(name) > _NAME_LIMIT:
        raise InvalidVolume(name, f"volume name is too long, {_NAME_LIMIT} characters are possible")


def _check_options(name: str, options: Mapping[str, str]) -> None:
    for option in options:
        if option not in _OPTIONS:
            raise InvalidVolume(name, f"invalid option: {quoted(option)}", "options: type, device, o")
    for option, needed in _NEEDS.items():
        for other in needed if option in options else ():
            if other not in options:
                raise InvalidVolume(name, f"missing required option: {quoted(other)}")
    if "size" in options and _size(name, options["size"]):
        raise InvalidVolume(
            name, "quota size requested but no quota support", "a tmpfs has a size by the option o: size=64m"
        )


def _size(name: str, text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", text.strip().lower())
    if match is None:
        raise InvalidVolume(name, f"invalid size: '{text}'")
    return float(match[1]) * 1024.0 ** _UNITS[match[2]]
