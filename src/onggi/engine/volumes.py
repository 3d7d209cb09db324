"""``engine.volumes``: make, find, list, prune, remove."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from onggi.engine.containers.mount_points import used_volumes
from onggi.engine.core import Core
from onggi.engine.filters import Filters, InvalidFilter
from onggi.errors import Conflict
from onggi.oci.digest import random_id
from onggi.record import record
from onggi.store.journal import Event
from onggi.store.volumes import ANONYMOUS, DRIVER, StoredVolume, VolumeNotFound, check_driver

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PrunedVolumes", "Volume", "VolumeInUse", "VolumeUsage", "Volumes", "remove_volume"]

_LIST_FILTERS = ("dangling", "driver", "label", "label!", "name")
_PRUNE_FILTERS = ("all", "label", "label!")


class VolumeInUse(Conflict):
    """A container has it, or is just being made with it."""

    def __init__(self, name: str, containers: Sequence[str]) -> None:
        super().__init__(
            f"remove {name}: volume is in use - [{', '.join(containers)}]",
            hint="remove these containers first" if containers else "a container is being made with it",
        )
        self.containers = tuple(containers)


@record
class PrunedVolumes:
    """Names of what was removed, and the bytes of its files."""

    names: tuple[str, ...]
    space_bytes: int


@record
class VolumeUsage:
    """One volume's part of the disk: bytes of its files, containers that have it."""

    volume: Volume
    size_bytes: int
    links: int


class Volume:
    """A volume of the store. Facts are those of when it was looked up; equality is by name."""

    def __init__(self, core: Core, stored: StoredVolume) -> None:
        self._core = core
        self._stored = stored

    def __repr__(self) -> str:
        return f"<Volume {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def name(self) -> str:
        """Its name; 64 digits where nobody gave one."""
        return self._stored.name

    @property
    def driver(self) -> str:
        """Always ``local``."""
        return DRIVER

    @property
    def path(self) -> Path:
        """Its files on this host; with options only while a container uses it."""
        return self._stored.path

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self._stored.labels or {})

    @property
    def options(self) -> dict[str, str]:
        """``type``, ``device``, ``o``: what is mounted while it is used; empty for a directory."""
        return dict(self._stored.options or {})

    @property
    def anonymous(self) -> bool:
        """True when nobody named it, as far as the store knows."""
        return self._stored.anonymous

    @property
    def created_at(self) -> float:
        """Seconds since 1970: when its directory changed last, as Docker has it. 0 when it is gone."""
        path = self.path if self._core.config.compat == "20.10" else self.path.parent
        try:
            return os.lstat(path).st_ctime
        except FileNotFoundError:
            return 0.0

    @property
    def containers(self) -> list[str]:
        """Ids of the containers that have it."""
        return used_volumes(self._core).get(self.name, [])

    def size(self) -> int:
        """Bytes of its files, each inode once."""
        from onggi.engine.containers.sizes import changed_bytes

        return changed_bytes(self.path)

    def inspect(self) -> dict[str, Any]:
        """Docker's ``volume inspect`` object."""
        moment = time.localtime(int(self.created_at))
        zone = time.strftime("%z", moment)
        text = time.strftime("%Y-%m-%dT%H:%M:%S", moment)
        return {
            "CreatedAt": text + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"),
            "Driver": DRIVER,
            "Labels": _shown(self._stored.labels),
            "Mountpoint": str(self.path),
            "Name": self.name,
            "Options": _shown(self._stored.options),
            "Scope": "local",
        }

    def remove(self) -> None:
        """Delete it and its files. Raises VolumeInUse, VolumeNotFound, SomethingMounted."""
        with self._core.writing():
            remove_volume(self._core, self.name)


