"""What a container's start and end ask of networks: addresses, ports, interfaces, names.

Order of a start, all under the lock ``networks``: what crashes left is undone; addresses and ports
are chosen; the endpoint file is written; netavark is called. The network namespace lives by a
descriptor that goes on to the supervisor, and the ports by sockets that do: nothing of them is
left when it dies. Its end undoes the rest (runtime/supervisor/network.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from onggi.engine.containers.networking import Connection, bare, unconnected
from onggi.engine.containers.removal import settle
from onggi.engine.containers.running import supervisor_lock
from onggi.engine.core import Core
from onggi.engine.networks.endpoint import (
    METRIC_STEP,
    Joined,
    endpoint_fields,
    given_addresses,
    host_lines,
    metric_between,
    network_name,
    published_bindings,
    shown_ports,
)
from onggi.engine.networks.known import KnownNetworks
from onggi.engine.networks.links import link_lines
from onggi.linux.namespaces import new_network_namespace
from onggi.network.addresses import mac_of
from onggi.network.model import Network
from onggi.network.netavark import Attachment, Call, Endpoint, Netavark, NetavarkFailed, set_bridge
from onggi.network.ports import PublishedPort, carried, mappings, publish
from onggi.network.store import LOCK
from onggi.oci.digest import random_id
from onggi.record import replace
from onggi.runtime.directories import running_directory
from onggi.runtime.supervisor.network import NAMESPACE, leaves_traces, network_events, unplugged
from onggi.runtime.supervisor.resolver import forget_dead, reread, revive
from onggi.store.containers import StoredContainer
from onggi.store.journal import Event
from onggi.store.locks import Lease

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ContainerNetworks"]


class ContainerNetworks:
    """Networks by netavark, for containers that are not in the host's, in none, or in another's."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.known = KnownNetworks(core)
        self.netavark = Netavark(core.config.exec_root / "network")

    # --- what starts and ends ask -------------------------------------------------------------

    def connect(self, document: Mapping[str, Any], host_config: Mapping[str, Any]) -> Connection:
        """Begin with it; the lock is held until :meth:`Connection.finish`.

        Raises NetworkNotFound, PortTaken, AddressInUse, NetavarkMissing, …
        """
        networks = document["NetworkSettings"].get("Networks")
        if bare(host_config.get("NetworkMode") or "") or not networks:
            return unconnected(self._core.layout.root, networks or {})
        self._settle_others()
        lease = self.lease()
        try:
            self.clear()
            self.known.settle_bridge()
            return self._connected(document, host_config, lease)
        except BaseException:
            lease.release()
            raise

    def disconnect(self, id: str) -> None:
        """Undo what is left of a container's networks; nothing is no error."""
        if not self.known.store.endpoint_path(id).exists():
            return
        with self.lease():
            attachment = self.known.store.endpoint(id)
            if attachment is not None:
                self._end(attachment)
            self.known.store.disconnect(id)

    def rename(self, id: str) -> None:
        """Have a container that runs be found by the name that it has now, and not by its old one."""
        from onggi.network.entries import rename_entries

        directory = self.netavark.resolver_directory
        with self.lease():
            attachment, stored = self.known.store.endpoint(id), self._core.containers.get(id)
            if attachment is None or stored is None:
                return
            self.known.store.connect(attachment.named(stored.name))
            if rename_entries(directory, attachment.networks, id, stored.name):
                reread(str(directory))

    def lease(self) -> Lease:
        """The lock under which networks change."""
        return self._core.locks.acquire(LOCK, exclusive=True)

    def _settle_others(self) -> None:
        """End containers whose supervisors were killed: they have addresses and ports that others want."""
        for attachment in self._left_behind():
            stored = self._core.containers.get(attachment.container)
            if stored is not None:
                settle(self._core, self, stored)

    def is_live(self, attachment: Attachment) -> bool:
        """True while its container runs, or is being started."""
        return self._core.locks.is_held(supervisor_lock(attachment.container))

    def _left_behind(self) -> list[Attachment]:
        return [each for each in self.known.store.endpoints() if not self.is_live(each)]

    def clear(self) -> None:
        """Undo what killed commands and supervisors left. Under the lock.

        What may still run (its supervisor was killed a moment ago) keeps what it has.
        """
        for attachment in self._left_behind():
            stored = self._core.containers.get(attachment.container)
            if stored is None or not stored.state.get("Pid"):
                self._end(attachment)
                self.known.store.disconnect(attachment.container)

    def _end(self, attachment: Attachment) -> None:
        self.undo(attachment)
        for network, attributes in network_events(attachment.document):
            self._core.journal.append(Event("network", "disconnect", network, attributes, time.time_ns()))

    def undo(self, attachment: Attachment) -> None:
        """Take back rules and names of a container whose namespace is gone. Under the lock.

        netavark misses the interfaces, says so, and takes back the rest.
        """
        if not leaves_traces(attachment.document):
            return
        namespace = new_network_namespace()
        try:
            self.forget(attachment, f"/proc/{os.getpid()}/fd/{namespace}")
        finally:
            os.close(namespace)

    def forget(self, attachment: Attachment, namespace: str) -> None:
        """Have rules and names taken back, not interfaces. Under the lock.

        A resolver that has died is there again first: netavark would signal whoever has its number now.
        """
        self.keep_resolver()
        try:
            self.netavark.run("teardown", Attachment(unplugged(attachment.document)), namespace)
        except NetavarkFailed:
            pass  # it tells of the interfaces that it did not find
        self.keep_resolver()

    def plug(self, attachment: Attachment, namespace: str) -> None:
        """Have interfaces, rules and names made. Under the lock. Raises NetavarkFailed."""
        self.expect_resolver()
        self.netavark.run("setup", attachment, namespace)
        self.keep_resolver()

    # --- who answers for names: netavark starts it, and nobody but us looks whether it lives ------

    def expect_resolver(self) -> None:
        """Before netavark is called: it shall start one when what it knows of has died."""
        forget_dead(str(self.netavark.resolver_directory))

    def keep_resolver(self) -> None:
        """After that: it may have died meanwhile."""
        command = self.netavark.resolver()
        if command:
            revive(command, self.netavark.environment, str(self.netavark.resolver_directory))

    # --- a start --------------------------------------------------------------------------------

    def _connected(
        self, document: Mapping[str, Any], host_config: Mapping[str, Any], lease: Lease
    ) -> Connection:
        id, name = str(document["ID"]), str(document.get("Name") or "").removeprefix("/")
        joined = self._joined(document, host_config)
        links = self._links(name, host_config, joined)
        default_ip = next((each.network.host_binding for each in joined if each.network.host_binding), "")
        what = f"driver failed programming external connectivity on endpoint {name} ({joined[0].id}): "
        bindings = published_bindings(document, host_config)
        ports, sockets = publish(bindings, default_ip, what, ipv6=self._core.config.userland_proxy)
        ipv4 = next((line for each in joined for line in each.endpoint.addresses if ":" not in line), "")
        has_ipv6 = any(":" in line for each in joined for line in each.endpoint.addresses)
        descriptors = [new_network_namespace(), *(holder.detach() for holder in sockets)]
        try:
            attachment = Attachment.of(
                id,
                name,
                [each.endpoint for each in joined],
                list(mappings(ports, ipv6=has_ipv6)),
                host_config.get("Dns") or (),
                carried(ports, ipv4),
            )
            told = self._connection(document, joined, ports, attachment, links)
            if host_config.get("Links"):
                told = replace(told, environment=self._linked(document, host_config))
            # The file first, then netavark.
            self.known.store.connect(attachment)
            call = self._begin(attachment, descriptors[0])
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        making = _Making(self, lease, attachment, call, joined, bool(ports))
        return replace(told, descriptors=tuple(descriptors), finish=making.finish)

    def _begin(self, attachment: Attachment, namespace: int) -> Call:
        self.expect_resolver()
        try:
            return self.netavark.begin("setup", attachment, f"/proc/{os.getpid()}/fd/{namespace}")
        except BaseException:
            self.known.store.disconnect(attachment.container)
            raise

    def _joined(self, document: Mapping[str, Any], host_config: Mapping[str, Any]) -> list[Joined]:
        """Endpoints of all its networks, that of its NetworkMode first, as Docker numbers interfaces.

        The way out is through the one whose name comes first.
        """
        wanted: Mapping[str, Any] = document["NetworkSettings"].get("Networks") or {}
        first = network_name(host_config.get("NetworkMode"))
        names = sorted(wanted, key=lambda name: (name != first, name))
        metrics = {name: (place + 1) * METRIC_STEP for place, name in enumerate(sorted(wanted))}
        return [
            self._join(document, self.known.find(name), wanted[name] or {}, f"eth{number}", metrics[name])
            for number, name in enumerate(names)
        ]

    def _linked(self, document: Mapping[str, Any], host_config: Mapping[str, Any]) -> tuple[str, ...]:
        from onggi.engine.networks.link_environment import linked_environment

        return tuple(linked_environment(self._core, document, host_config))

    def _links(
        self, owner: str, host_config: Mapping[str, Any], joined: Sequence[Joined]
    ) -> list[tuple[str, str]]:
        """Lines of the hosts file: on the default bridge by HostConfig, elsewhere by the endpoint."""
        meant = {
            text: each.network
            for each in joined
            for text in (host_config if each.network.predefined else each.settings).get("Links") or ()
        }
        present = {each.container: each for each in self.known.store.endpoints() if self.is_live(each)}
        return list(link_lines(self._core, owner, meant, present))

    def joining(
        self,
        document: Mapping[str, Any],
        network: Network,
        settings: Mapping[str, Any],
        present: Attachment | None,
    ) -> Joined:
        """The endpoint of a further network of a container that runs. Raises AddressInUse, …"""
        networks = present.networks if present is not None else {}
        taken = {each["interface_name"] for each in networks.values()}
        interface = next(name for number in range(100) if (name := f"eth{number}") not in taken)
        metrics = {
            each.name: present.metric(each.id)
            for each in self.known.all()
            if present is not None and each.id in networks
        }
        return self._join(document, network, settings, interface, metric_between(network.name, metrics))

    def _join(
        self,
        document: Mapping[str, Any],
        network: Network,
        settings: Mapping[str, Any],
        interface: str,
        metric: int,
    ) -> Joined:
        """One endpoint, with addresses that nobody has. Raises AddressInUse, …"""
        id = str(document["ID"])
        others = [each for each in self.known.store.endpoints() if each.container != id]
        taken = [address for each in others for address in each.addresses(network.id)]
        addresses = tuple(given_addresses(network, settings.get("IPAMConfig") or {}, taken))
        wanted = settings.get("DesiredMacAddress") or document["Config"].get("MacAddress")
        hostname = str(document["Config"].get("Hostname") or id[:12])
        names = [id[:12], hostname, *(settings.get("Aliases") or ())] if network.resolves else []
        endpoint = Endpoint(
            network,
            interface,
            addresses,
            wanted or mac_of(addresses[0]),
            tuple(dict.fromkeys(names)),
            metric,
        )
        shown = {**settings, "Aliases": self.shown_aliases(document, network, settings)}
        return Joined(network, endpoint, random_id(), shown)

    def shown_aliases(
        self, document: Mapping[str, Any], network: Network, settings: Mapping[str, Any]
    ) -> list[str]:
        """Docker 20.10 counts the short id and the host's name among a container's aliases."""
        aliases = list(settings.get("Aliases") or ())
        if network.resolves and self._core.config.compat == "20.10":
            aliases += [str(document["ID"])[:12], str(document["Config"].get("Hostname") or "")]
        return list(dict.fromkeys(alias for alias in aliases if alias))

    def nameservers(self, stored: StoredContainer) -> list[str]:
        """Who resolves the names of a container's networks."""
        names = stored.document["NetworkSettings"].get("Networks") or {}
        return [
            subnet.router
            for network in self.known.all()
            if network.name in names and network.resolves
            for subnet in network.subnets
        ]

    def emit(self, network: Network, action: str, **attributes: str) -> None:
        """Write an event of a network to the journal."""
        said = {**attributes, "name": network.name, "type": network.driver}
        self._core.journal.append(Event("network", action, network.id, said, time.time_ns()))

    # --- what a start is told -------------------------------------------------------------------

    def _connection(
        self,
        document: Mapping[str, Any],
        joined: Sequence[Joined],
        ports: Sequence[PublishedPort],
        attachment: Attachment,
        links: Sequence[tuple[str, str]],
    ) -> Connection:
        config = document["Config"]
        sandbox = random_id()
        exposed = dict.fromkeys(sorted(config.get("ExposedPorts") or {}))
        settings = {
            "SandboxID": sandbox,
            "SandboxKey": str(running_directory(self._core.config.exec_root, document["ID"]) / NAMESPACE),
            "Ports": {**exposed, **shown_ports(ports)},
            "Networks": {each.network.name: endpoint_fields(each) for each in joined},
        }
        return Connection(
            addresses=(*links, *(line for each in joined for line in host_lines(each, config))),
            settings=settings,
            nameservers=tuple(
                subnet.router for each in joined if each.network.resolves for subnet in each.network.subnets
            ),
            gateway=next((subnet.router for each in joined for subnet in each.network.subnets), ""),
            ending=self._ending(attachment, joined),
        )

    def _ending(self, attachment: Attachment, joined: Sequence[Joined]) -> dict[str, Any]:
        """What its supervisor does at the end (runtime/supervisor/network.py)."""
        file = str(self.known.store.endpoint_path(attachment.container))
        return {
            "file": file,
            "lock": str(self._core.locks.path(LOCK)),
            "teardown": self.netavark.command("teardown"),
            "environment": self.netavark.environment,
            "resolver": self._resolver(joined),
        }

    def _resolver(self, joined: Sequence[Joined]) -> dict[str, Any] | None:
        """What its supervisor watches, when it is in a network with names."""
        command = self.netavark.resolver()
        if not command or not any(each.network.resolves for each in joined):
            return None
        return {"command": command, "directory": str(self.netavark.resolver_directory)}


class _Making:
    """Interfaces and rules on their way; holds the lock ``networks`` until they are there, or undone."""

    def __init__(
        self,
        networks: ContainerNetworks,
        lease: Lease,
        attachment: Attachment,
        call: Call,
        joined: Sequence[Joined],
        published: bool,
    ) -> None:
        self._networks = networks
        self._lease = lease
        self._attachment = attachment
        self._call: Call | None = call
        self._joined = joined
        self._published = published

    def finish(self) -> None:
        """Wait for netavark; what it left when it fails is taken back. Raises NetavarkFailed."""
        call, self._call = self._call, None
        if call is None:
            return
        with self._lease:
            try:
                call.finish()
                self._networks.keep_resolver()
                for each in self._joined:
                    set_bridge(each.network, published=self._published)
            except BaseException:
                self._networks.undo(self._attachment)
                self._networks.known.store.disconnect(self._attachment.container)
                raise
        for each in self._joined:
            self._networks.emit(each.network, "connect", container=self._attachment.container)
