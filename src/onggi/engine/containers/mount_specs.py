"""What a user says of one mount, checked: ``-v``'s text and ``--mount``'s object, to a mount point.

::

    bind  = [ source ":" ] target [ ":" mode ]      source: an absolute path, or a volume's name
    mode  = word { "," word }                       of each kind one at most:
            ro rw · z Z · [r]private [r]slave [r]shared · nocopy · consistent cached delegated
    from  = container [ ":" mode ]                  without propagation and nocopy

A mount point is what config.v2.json keeps: keys in the order of Go's ``MountPoint``. Checks and
texts are Docker's. Source: moby ``volume/mounts/linux_parser.go``, ``volume/mounts/validate.go``.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

from onggi.errors import InvalidArgument
from onggi.oci.digest import random_id
from onggi.record import field, mutable_record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.oci.digest import ImageID

__all__ = [
    "InvalidMount",
    "MountPoint",
    "check_mount",
    "normal_mount",
    "parse_bind",
    "parse_mount",
    "parse_volumes_from",
]

_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_KINDS = {
    **dict.fromkeys(("ro", "rw"), "access"),
    **dict.fromkeys(("z", "Z"), "label"),
    **dict.fromkeys(_PROPAGATION, "propagation"),
    "nocopy": "copy",
    **dict.fromkeys(("consistent", "cached", "delegated"), "consistency"),
}
_DEFAULT_PROPAGATION = "rprivate"


class InvalidMount(InvalidArgument):
    """A mount that makes no sense, alone or beside others."""


@mutable_record
class MountPoint:
    """A place in a container and what stands there.

    ``kind`` is bind, volume, tmpfs or image; ``mode`` what the user wrote behind the target.
    ``spec`` is Docker's ``Mount`` object, empty for a volume that the image asks for. Of a
    volume to be made: ``labels`` and ``options``. ``copies``: an empty volume gets what the
    image has at ``destination``. ``source_must_exist``: a missing directory of the host is not made.
    ``inherited``: another container has it (``--volumes-from``). ``image``: whose tree it is; then
    ``name`` is that of the layers it is mounted by.
    """

    kind: str
    destination: str
    source: str = ""
    name: str = ""
    driver: str = ""
    writable: bool = True
    mode: str = ""
    propagation: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    source_must_exist: bool = False
    copies: bool = False
    inherited: bool = False
    image: ImageID | None = None
    labels: Mapping[str, str] | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As config.v2.json has it."""
        shown: dict[str, Any] = {
            "Source": self.source,
            "Destination": self.destination,
            "RW": self.writable,
            "Name": self.name,
            "Driver": self.driver,
            "Type": self.kind,
        }
        optional = {"Relabel": self.mode, "Propagation": self.propagation}
        shown |= {key: value for key, value in optional.items() if value}
        return {**shown, "Spec": self.spec, "SkipMountpointCreation": self.source_must_exist}


# --- -v -------------------------------------------------------------------------------------------


def parse_bind(text: str, volume_driver: str = "") -> MountPoint:
    """A word of HostConfig.Binds. Raises InvalidMount."""
    source, target, mode = _split(text)
    words = _mode_words(mode)
    kind = "bind" if source.startswith("/") else "volume"
    spec: dict[str, Any] = {"Type": kind}
    if source:
        spec["Source"] = source
    spec["Target"] = target
    if "ro" in words:
        spec["ReadOnly"] = True
    propagation = next((word for word in words if word in _PROPAGATION), "")
    if propagation:
        spec["BindOptions"] = {"Propagation": propagation}
    volume: dict[str, Any] = {"NoCopy": True} if "nocopy" in words else {}
    if volume_driver and kind == "volume":
        volume["DriverConfig"] = {"Name": volume_driver}
    if volume:
        spec["VolumeOptions"] = volume
    try:
        _check(spec)
    except InvalidMount as error:
        raise InvalidMount(f"invalid volume specification: '{text}': {error}") from error
    point = _point(spec)
    point.mode, point.source_must_exist = mode, False
    return point


