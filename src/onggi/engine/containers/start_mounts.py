"""What has to be there on the host before a container starts with its mounts.

Directories of binds are made, volumes that stand on something else are mounted, a part of a
volume and an image's tree become detached mounts: the supervisor attaches those under
``<bundle>/mounts/``, in the namespace that is its own, and holds the leases of the volumes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from time import time_ns

from onggi.engine.core import Core
from onggi.errors import FailedPrecondition, InvalidArgument
from onggi.linux.filesystem import is_mountpoint
from onggi.record import field, mutable_record
from onggi.store.atomic import remove_tree
from onggi.store.containers import StoredContainer
from onggi.store.journal import Event

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.store.volumes import StoredVolume

__all__ = ["PreparedMounts", "prepare_mounts", "remove_bundle"]


@mutable_record
class PreparedMounts:
    """``sources`` gives the place on the host by destination; descriptors stay the caller's.

    ``attached`` are detached mounts and where the supervisor puts them, ``held`` the leases of
    volumes that are mounted for it (lock file, mountpoint), ``names`` those of all volumes.
    """

    sources: dict[str, str] = field(default_factory=dict)
    attached: list[tuple[int, str]] = field(default_factory=list)
    held: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def descriptors(self) -> list[int]:
        """In the order in which the supervisor takes them."""
        return [fd for fd, _ in self.attached] + [fd for fd, _ in self.held]

    def instructions(self) -> dict[str, Any]:
        """What the supervisor is told of them."""
        return {
            "mounts": [target for _, target in self.attached],
            "volumes": [volume for _, volume in self.held],
            "volume_names": self.names,
        }


def prepare_mounts(core: Core, stored: StoredContainer, bundle: Path, stack: ExitStack) -> PreparedMounts:
    """Make everything ready; ``stack`` undoes it when it is left.

    Raises CannotMountVolume, VolumeNotFound, InvalidArgument.
    """
    prepared = PreparedMounts()
    points: Mapping[str, Mapping[str, Any]] = stored.document.get("MountPoints") or {}
    hidden = stored.host_config.get("Tmpfs") or {}
    preparing = _Preparing(core, bundle, stack, prepared)
    for path, point in sorted(points.items()):
        if path not in hidden:
            preparing.point(path, point)
    prepared.names = sorted({point["Name"] for point in points.values() if point.get("Type") == "volume"})
    _tell(core, stored, points)
    return prepared


class _Preparing:
    def __init__(self, core: Core, bundle: Path, stack: ExitStack, prepared: PreparedMounts) -> None:
        self._core = core
        self._bundle = bundle
        self._stack = stack
        self._prepared = prepared

    def point(self, path: str, point: Mapping[str, Any]) -> None:
        kind = point.get("Type") or "bind"
        if kind == "bind":
            if not point.get("SkipMountpointCreation"):
                _make_source(point["Source"])
            _check_propagation(self._core, point)
        elif kind == "volume":
            self._volume(path, point)
        elif kind == "image":
            self._image(path, point)

    def _volume(self, path: str, point: Mapping[str, Any]) -> None:
        volume = self._core.volumes.get(point["Name"])
        if volume.is_mounted_when_used:
            self._hold(volume)
        subpath = ((point.get("Spec") or {}).get("VolumeOptions") or {}).get("Subpath")
        if subpath:
            self._attach(path, _open_subpath(volume, subpath))
        else:
            self._prepared.sources[path] = str(volume.path)

    def _hold(self, volume: StoredVolume) -> None:
        from onggi.engine.volume_mounts import VolumeMounts, volume_lock

        lock = str(self._core.locks.path(volume_lock(volume.name)))
        if any(held["lock"] == lock for _, held in self._prepared.held):
            return
        mounts = VolumeMounts(self._core)
        lease = mounts.hold(volume)
        self._stack.callback(mounts.let_go, volume)
        self._stack.callback(lease.release)
        self._prepared.held.append((lease.fileno(), {"lock": lock, "path": str(volume.path)}))

    def _image(self, path: str, point: Mapping[str, Any]) -> None:
        """The whole tree is attached; nobody changes it, so a part of it can be named by its path."""
        root = self._core.writable.mount(self._core.writable.get(point["Name"]))
        self._stack.callback(os.close, root)
        subpath = ((point.get("Spec") or {}).get("ImageOptions") or {}).get("Subpath")
        target = self._place(root)
        self._prepared.sources[path] = target + _inside(root, subpath) if subpath else target

    def _place(self, mounted: int) -> str:
        target = str(self._bundle / "mounts" / str(len(self._prepared.attached)))
        self._prepared.attached.append((mounted, target))
        return target

    def _attach(self, path: str, opened: int) -> None:
        """``opened`` becomes a mount of its own; nothing that is renamed meanwhile changes what is seen."""
        from onggi.linux.mount_calls import open_tree

        try:
            mounted = open_tree(f"/proc/self/fd/{opened}", recursive=True)
        finally:
            os.close(opened)
        self._stack.callback(os.close, mounted)
        self._prepared.sources[path] = self._place(mounted)


def _make_source(path: str) -> None:
    """As Docker does for ``-v``; a file there is fine, whatever it is."""
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FailedPrecondition(
            f"error while creating mount source path '{path}': mkdir {error.filename}: {reason}"
        ) from error


def _open_subpath(volume: StoredVolume, subpath: str) -> int:
    """A part of a volume."""
    root = os.open(volume.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _open_part(root, subpath, str(volume.path / subpath))
    finally:
        os.close(root)


def _open_part(root: int, subpath: str, shown: str) -> int:
    """What is at ``subpath`` below ``root``; links lead nowhere else."""
    from onggi.linux.openat2 import open_in_root

    try:
        return open_in_root(root, os.fsencode(subpath), os.O_PATH)
    except OSError as error:
        raise InvalidArgument(
            f"cannot access path {shown}: {os.strerror(error.errno or errno.EIO).lower()}",
            hint="a subpath must be there before the container starts",
        ) from error


def _inside(root: int, subpath: str) -> str:
    """``/…`` below the detached mount ``root``, without links: what the kernel calls it."""
    opened = _open_part(root, subpath, subpath)
    try:
        return os.readlink(f"/proc/self/fd/{opened}")
    finally:
        os.close(opened)


# --- propagation --------------------------------------------------------------------------------


class NotPropagated(InvalidArgument):
    """The host's mount does not pass on what is asked for."""

    def __init__(self, path: str, mountpoint: str, wanted: str) -> None:
        super().__init__(
            f"path {path} is mounted on {mountpoint} but it is not a {wanted} mount",
            hint=f"mount --make-rshared {mountpoint}",
        )


