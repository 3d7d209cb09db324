"""``engine.networks``: make, find, list, remove networks; let containers in and out."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from time import time_ns

from onggi.engine.core import Core
from onggi.engine.networks.attaching import ContainerNetworks
from onggi.engine.networks.known import NetworkNotFound
from onggi.errors import Conflict, Forbidden, InvalidArgument, NotFound, Unsupported
from onggi.linux.namespaces import new_network_namespace
from onggi.network.addresses import Prefix
from onggi.network.bridges import remove_bridge
from onggi.network.ipam import allocate, check_overlap
from onggi.network.model import BRIDGE_NAME, MASQUERADE, PREDEFINED, Network, Subnet
from onggi.network.netavark import Attachment, Endpoint, NetavarkFailed
from onggi.oci.digest import random_id
from onggi.oci.timestamps import format_ns
from onggi.record import replace
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.containers.containers import Containers
    from onggi.engine.filters import Filters

__all__ = ["NetworkInUse", "Networks"]

_NAME = re.compile(r"[^/\s]+")
_TRIES = 3  # of a netavark that somebody kills over its work


class NetworkInUse(Forbidden):
    """Running containers are connected."""

    def __init__(self, network: Network, containers: Sequence[StoredContainer], compat: str) -> None:
        if compat == "20.10":
            text = f"network {network.name} id {network.id} has active endpoints"
        else:
            shown = ", ".join(f'name:"{each.name}" id:"{each.id[:12]}"' for each in containers)
            text = f"network {network.name} has active endpoints ({shown})"
        super().__init__(
            f"error while removing network: {text}", hint="stop those containers, or disconnect them"
        )


class Networks:
    """Networks of one data root."""

    def __init__(
        self, core: Core, attaching: ContainerNetworks, containers: Callable[[], Containers]
    ) -> None:
        self._core = core
        self._attaching = attaching
        self._known = attaching.known
        self._containers = containers

    # --- looking ----------------------------------------------------------------------------

    def get(self, word: str) -> Network:
        """By name, id, or the beginning of one id. Raises NetworkNotFound, AmbiguousNetwork."""
        return self._known.find(word)

    def inspect(self, word: str) -> dict[str, Any]:
        """Docker's ``network inspect`` object, with the running containers in it."""
        network = self.get(word)
        shown = network.to_json()
        shown["Containers"] = {
            stored.id: _member(stored, network) for stored in self.connected(network) if network.subnets
        }
        return shown

    def connected(self, network: Network) -> list[StoredContainer]:
        """Running containers that are in it, by id."""
        found = []
        for attachment in self._known.store.endpoints():
            if network.id in attachment.networks and self._attaching.is_live(attachment):
                stored = self._core.containers.get(attachment.container)
                found += [] if stored is None else [stored]
        return found

    # --- making -----------------------------------------------------------------------------

    def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnets: Sequence[Subnet] = (),
        ipv6: bool = False,
        internal: bool = False,
        attachable: bool = False,
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        ipam_driver: str = "default",
        ipam_options: Mapping[str, str] | None = None,
        scope: str = "",
    ) -> Network:
        """Make one; its bridge is made when the first container is in it.

        Raises Conflict (name or addresses are taken), Forbidden, InvalidArgument, Unsupported, NoFreePool.
        """
        _check_name(name)
        _check_driver(driver, scope)
        if ipam_driver not in ("", "default"):
            raise InvalidArgument(f'plugin "{ipam_driver}" not found')
        network = Network(
            id=random_id(),
            name=name,
            driver=driver or "bridge",
            created=format_ns(time_ns()),
            subnets=tuple(subnets),
            ipv6=ipv6,
            internal=internal,
            attachable=attachable,
            options=dict(options or {}),
            labels=dict(labels or {}),
            ipam_options=dict(ipam_options or {}),
            own_subnets=bool(subnets),
        )
        _check_options(network)
        with self._core.writing(), self._attaching.lease():
            self._known.settle_bridge()
            made = self._made(network)
            if driver == "macvlan":
                self._try(made)
            self._known.store.write(made)
        self._attaching.emit(made, "create")
        return made

    def _made(self, network: Network) -> Network:
        """With addresses, where none were chosen. Under the lock."""
        others = self._known.all()
        if any(other.name == network.name for other in others):
            raise Conflict(f"network with name {network.name} already exists", hint="choose another name")
        subnets = list(network.subnets)
        for subnet in subnets:
            check_overlap(subnet.prefix, others)
        if not any(subnet.prefix.bits == 32 for subnet in subnets):
            free = Subnet(str(self._known.free_subnet(others)))
            subnets.insert(0, replace(free, gateway=free.router))
        if network.ipv6 and not any(subnet.prefix.bits == 128 for subnet in subnets):
            subnets.append(_unique_local())
        return replace(network, subnets=tuple(subnets))

    # --- removing ---------------------------------------------------------------------------

    def remove(self, word: str) -> None:
        """Delete one and its bridge. Raises NetworkNotFound, Forbidden, NetworkInUse."""
        with self._core.writing(), self._attaching.lease():
            network = self.get(word)
            if network.predefined:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            self._attaching.clear()
            containers = self.connected(network)
            if containers:
                raise NetworkInUse(network, containers, self._core.config.compat)
            self._remove(network)

    def _remove(self, network: Network) -> None:
        store = self._known.store
        if network.driver == "bridge" and (_exists(network.interface) or store.is_going(network.id)):
            store.begin_removal(network.id)
            if BRIDGE_NAME not in network.options:
                # Only one of our own making: under a name that somebody chose there may be more.
                remove_bridge(network.interface)
            self._try(network)
        store.remove(network.id)
        self._attaching.emit(network, "destroy")

    def _try(self, network: Network, *, tries: int = _TRIES) -> None:
        """Make and take back an endpoint: with the last one go a network's bridge and rules."""
        quiet = replace(network, name="bridge")  # nobody resolves names for a moment
        addresses = [allocate(network, subnet, ()) for subnet in network.subnets]
        attachment = Attachment.of(random_id(), "onggi", [Endpoint(quiet, "eth0", addresses, "")], (), ())
        namespace = new_network_namespace()
        try:
            path = f"/proc/{os.getpid()}/fd/{namespace}"
            failure = self._failure("setup", attachment, path)
            undone = self._failure("teardown", attachment, path)
        finally:
            os.close(namespace)
        if tries > 1 and any(error is not None and error.killed for error in (failure, undone)):
            self._try(network, tries=tries - 1)  # what is half made, or half undone, cannot be taken back
        elif failure is not None and network.driver != "bridge":
            raise Unsupported(
                failure.message, hint="the kernel, or the parent interface, cannot do it"
            ) from failure

    def _failure(self, action: str, attachment: Attachment, path: str) -> NetavarkFailed | None:
        try:
            self._attaching.netavark.begin(action, attachment, path).finish()
        except NetavarkFailed as error:
            return error
        return None

    def prune(self, filters: Filters | None = None) -> list[str]:
        """Remove those that no running container uses; gives their names. Filters: until, label."""
        from onggi.engine.networks.filters import prune_test

        wanted = prune_test(filters or {})
        removed = []
        with self._core.writing(), self._attaching.lease():
            self._attaching.clear()
            for network in sorted(self._known.all(), key=lambda network: network.name):
                if not network.predefined and wanted(network) and not self.connected(network):
                    self._remove(network)
                    removed.append(network.name)
        return removed

    # --- containers -------------------------------------------------------------------------

    def connect(
        self,
        network: str,
        container: str,
        *,
        ip: str = "",
        ip6: str = "",
        aliases: Sequence[str] = (),
        links: Sequence[str] = (),
        driver_opts: Mapping[str, str] | None = None,
        link_local_ips: Sequence[str] = (),
    ) -> None:
        """Let a container in, running or not. Raises NetworkNotFound, ContainerNotFound, Conflict, …"""
        from onggi.engine.networks.membership import Membership

        addresses = {"IPv4Address": ip, "IPv6Address": ip6, "LinkLocalIPs": list(link_local_ips)}
        settings = {
            "IPAMConfig": {name: value for name, value in addresses.items() if value},
            "Aliases": list(aliases),
            "Links": list(links),
            "DriverOpts": dict(driver_opts or {}),
        }
        stored = self._containers().get(container).stored
        with self._core.writing():
            membership = Membership(self._core, self._attaching)
            try:
                found = self.get(network)
            except NetworkNotFound:
                if not membership.noted_for_later(network, stored, settings):
                    raise
            else:
                membership.connect(found, stored, settings)

    def disconnect(self, network: str, container: str, *, force: bool = False) -> None:
        """Take a container out. Raises NetworkNotFound, ContainerNotFound, Conflict.

        ``force``: one that is gone already is no error.
        """
        from onggi.engine.networks.membership import Membership

        try:
            stored = self._containers().get(container).stored
        except NotFound:
            if not force:
                raise
            self.get(network)
            return
        with self._core.writing():
            Membership(self._core, self._attaching).disconnect(network, stored)

    # --- a word of its own, which hides the type's name below it ------------------------------

    def list(self, filters: Filters | None = None) -> list[Network]:
        """By name. Filters: dangling, driver, id, label, name, scope, type. Raises InvalidFilter."""
        from onggi.engine.networks.filters import list_test

        wanted = list_test(filters or {}, lambda network: bool(self.connected(network)))
        return sorted(filter(wanted, self._known.all()), key=lambda network: network.name)


