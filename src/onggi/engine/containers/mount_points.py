"""A container's mount points: what its options, other containers and its image ask for.

A later one takes an earlier one's place, in this order: other containers' (``--volumes-from``),
binds, mounts; then the image's volumes, where nothing stands yet.

Source: moby ``daemon/volumes.go`` (registerMountPoints), ``daemon/create_unix.go``.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

from onggi.engine.containers.mount_specs import (
    InvalidMount,
    MountPoint,
    check_mount,
    parse_bind,
    parse_mount,
    parse_volumes_from,
)
from onggi.engine.containers.names import find_id
from onggi.engine.core import Core
from onggi.engine.names import find_image
from onggi.errors import InvalidArgument, NotFound
from onggi.oci.digest import Digest, random_id
from onggi.oci.quoting import quoted
from onggi.store.containers import StoredContainer
from onggi.store.volumes import ANONYMOUS, DRIVER, check_driver

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["mount_points", "used_volumes", "volume_labels", "volumes_of"]


def mount_points(
    core: Core, id: str, config: Mapping[str, Any], host_config: Mapping[str, Any]
) -> dict[str, MountPoint]:
    """By destination, of the container ``id``. Reads only: volumes are made later.

    Raises InvalidMount, InvalidArgument, NotFound, Unsupported.
    """
    for spec in host_config.get("Mounts") or ():
        check_mount(spec, core.config.compat)
    points: dict[str, MountPoint] = {}
    for text in host_config.get("VolumesFrom") or ():
        points |= {point.destination: point for point in _points_of(core, text)}
    points |= _own_points(core, host_config)
    for point in points.values():
        if point.kind == "image":
            _find_tree(core, id, point)
    taken = {*points, *(host_config.get("Tmpfs") or ())}
    for path in config.get("Volumes") or ():
        point = _anonymous(path, host_config)
        if point.destination not in taken:
            points[point.destination] = point
            taken.add(point.destination)
    return points


def _points_of(core: Core, text: str) -> list[MountPoint]:
    """What ``--volumes-from`` gives."""
    name, writable = parse_volumes_from(text)
    try:
        owner = _find(core, name)
    except NotFound as error:
        raise InvalidArgument(error.message, hint=error.hint) from error
    points = owner.document.get("MountPoints") or {}
    return [_copied(core, point, writable) for _, point in sorted(points.items())]


def _find(core: Core, name: str) -> StoredContainer:
    stored = core.containers.get(find_id(name, core.containers.names(), core.containers.ids()))
    if stored is None:
        raise NotFound(f"No such container: {name}")
    return stored


def _copied(core: Core, point: Mapping[str, Any], writable: bool) -> MountPoint:
    if point.get("Type") == "volume":
        core.volumes.get(point["Name"])
    return MountPoint(
        point.get("Type") or "bind",
        point["Destination"],
        source=point.get("Source") or "",
        name=point.get("Name") or "",
        driver=point.get("Driver") or "",
        writable=bool(point.get("RW")) and writable,
        propagation=point.get("Propagation") or "",
        spec=dict(point.get("Spec") or {}),
        inherited=True,
    )


def _find_tree(core: Core, id: str, point: MountPoint) -> None:
    """The image, and the layers by which this container mounts it: like a container's, but never written."""
    try:
        point.image = find_image(core, point.source)
    except NotFound as error:
        # Not the container's image, which the caller might pull.
        raise InvalidArgument(error.message, hint=f"onggi pull {point.source}") from error
    point.name = f"{id}-{Digest.of(point.destination.encode()).hex[:16]}"


def _own_points(core: Core, host_config: Mapping[str, Any]) -> dict[str, MountPoint]:
    """Binds, then mounts. As with Docker ``--mount`` at a tmpfs's place is no mistake, but the tmpfs wins."""
    points: dict[str, MountPoint] = {}
    tmpfs = host_config.get("Tmpfs") or {}
    for text in host_config.get("Binds") or ():
        point = parse_bind(text, host_config.get("VolumeDriver") or "")
        _add(points, _settled(core, point), point.destination in tmpfs)
    for spec in host_config.get("Mounts") or ():
        _add(points, _settled(core, parse_mount(spec)), taken=False)
    return points


def _add(points: dict[str, MountPoint], point: MountPoint, taken: bool) -> None:
    if taken or point.destination in points:
        raise InvalidMount(f"Duplicate mount point: {point.destination}")
    points[point.destination] = point


def _settled(core: Core, point: MountPoint) -> MountPoint:
    """With what Docker notes of its place."""
    if point.kind == "bind":
        return _around_root(core, point)
    if point.kind == "volume":
        check_driver(point.name, point.driver)
        point.driver, point.mode = DRIVER, point.mode or "z"
        point.source = str(core.volumes.path(point.name))
    return point


def _around_root(core: Core, point: MountPoint) -> MountPoint:
    """Mounts of the data root that go after the start must not be kept alive in the container."""
    root = os.path.realpath(core.layout.root)
    if not (_is_below(point.source, root) or _is_below(root, point.source)):
        return point
    asked = (point.spec.get("BindOptions") or {}).get("Propagation") or ""
    if asked not in ("", "rslave", "rshared"):
        raise InvalidMount(
            'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source '
            f"is within the daemon root, daemon root: {quoted(root)}, "
            f"bind mount source: {quoted(point.source)}, propagation: {quoted(asked)}"
        )
    if asked != "rshared":
        point.propagation = "rslave"
    return point


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


def _anonymous(path: str, host_config: Mapping[str, Any]) -> MountPoint:
    """A volume that the image, or ``-v`` with one path, asks for; Docker notes its place nowhere."""
    clean = posixpath.normpath(path)
    destination = f"/{clean.lstrip('/')}" if clean.startswith("/") else clean
    name = random_id()
    check_driver(name, host_config.get("VolumeDriver") or "")
    return MountPoint("volume", destination, name=name, driver=DRIVER, copies=True)


def volume_labels(point: MountPoint, compat: str) -> Mapping[str, str] | None:
    """Labels of a volume to be made; since Docker 23 one tells that nobody named it."""
    if point.spec.get("Source") or compat == "20.10":
        return point.labels
    return {**(point.labels or {}), ANONYMOUS: ""}


def volumes_of(stored: StoredContainer) -> dict[str, bool]:
    """Names of the volumes a container has; True for those that are its own: nobody named them."""
    points: Mapping[str, Mapping[str, Any]] = stored.document.get("MountPoints") or {}
    return {
        point["Name"]: not (point.get("Spec") or {}).get("Source")
        for point in points.values()
        if point.get("Type") == "volume" and point.get("Name")
    }


def used_volumes(core: Core) -> dict[str, list[str]]:
    """Which containers have a volume: ids by its name."""
    users: dict[str, list[str]] = {}
    for stored in core.containers.all():
        for name in volumes_of(stored):
            users.setdefault(name, []).append(stored.id)
    return users