def _check_propagation(core: Core, point: Mapping[str, Any]) -> None:
    wanted = point.get("Propagation") or ""
    if wanted not in ("shared", "rshared", "slave", "rslave"):
        return
    mountpoint, fields = _mount_of(point["Source"])
    shared = any(each.startswith("shared:") for each in fields)
    if wanted.endswith("shared") and not shared:
        raise NotPropagated(point["Source"], mountpoint, "shared")
    asked = ((point.get("Spec") or {}).get("BindOptions") or {}).get("Propagation")
    if not shared and not any(each.startswith("master:") for each in fields) and asked:
        raise NotPropagated(point["Source"], mountpoint, "shared or slave")


def _mount_of(path: str) -> tuple[str, list[str]]:
    """Where the mount that ``path`` is in stands, and its optional fields (proc_pid_mountinfo(5))."""
    real = os.path.realpath(path)
    best: tuple[str, list[str]] = ("/", [])
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            words = line.split(" ")
            place = words[4].replace("\\040", " ")
            inside = real == place or real.startswith(f"{place.rstrip('/')}/")
            if inside and len(place) >= len(best[0]):
                best = place, words[6 : words.index("-", 6)]
    return best


# --- events -------------------------------------------------------------------------------------


def _tell(core: Core, stored: StoredContainer, points: Mapping[str, Mapping[str, Any]]) -> None:
    for path, point in sorted(points.items()):
        if point.get("Type") == "volume":
            attributes = {
                "container": stored.id,
                "destination": path,
                "driver": point.get("Driver") or "",
                "propagation": point.get("Propagation") or "",
                "read/write": "true" if point.get("RW") else "false",
            }
            core.journal.append(Event("volume", "mount", point["Name"], attributes, time_ns()))


# --- the running directory ------------------------------------------------------------------------


def remove_bundle(bundle: Path) -> None:
    """Delete a running container's directory, and never what a supervisor attached in it.

    What is attached is unmounted; a mountpoint is deleted by calls that take only an empty one.
    """
    places = bundle / "mounts"
    try:
        names = os.listdir(places)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    for name in names:
        place = places / name
        if is_mountpoint(str(place)):
            from onggi.linux.mount import unmount

            unmount(str(place))
        if stat.S_ISDIR(os.lstat(place).st_mode):
            os.rmdir(place)
        else:
            os.unlink(place)
    if names:
        os.rmdir(places)
    remove_tree(bundle)