def _split(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) > 3 or not parts[0] or (len(parts) == 2 and _is_mode(parts[1])):
        raise InvalidMount(f"invalid volume specification: '{text}'", hint="SOURCE:TARGET[:OPTIONS]")
    source, target = ("", parts[0]) if len(parts) == 1 else parts[:2]
    return source, target, parts[2] if len(parts) == 3 else ""


def _is_mode(text: str) -> bool:
    words = text.split(",") if text else []
    kinds = [_KINDS.get(word) for word in words]
    return None not in kinds and len(set(kinds)) == len(kinds)


def _mode_words(mode: str) -> list[str]:
    if not _is_mode(mode):
        raise InvalidMount(
            f"invalid mode: {mode}", hint="ro, rw, z, Z, nocopy, and a propagation such as rslave"
        )
    return mode.split(",") if mode else []


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """A word of HostConfig.VolumesFrom: the container, and whether what it gives stays writable.

    Raises InvalidMount.
    """
    if not text:
        raise InvalidMount("volumes-from specification cannot be an empty string")
    container, _, mode = text.partition(":")
    words = _mode_words(mode)
    if any(_KINDS[word] in ("propagation", "copy") for word in words):
        raise InvalidMount(f"invalid mode: {mode}", hint="ro or rw")
    return container, "ro" not in words


# --- --mount --------------------------------------------------------------------------------------

# Of Go's ``mount.Mount`` and what is in it, in declaration order; all are left out when empty.
_FIELDS = {
    "Type": (),
    "Source": (),
    "Target": (),
    "ReadOnly": (),
    "Consistency": (),
    "BindOptions": (
        *("Propagation", "NonRecursive", "CreateMountpoint"),
        *("ReadOnlyNonRecursive", "ReadOnlyForceRecursive"),
    ),
    "VolumeOptions": ("NoCopy", "Labels", "Subpath", "DriverConfig"),
    "ImageOptions": ("Subpath",),
    "TmpfsOptions": ("SizeBytes", "Mode", "Options"),
}


def normal_mount(spec: Mapping[str, Any], compat: str) -> dict[str, Any]:
    """``spec`` as Docker keeps it; 20.10 does not know all fields."""
    kept = {}
    for name, inner in _FIELDS.items():
        value = spec.get(name)
        if isinstance(value, Mapping):
            known = [each for each in inner if compat != "20.10" or each not in _SINCE_24]
            # Docker's own command line sends an empty DriverConfig, and it stays.
            kept[name] = {
                each: _sorted(value[each]) for each in known if value.get(each) or value.get(each) == {}
            }
        elif value:
            kept[name] = value
    return kept


def _sorted(value: Any) -> Any:
    """Maps as Go writes them; a driver's name stands before its options anyway."""
    if not isinstance(value, Mapping):
        return value
    return {key: _sorted(value[key]) for key in sorted(value)}


_SINCE_24 = ("CreateMountpoint", "ReadOnlyNonRecursive", "ReadOnlyForceRecursive", "Subpath", "Options")


def parse_mount(spec: Mapping[str, Any]) -> MountPoint:
    """An object of HostConfig.Mounts, checked before."""
    point = _point(dict(spec))
    point.source_must_exist = point.kind == "bind" and not (spec.get("BindOptions") or {}).get(
        "CreateMountpoint"
    )
    return point


def check_mount(spec: Mapping[str, Any], compat: str) -> None:
    """Raises InvalidMount."""
    kind = spec.get("Type") or ""
    if kind == "image" and compat == "20.10":
        raise _invalid(spec, "mount type unknown")
    _check(spec)
    source = str(spec.get("Source") or "")
    creates = (spec.get("BindOptions") or {}).get("CreateMountpoint")
    if kind == "bind" and not creates and not os.path.lexists(source):
        raise _invalid(spec, f"bind source path does not exist: {source}")


