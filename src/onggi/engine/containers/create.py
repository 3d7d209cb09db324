"""Making a container: from an image and options to Docker's files and two directories.

Order: image and chain leased, layers made, then the container's directory renamed into place.
Before that rename nothing counts; a crash leaves what the next changing command clears.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from time import time_ns

from onggi.engine.containers.checks import InvalidOption, adapted_host_config, check_host_config
from onggi.engine.containers.defaults import host_facts, with_defaults
from onggi.engine.containers.from_layer import chosen_chain
from onggi.engine.containers.health import check_health
from onggi.engine.containers.init_layer import fill_init_layer
from onggi.engine.containers.log_drivers import log_config
from onggi.engine.containers.merge import command_line, merged_config
from onggi.engine.containers.names import NameTaken, check_name, new_id, random_name
from onggi.engine.containers.networking import endpoint_settings
from onggi.engine.containers.signals import parse_signal
from onggi.engine.core import Core
from onggi.engine.names import find_image
from onggi.errors import NotFound
from onggi.oci.container_config import complete_config
from onggi.oci.digest import ChainID, ImageID
from onggi.oci.host_config import complete_host_config
from onggi.oci.image_config import ImageConfig
from onggi.oci.platform import Platform, fits
from onggi.oci.timestamps import format_ns
from onggi.record import field, record
from onggi.runtime.namespaces import shared_container
from onggi.runtime.security import parse_security_options
from onggi.store.containers import StoredContainer, fresh_document

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.containers.mount_specs import MountPoint
    from onggi.layers.writable import WritableLayer

__all__ = ["CreateRequest", "Created", "OtherPlatform", "create_container"]

_MOUNT_FIELDS = ("Binds", "Mounts", "VolumesFrom")


@record
class CreateRequest:
    """What ``POST /containers/create`` takes: Docker's Config and HostConfig, known keys only.

    ``name`` empty: one is made up. ``networks`` is Docker's EndpointsConfig: how to be in each.
    ``platform``: the image must be one for it. ``layer``: the one of its layers to stand on (from_layer.py).
    """

    config: Mapping[str, Any] = field(hash=False)
    host_config: Mapping[str, Any] = field(hash=False)
    name: str = ""
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    platform: Platform | None = None
    layer: str = ""


class OtherPlatform(NotFound):
    """The image of that name is for another platform than the one that is asked for."""

    def __init__(self, name: str, wanted: Platform, actual: Platform) -> None:
        self._platforms = f"wanted {wanted}, actual: {actual}"
        super().__init__(self.about(name), hint="leave --platform out to run it anyway")

    def about(self, name: str) -> str:
        """The same of another spelling of the image's name."""
        return (
            f"image with reference {name} was found but does not match the specified platform: "
            f"{self._platforms}"
        )


@record
class Created:
    """The new container's id, and what Docker would warn of."""

    id: str
    warnings: tuple[str, ...]


def create_container(core: Core, request: CreateRequest) -> Created:
    """Make it; inside :meth:`Core.writing`.

    Raises ImageNotFound, NameTaken, InvalidArgument of many kinds, DataLoss for a damaged image.
    """
    host = host_facts(core.config)
    image_id = find_image(core, str(request.config.get("Image") or ""))
    image = core.images.get(image_id)
    warnings = _check_platform(image, request, core.config.compat)
    chain, more = chosen_chain(image, request.layer, str(request.config.get("Image")))
    warnings += more
    config = merged_config(request.config, image.config)
    check_health(config)
    given = with_defaults(request.host_config, core.config)
    host_config = adapted_host_config(given, host, core.config.compat)
    if core.config.bridge == "none" and host_config["NetworkMode"] == "default":
        host_config["NetworkMode"] = "none"
    id = new_id()
    points = _mount_points(core, id, config, host_config)
    warnings += check_host_config(host_config, host, core.config.compat)
    _check_stop_signal(config)
    host_config["LogConfig"] = log_config(
        host_config.get("LogConfig"), core.config.log_driver, core.config.log_opts
    )
    _settle_hostname(config, host_config, id)
    document = _document(core, id, image_id, config, host_config, request.networks)
    document["MountPoints"] = {path: point.document() for path, point in sorted(points.items())}
    stored = StoredContainer(document, _stored_host_config(host_config))
    _make(core, stored, image, chain, request.name, points)
    return Created(id, tuple(warnings))


def _check_platform(image: ImageConfig, request: CreateRequest, compat: str) -> list[str]:
    """A warning where nobody asked for the other platform that it is. Raises OtherPlatform."""
    actual, wanted = Platform(image.os, image.architecture, image.variant), request.platform
    if wanted is not None:
        if not fits(actual, wanted):
            raise OtherPlatform(str(request.config["Image"]), wanted, actual)
        return []
    host = Platform.host()
    # What all machines of this kind run needs no look at the processor.
    if fits(actual, host) or fits(actual, capable := Platform.most_capable()):
        return []
    shown = host if compat == "20.10" else capable
    return [
        f"The requested image's platform ({actual}) does not match the detected host platform ({shown}) "
        "and no specific platform was requested"
    ]


