"""From a container's two files, config.v2.json and hostconfig.json, to a request for its runtime spec.

Source: moby ``daemon/volumes_unix.go`` (setupMounts), ``container/container_unix.go`` (NetworkMounts,
IpcMounts, TmpfsMounts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onggi.runtime.devices import DeviceNode, host_devices, mapped_devices
from onggi.runtime.mounts import Mount, tmpfs_size_options
from onggi.runtime.security import Security
from onggi.runtime.spec import Defaults, SpecRequest
from onggi.runtime.user import User

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["container_mounts", "spec_request"]

_NETWORK_FILES = (
    ("ResolvConfPath", "/etc/resolv.conf"),
    ("HostnamePath", "/etc/hostname"),
    ("HostsPath", "/etc/hosts"),
)
_SHM = "/dev/shm"  # noqa: S108  a place in the container


def spec_request(
    document: Mapping[str, Any],
    host_config: Mapping[str, Any],
    *,
    rootfs: str,
    user: User,
    joined: Mapping[str, str],
    defaults: Defaults,
    sources: Mapping[str, str],
    linked: Sequence[str] = (),
) -> SpecRequest:
    """The request; looks at the host's devices where the options name some.

    ``sources`` gives the place on the host of volumes and images, by destination. Raises InvalidDevice.
    """
    security = Security(
        no_new_privileges=bool(document.get("NoNewPrivileges")),
        seccomp=document.get("SeccompProfile") or "",
        apparmor=document.get("AppArmorProfile") or "",
    )
    return SpecRequest(
        id=document["ID"],
        args=[document["Path"], *(document.get("Args") or ())],
        config=document["Config"],
        host_config=host_config,
        rootfs=rootfs,
        user=user,
        security=security,
        mounts=container_mounts(document, host_config, sources),
        joined=joined,
        mapped=_mapped(host_config),
        host_nodes=host_devices() if host_config.get("Privileged") else (),
        defaults=defaults,
        linked=linked,
    )


def _mapped(host_config: Mapping[str, Any]) -> list[tuple[DeviceNode, str]]:
    return [
        (node, device["CgroupPermissions"] or "rwm")
        for device in host_config.get("Devices") or ()
        for node in mapped_devices(device["PathOnHost"], device["PathInContainer"])
    ]


def container_mounts(
    document: Mapping[str, Any], host_config: Mapping[str, Any], sources: Mapping[str, str]
) -> list[Mount]:
    """Users' mounts, and the engine's files where no user mounted something; a tmpfs hides a mount point."""
    points: Mapping[str, Mapping[str, Any]] = document.get("MountPoints") or {}
    tmpfs: Mapping[str, str] = host_config.get("Tmpfs") or {}
    mounts = [_mount(point, sources) for path, point in sorted(points.items()) if path not in tmpfs]
    mounts += [Mount("tmpfs", path, options=text) for path, text in tmpfs.items()]
    taken = {mount.destination for mount in mounts}
    writable = not host_config.get("ReadonlyRootfs")
    for field, destination in _NETWORK_FILES:
        if document.get(field) and destination not in taken:
            mounts.append(Mount(document[field], destination, writable))
    mounts += _shared_memory(document, host_config, taken)
    return mounts


def _mount(point: Mapping[str, Any], sources: Mapping[str, str]) -> Mount:
    spec: Mapping[str, Any] = point.get("Spec") or {}
    destination, writable = point["Destination"], bool(point.get("RW"))
    if point.get("Type") == "tmpfs":
        wanted = spec.get("TmpfsOptions") or {}
        options = tmpfs_size_options(
            wanted.get("SizeBytes") or 0, wanted.get("Mode") or 0, read_only=bool(spec.get("ReadOnly"))
        )
        return Mount("tmpfs", destination, writable, options=options)
    source = sources.get(destination) or point["Source"]
    bind: Mapping[str, Any] = spec.get("BindOptions") or {}
    return Mount(
        source,
        destination,
        writable,
        point.get("Propagation") or "",
        recursive=not bind.get("NonRecursive"),
        deep=False if bind.get("ReadOnlyNonRecursive") else bind.get("ReadOnlyForceRecursive") or None,
    )


def _shared_memory(
    document: Mapping[str, Any], host_config: Mapping[str, Any], taken: Sequence[str] | set[str]
) -> list[Mount]:
    """``/dev/shm`` of the host, or one that other containers may join, comes as a bind.

    A container's own is made by the runtime.
    """
    mode = host_config.get("IpcMode") or "private"
    if mode in ("private", "none") or _SHM in taken or not document.get("ShmPath"):
        return []
    return [Mount(document["ShmPath"], _SHM)]