def _shown(pairs: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if pairs is None else dict(pairs)


class Volumes:
    """Volumes of one data root."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def get(self, name: str) -> Volume:
        """By name. Raises VolumeNotFound."""
        return Volume(self._core, self._core.volumes.get(name))

    def create(
        self,
        name: str = "",
        *,
        driver: str = DRIVER,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or give the one that has the name; without one it gets 64 digits.

        Raises InvalidVolume, UnknownDriver.
        """
        store = self._core.volumes
        own = dict(labels) if labels is not None else None
        if not name and self._core.config.compat != "20.10":
            own = {**(own or {}), ANONYMOUS: ""}
        name = name or random_id()
        check_driver(name, driver)
        with self._core.writing():
            store.check(name, options or {})
            with self._core.locks.acquire(store.lock_name(name), exclusive=True):
                stored = store.create(name, labels=own, options=options)
            _emit(self._core, "create", name)
        return Volume(self._core, stored)

    def prune(self, filters: Filters | None = None, *, all: bool = False) -> PrunedVolumes:
        """Remove those that no container has, and that nothing is mounted for.

        Only those that nobody named, unless ``all``; Docker 20.10 cannot tell, and takes every one.
        Filters: label, label!, all. Raises InvalidFilter.
        """
        wanted = dict(filters or {})
        every = all or _boolean("all", wanted.pop("all", ()), absent=self._core.config.compat == "20.10")
        test = _compile(wanted, _PRUNE_FILTERS, lambda name: False)
        removed, space = [], 0
        with self._core.writing():
            for stored in self._core.volumes.all():
                volume = Volume(self._core, stored)
                if stored.options or not (every or stored.anonymous) or not test(stored):
                    continue
                size = volume.size()
                try:
                    remove_volume(self._core, stored.name)
                except (VolumeInUse, VolumeNotFound):
                    continue
                removed.append(stored.name)
                space += size
        return PrunedVolumes(tuple(removed), space)

    def usage(self) -> list[VolumeUsage]:
        """What each takes on disk, sorted by name; as Docker counts, without those that have options."""
        users = used_volumes(self._core)
        volumes = [Volume(self._core, stored) for stored in self._core.volumes.all() if not stored.options]
        return [VolumeUsage(volume, volume.size(), len(users.get(volume.name, ()))) for volume in volumes]

    # --- a word of its own, which hides the type's name below it ------------------------------

    def list(self, filters: Filters | None = None) -> list[Volume]:
        """Sorted by name. Filters: dangling, driver, label, label!, name. Raises InvalidFilter."""
        users: dict[str, Any] = {}
        if "dangling" in (filters or {}):
            users = used_volumes(self._core)
        test = _compile(filters or {}, _LIST_FILTERS, lambda name: name in users)
        return [Volume(self._core, stored) for stored in self._core.volumes.all() if test(stored)]


def remove_volume(core: Core, name: str) -> None:
    """Delete it; inside :meth:`Core.writing`. Raises VolumeInUse, VolumeNotFound, SomethingMounted."""
    store = core.volumes
    if not store.exists(name):
        raise VolumeNotFound(name)
    lease = core.locks.try_acquire(store.lock_name(name), exclusive=True)
    if lease is None:
        raise VolumeInUse(name, [])
    with lease:
        users = used_volumes(core).get(name, [])
        if users:
            raise VolumeInUse(name, users)
        stored = store.get(name)
        if stored.is_mounted_when_used:
            from onggi.engine.volume_mounts import VolumeMounts

            VolumeMounts(core).let_go(stored)
        store.remove(name, durable=not stored.anonymous)
        lease.release(remove=True)
    _emit(core, "destroy", name)


def _emit(core: Core, action: str, name: str) -> None:
    core.journal.append(Event("volume", action, name, {"driver": DRIVER}, time.time_ns()))


# --- filters --------------------------------------------------------------------------------------


def _compile(
    filters: Filters, known: Sequence[str], in_use: Callable[[str], bool]
) -> Callable[[StoredVolume], bool]:
    """One test for all filters. Labels must all fit; of names and drivers one."""
    for name in filters:
        if name not in known:
            raise InvalidFilter(f"Invalid filter '{name}'", hint=f"known filters: {', '.join(known)}")
    dangling = filters.get("dangling", ())
    wanted = _boolean("dangling", dangling, absent=False)

    def test(stored: StoredVolume) -> bool:
        labels = stored.labels or {}
        return (
            (not dangling or in_use(stored.name) != wanted)
            and ("driver" not in filters or DRIVER in filters["driver"])
            and ("name" not in filters or any(_fits(value, stored.name) for value in filters["name"]))
            and all(_has(labels, text) for text in filters.get("label", ()))
            and not any(_has(labels, text) for text in filters.get("label!", ()))
        )

    return test


def _boolean(name: str, values: Sequence[str], *, absent: bool) -> bool:
    if not values:
        return absent
    if values[-1] in ("1", "true"):
        return True
    if values[-1] in ("0", "false"):
        return False
    raise InvalidFilter(f"Invalid filter '{name}=[{' '.join(values)}]'", hint="true or false")


def _fits(pattern: str, name: str) -> bool:
    """Docker's filter.Match: equal, or a regular expression found in it."""
    try:
        return pattern == name or re.search(pattern, name) is not None
    except re.error:
        return False


def _has(labels: Mapping[str, str], text: str) -> bool:
    name, equals, value = text.partition("=")
    return name in labels and (not equals or labels[name] == value)