def _check_stop_signal(config: Mapping[str, Any]) -> None:
    if config.get("StopSignal"):
        parse_signal(config["StopSignal"])


def _stored_host_config(host_config: Mapping[str, Any]) -> dict[str, Any]:
    complete = complete_host_config(host_config)
    complete["Runtime"] = host_config["Runtime"]
    return complete_host_config(complete)


def _mount_points(
    core: Core, id: str, config: Mapping[str, Any], host_config: dict[str, Any]
) -> dict[str, MountPoint]:
    """What is mounted in it, by destination; most containers have nothing."""
    if not config.get("Volumes") and not any(host_config.get(field) for field in _MOUNT_FIELDS):
        return {}
    from onggi.engine.containers.mount_points import mount_points
    from onggi.engine.containers.mount_specs import normal_mount

    compat = core.config.compat
    host_config["Mounts"] = [normal_mount(spec, compat) for spec in host_config.get("Mounts") or ()] or None
    return mount_points(core, id, config, host_config)


def _settle_hostname(config: dict[str, Any], host_config: Mapping[str, Any], id: str) -> None:
    """Its own is the short id; in the host's network it is the host's."""
    if host_config.get("UTSMode") == "host" and config.get("Hostname"):
        raise InvalidOption("conflicting options: hostname and the UTS mode")
    if shared_container(host_config["NetworkMode"]) and config.get("Hostname"):
        raise InvalidOption("conflicting options: hostname and the network mode")
    if host_config["NetworkMode"] == "host":
        name, _, domain = os.uname().nodename.partition(".")
        config["Hostname"] = config.get("Hostname") or name
        config["Domainname"] = config.get("Domainname") or domain
    config["Hostname"] = config.get("Hostname") or id[:12]


def _document(
    core: Core,
    id: str,
    image_id: ImageID,
    config: Mapping[str, Any],
    host_config: Mapping[str, Any],
    networks: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    document = fresh_document()
    document["ID"] = id
    document["Created"] = format_ns(time_ns())
    document["Path"], document["Args"] = command_line(config)
    document["Config"] = complete_config(config, core.config.compat)
    document["Image"] = str(image_id)
    document["NetworkSettings"]["Networks"] = endpoint_settings(host_config["NetworkMode"], networks)
    document["Driver"] = core.driver.name
    security = parse_security_options(
        host_config.get("SecurityOpt") or (), no_new_privileges=core.config.no_new_privileges
    )
    document["SeccompProfile"] = security.seccomp
    document["NoNewPrivileges"] = security.no_new_privileges
    document["AppArmorProfile"] = security.apparmor
    return document


def _make(
    core: Core,
    stored: StoredContainer,
    image: ImageConfig,
    chain: ChainID | None,
    name: str,
    points: Mapping[str, MountPoint],
) -> None:
    """Layers and volumes, then the container itself."""
    with ExitStack() as stack:
        stack.enter_context(core.locks.acquire(f"image-{image.id.hex}", exclusive=False))
        if chain is not None:
            stack.enter_context(core.layers.lease(chain))
        # Until it is in place its layers look like what a killed maker left (Core.recover).
        stack.enter_context(core.locks.acquire("container-making", exclusive=False))
        core.images.get(image.id)
        if points:
            _name(core, name)  # before a volume is made
        layer = core.writable.create(stored.id, chain, fill_init_layer, durable=not stored.auto_remove)
        try:
            _make_in_place(core, stored, layer, name, points)
        except BaseException:
            core.writable.remove(stored.id)
            raise
    core.used(image.id)


def _make_in_place(
    core: Core, stored: StoredContainer, layer: WritableLayer, name: str, points: Mapping[str, MountPoint]
) -> None:
    durable = not stored.auto_remove
    with ExitStack() as stack:
        if points:
            from onggi.engine.containers.new_volumes import NewVolumes

            volumes = stack.enter_context(NewVolumes(core, points, durable=durable))
            volumes.make(lambda: core.writable.mount(layer), str(core.writable.rootfs(layer)))
        # Nobody gives a name twice.
        stack.enter_context(core.locks.acquire("container-names", exclusive=True))
        stored.document["Name"] = f"/{_name(core, name)}"
        core.containers.create(stored, durable=durable)


def _name(core: Core, wanted: str) -> str:
    owners = core.containers.names()
    if not wanted:
        return random_name(owners)
    name = check_name(wanted)
    if name in owners:
        raise NameTaken(name, owners[name])
    return name