def _check(spec: Mapping[str, Any]) -> None:
    target = str(spec.get("Target") or "")
    if not target:
        raise _invalid(spec, "field Target must not be empty")
    if posixpath.normpath(target).lstrip("/") in ("", "."):
        raise _invalid(spec, "invalid specification: destination can't be '/'")
    _check_absolute(spec, target)
    check = _CHECKS.get(spec.get("Type") or "")
    if check is None:
        raise _invalid(spec, "mount type unknown")
    check(spec)


def _check_absolute(spec: Mapping[str, Any], path: str) -> None:
    if not path.startswith("/"):
        raise _invalid(spec, f"invalid mount path: '{path}' mount path must be absolute")


def _refuse(spec: Mapping[str, Any], *fields: str) -> None:
    for name in fields:
        if spec.get(name):
            raise _invalid(spec, f"field {name} must not be specified")


def _check_bind(spec: Mapping[str, Any]) -> None:
    source = str(spec.get("Source") or "")
    if not source:
        raise _invalid(spec, "field Source must not be empty")
    options = spec.get("BindOptions") or {}
    propagation = options.get("Propagation")
    if propagation and propagation not in _PROPAGATION:
        raise _invalid(spec, f"invalid propagation mode: {propagation}")
    if options.get("ReadOnlyNonRecursive") and options.get("ReadOnlyForceRecursive"):
        raise _invalid(spec, "mount options conflict: ReadOnlyNonRecursive and ReadOnlyForceRecursive")
    _refuse(spec, "VolumeOptions", "ImageOptions")
    _check_absolute(spec, source)


def _check_volume(spec: Mapping[str, Any]) -> None:
    _refuse(spec, "BindOptions", "ImageOptions")
    if not spec.get("Source") and spec.get("ReadOnly"):
        raise _invalid(spec, "must not set ReadOnly mode when using anonymous volumes")
    subpath = (spec.get("VolumeOptions") or {}).get("Subpath")
    if subpath and not spec.get("Source"):
        raise _invalid(spec, "must not set Subpath when using anonymous volumes")
    _check_subpath(spec, subpath)


def _check_image(spec: Mapping[str, Any]) -> None:
    _refuse(spec, "BindOptions", "VolumeOptions")
    if not spec.get("Source"):
        raise _invalid(spec, "field Source must not be empty")
    _check_subpath(spec, (spec.get("ImageOptions") or {}).get("Subpath"))


def _check_subpath(spec: Mapping[str, Any], subpath: str | None) -> None:
    if subpath and (subpath.startswith("/") or posixpath.normpath(subpath).split("/")[0] == ".."):
        raise _invalid(spec, "subpath must be a relative path within the volume")


def _check_tmpfs(spec: Mapping[str, Any]) -> None:
    _refuse(spec, "BindOptions", "Source")


_CHECKS = {"bind": _check_bind, "volume": _check_volume, "image": _check_image, "tmpfs": _check_tmpfs}


def _invalid(spec: Mapping[str, Any], reason: str) -> InvalidMount:
    return InvalidMount(f'invalid mount config for type "{spec.get("Type") or ""}": {reason}')


# --- both -----------------------------------------------------------------------------------------


def _clean(path: str) -> str:
    """Go's ``path.Clean`` of an absolute path."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _point(spec: dict[str, Any]) -> MountPoint:
    """The mount point of a good spec."""
    kind, source = spec["Type"], str(spec.get("Source") or "")
    point = MountPoint(kind, _clean(spec["Target"]), writable=not spec.get("ReadOnly"), spec=spec)
    if kind == "bind":
        point.source = _clean(source)
        point.propagation = (spec.get("BindOptions") or {}).get("Propagation") or _DEFAULT_PROPAGATION
    elif kind == "image":
        point.source, point.writable = source, False
    elif kind == "volume":
        _describe_volume(point, source, spec.get("VolumeOptions") or {})
    return point


def _describe_volume(point: MountPoint, name: str, options: Mapping[str, Any]) -> None:
    driver = options.get("DriverConfig") or {}
    point.name = name or random_id()
    point.driver = driver.get("Name") or ""
    point.copies = not options.get("NoCopy")
    point.labels = options.get("Labels") or None
    point.options = driver.get("Options") or {}
