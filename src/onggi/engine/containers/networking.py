"""How a container meets the network: what a start asks of networks, and what an end gives back.

``none``, ``host`` and ``container:`` need nothing to be made; for all else see engine/networks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from onggi.errors import OnggiError
from onggi.oci.digest import Digest, random_id
from onggi.record import field, record
from onggi.runtime.namespaces import shared_container
from onggi.store.dataroot import engine_id

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Protocol

    from onggi.store.layout import Layout
else:
    Protocol = object

__all__ = [
    "Connection",
    "LateNetworks",
    "Networks",
    "absent_endpoint",
    "bare",
    "endpoint_settings",
    "predefined_id",
    "unconnected",
]


def _nothing() -> None:
    """What is there already needs no waiting."""


@record
class Connection:
    """What a container's network gives to its start.

    ``addresses`` go into its hosts file, ``gateway`` is the host's address seen from there,
    ``environment`` what ``--link`` says of others.
    ``settings`` change config.v2.json's NetworkSettings. ``nameservers`` resolve the names of its
    networks. ``descriptors`` are its network namespace and the sockets that hold its ports (none:
    the runtime makes a namespace, or shares the host's); they belong to whoever called, and go on
    to the supervisor with ``ending``: what it undoes at the end. ``finish`` waits until all is made,
    and raises when that failed; only the first call does something.
    """

    addresses: tuple[tuple[str, str], ...] = ()
    environment: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    nameservers: tuple[str, ...] = ()
    gateway: str = ""
    descriptors: tuple[int, ...] = ()
    ending: Mapping[str, Any] | None = field(default=None, hash=False)
    finish: Callable[[], None] = field(default=_nothing, hash=False, repr=False)

    def abandon(self) -> None:
        """Wait until nothing is being made any more, whatever became of it."""
        try:
            self.finish()
        except OnggiError:
            return

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Networks(Protocol):
    """What containers ask of networks."""

    def connect(self, document: Mapping[str, Any], host_config: Mapping[str, Any]) -> Connection:
        """Before a start."""

    def disconnect(self, id: str) -> None:
        """After the end, or a start that failed; what is gone already is no error."""

    def rename(self, id: str) -> None:
        """After a container got another name."""


class LateNetworks:
    """Networks that are made ready when a container first needs one: ``none`` and ``host`` never do."""

    def __init__(self, layout: Layout, make: Callable[[], Networks]) -> None:
        self._layout = layout
        self._make = make

    def connect(self, document: Mapping[str, Any], host_config: Mapping[str, Any]) -> Connection:
        """See :class:`Networks`."""
        if bare(host_config.get("NetworkMode") or ""):
            return unconnected(self._layout.root, document["NetworkSettings"].get("Networks") or {})
        return self._make().connect(document, host_config)

    def disconnect(self, id: str) -> None:
        """See :class:`Networks`."""
        if self._layout.endpoint(id).exists():
            self._make().disconnect(id)

    def rename(self, id: str) -> None:
        """See :class:`Networks`."""
        if self._layout.endpoint(id).exists():
            self._make().rename(id)


def bare(mode: str) -> bool:
    """True for a NetworkMode that needs nothing to be made."""
    return mode in ("none", "host") or shared_container(mode) is not None


def predefined_id(root: Path, name: str) -> str:
    """The id of ``bridge``, ``host`` or ``none``: the same for ever, made from the engine's own."""
    return Digest.of(f"{engine_id(root) or root}/{name}".encode()).hex


def unconnected(root: Path, networks: Mapping[str, Mapping[str, Any]]) -> Connection:
    """To networks for which nothing is made: Docker counts ``none`` and ``host`` as networks too."""
    settings = {
        name: {
            **absent_endpoint(endpoint),
            "NetworkID": predefined_id(root, name),
            "EndpointID": random_id(),
        }
        for name, endpoint in networks.items()
    }
    return Connection(settings={"Networks": settings} if settings else {})


def endpoint_settings(
    mode: str, given: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """NetworkSettings.Networks of a container that has not run; ``given`` is Docker's EndpointsConfig."""
    if shared_container(mode) is not None:
        return {}
    name = "bridge" if mode in ("", "default") else mode
    wanted: dict[str, Mapping[str, Any]] = {name: {}}
    for key, settings in (given or {}).items():
        wanted["bridge" if key == "default" else key] = settings
    return {key: absent_endpoint(settings) for key, settings in sorted(wanted.items())}


def absent_endpoint(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Docker's EndpointSettings where nothing runs: what somebody asked for, nothing that was given."""
    return {
        "IPAMConfig": settings.get("IPAMConfig"),
        **{name: settings.get(name) or None for name in ("Links", "Aliases")},
        "NetworkID": settings.get("NetworkID") or "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
        "DriverOpts": settings.get("DriverOpts"),
        "IPAMOperational": False,
        **{name: settings[name] for name in ("DesiredMacAddress",) if settings.get(name)},
    }