def _check_name(name: str) -> None:
    if name in (*PREDEFINED, "default"):
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if not _NAME.fullmatch(name) or name.startswith("container:"):
        raise InvalidArgument(f"invalid network name: {name!r}", hint="no blanks and no slashes")


def _check_driver(driver: str, scope: str) -> None:
    if driver == "overlay":
        raise Unsupported(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
            "this node to swarm and try again."
        )
    if scope not in ("", "local"):
        raise Unsupported(f"cannot create a {scope} scoped network when swarm is not active")
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "ipvlan":
        raise Unsupported("network driver ipvlan is not supported: netavark has none", hint="use macvlan")
    if driver not in ("", "bridge", "macvlan"):
        raise InvalidArgument(f'plugin "{driver}" not found', hint="drivers are bridge and macvlan")


def _check_options(network: Network) -> None:
    """Raises InvalidAddress, InvalidArgument, Unsupported."""
    if len(network.interface) > 15:
        raise InvalidArgument(f"invalid bridge name: {network.interface}", hint="at most 15 characters")
    if network.options.get(MASQUERADE, "true").lower() in ("0", "f", "false"):
        raise Unsupported(f"option {MASQUERADE}=false: netavark always hides a network's addresses outside")
    for subnet in network.subnets:
        prefix = subnet.prefix
        for part in (subnet.gateway, *subnet.auxiliary.values()):
            if part and not prefix.holds(part):
                raise InvalidArgument(f"no matching subnet for gateway {part}")
        if subnet.ip_range and not prefix.overlaps(Prefix.parse(subnet.ip_range)):
            raise InvalidArgument(f"no matching subnet for range {subnet.ip_range}")


def _unique_local() -> Subnet:
    """A range of unique local addresses that nobody else has picked (RFC 4193)."""
    random = os.urandom(7).hex()
    text = f"fd{random[:2]}:{random[2:6]}:{random[6:10]}:{random[10:14]}::"
    subnet = Subnet(str(Prefix.parse(f"{text}/64")))
    return replace(subnet, gateway=subnet.router)


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def _member(stored: StoredContainer, network: Network) -> dict[str, Any]:
    """One of ``Containers``."""
    endpoint: Mapping[str, Any] = stored.document["NetworkSettings"]["Networks"].get(network.name) or {}

    def address(name: str, length: str) -> str:
        return f"{endpoint[name]}/{endpoint[length]}" if endpoint.get(name) else ""

    return {
        "Name": stored.name,
        "EndpointID": endpoint.get("EndpointID") or "",
        "MacAddress": endpoint.get("MacAddress") or "",
        "IPv4Address": address("IPAddress", "IPPrefixLen"),
        "IPv6Address": address("GlobalIPv6Address", "GlobalIPv6PrefixLen"),
    }
