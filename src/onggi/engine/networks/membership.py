"""``network connect`` and ``disconnect``: of containers that run, and of those that do not.

A running one gets, or loses, an interface in its namespace, a line of its hosts file, and entries
of the resolver; of one that does not run only its file changes.

What is in the container's endpoint file (network/store.py) and not in config.v2.json was begun by
somebody who was killed: config.v2.json is the last to get a network, and the first to lose it. The
next command about the container's networks undoes it, or the container's end.
"""

from __future__ import annotations

from collections.abc import Mapping

from onggi.engine.containers.network_files import resolv_conf
from onggi.engine.containers.networking import absent_endpoint
from onggi.engine.containers.running import is_running
from onggi.engine.core import Core
from onggi.engine.networks.attaching import ContainerNetworks
from onggi.engine.networks.endpoint import Joined, endpoint_fields, host_lines, own_names
from onggi.engine.networks.known import NetworkNotFound
from onggi.errors import Conflict, Forbidden
from onggi.network.model import Network
from onggi.network.netavark import Attachment, NetavarkFailed, set_bridge
from onggi.runtime.namespaces import shared_container
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Membership"]


class Membership:
    """Who is in which network; inside :meth:`Core.writing`."""

    def __init__(self, core: Core, attaching: ContainerNetworks) -> None:
        self._core = core
        self._attaching = attaching
        self._store = attaching.known.store

    def connect(self, network: Network, stored: StoredContainer, settings: Mapping[str, Any]) -> None:
        """Raises Conflict, AddressInUse, NetavarkFailed."""
        with self._attaching.lease():
            self._settle(stored)
            _check_joinable(network, stored)
            wanted = {
                **settings,
                "Aliases": self._attaching.shown_aliases(stored.document, network, settings),
            }
            if is_running(self._core, stored):
                self._enter(network, stored, wanted)
            elif network.name in _networks(stored):
                raise Forbidden(_already(stored, network))
            else:
                self._note(stored.id, network, absent_endpoint(wanted))

    def noted_for_later(self, name: str, stored: StoredContainer, settings: Mapping[str, Any]) -> bool:
        """Docker 20.10 looks for a stopped container's networks when it starts; True: written down."""
        if self._core.config.compat != "20.10" or is_running(self._core, stored):
            return False
        asked = {**absent_endpoint(settings), "Aliases": settings["Aliases"]}
        self._note(stored.id, Network("", name, "bridge", ""), asked)
        return True

    def disconnect(self, word: str, stored: StoredContainer) -> None:
        """Raises Conflict, NetworkNotFound. A network that is gone already may still be named."""
        with self._attaching.lease():
            self._settle(stored)
            network = self._known(word, stored)
            if stored.host_config.get("NetworkMode") == "host":
                raise Forbidden(
                    "container cannot be disconnected from host network or connected to host network"
                )
            running = is_running(self._core, stored)
            if network.name not in _networks(stored):
                the = "" if running else "the "
                raise Forbidden(f"container {stored.id} is not connected to {the}network {network.name}")
            if running:
                self._leave(network, stored)
            else:
                self._note(stored.id, network, None)

    def _known(self, word: str, stored: StoredContainer) -> Network:
        try:
            return self._attaching.known.find(word)
        except NetworkNotFound:
            if word not in _networks(stored):
                raise
            return Network("", word, "bridge", "")

    # --- of a running container ---------------------------------------------------------------

    def _enter(self, network: Network, stored: StoredContainer, settings: Mapping[str, Any]) -> None:
        present = self._store.endpoint(stored.id)
        if network.name in _networks(stored):
            raise Forbidden(_already(stored, network))
        joined = self._attaching.joining(stored.document, network, settings, present)
        servers = stored.host_config.get("Dns") or ()
        fresh = Attachment.of(stored.id, stored.name, [joined.endpoint], (), servers)
        self._store.connect(fresh if present is None else present.joined(fresh))
        try:
            self._attaching.plug(fresh, self._namespace(stored))
        except BaseException:
            self._tear_down(fresh, stored)
            self._restore(stored.id, present)
            raise
        set_bridge(network, published=False)
        self._tell(stored, joined)
        self._note(stored.id, network, endpoint_fields(joined))
        self._tell_servers(stored)
        self._attaching.emit(network, "connect", container=stored.id)

    def _leave(self, network: Network, stored: StoredContainer) -> None:
        self._note(stored.id, network, None)
        self._undo(network.id, stored)
        self._attaching.emit(network, "disconnect", container=stored.id)

    def _undo(self, id: str, stored: StoredContainer) -> None:
        present = self._store.endpoint(stored.id)
        addresses: list[str] = []
        if present is not None and id in present.networks:
            addresses = list(present.addresses(id))
            self._tear_down(present.only(id), stored)
            self._restore(stored.id, present.without(id))
        self._untell(stored, addresses)

    def _settle(self, stored: StoredContainer) -> None:
        """Undo what was begun and not ended."""
        present = self._store.endpoint(stored.id)
        now = self._core.containers.get(stored.id)
        if present is None or now is None or not is_running(self._core, now):
            return
        for id, name in present.document["names"].items():
            if name not in _networks(now):
                self._undo(id, now)

    def _restore(self, id: str, attachment: Attachment | None) -> None:
        if attachment is None or not attachment.networks:
            self._store.disconnect(id)
        else:
            self._store.connect(attachment)

    def _tear_down(self, attachment: Attachment, stored: StoredContainer) -> None:
        """Names first, while the bridge is there for sure; then the interface."""
        self._attaching.forget(attachment, self._namespace(stored))
        try:
            self._attaching.netavark.run("teardown", attachment.nameless(), self._namespace(stored))
        except NetavarkFailed:
            return  # what was there has been taken back; netavark tells of what was not

    def _namespace(self, stored: StoredContainer) -> str:
        return f"/proc/{stored.state['Pid']}/ns/net"

    # --- what it gets to see ------------------------------------------------------------------

    def _note(self, id: str, network: Network, endpoint: dict[str, Any] | None) -> None:
        def change(document: dict[str, Any]) -> None:
            networks = document["NetworkSettings"].get("Networks") or {}
            networks.pop(network.name, None)
            if endpoint is not None:
                networks[network.name] = endpoint
            document["NetworkSettings"]["Networks"] = dict(sorted(networks.items()))

        self._core.containers.update(id, change)

    def _tell(self, stored: StoredContainer, joined: Joined) -> None:
        """Its own name in its hosts file."""
        lines = [f"{address}\t{names}\n" for address, names in host_lines(joined, stored.config)]
        self._core.containers.write_file(stored.id, "hosts", self._hosts(stored.id) + "".join(lines).encode())

    def _tell_servers(self, stored: StoredContainer) -> None:
        """Once a container has been in a network that resolves names, its networks' resolvers are asked."""
        now = self._core.containers.get(stored.id)
        servers = [] if now is None else self._attaching.nameservers(now)
        if servers:
            text = resolv_conf(stored.host_config, servers)
            self._core.containers.write_file(stored.id, "resolv.conf", text)

    def _untell(self, stored: StoredContainer, addresses: list[str]) -> None:
        """That network's line goes; Docker 20.10 takes the name, and so its lines of all networks."""
        names = own_names(stored.config) if self._core.config.compat == "20.10" else None

        def goes(line: bytes) -> bool:
            address, _, said = line.decode("utf-8", "replace").rstrip("\n").partition("\t")
            return address in addresses or said == names

        kept = [line for line in self._hosts(stored.id).splitlines(keepends=True) if not goes(line)]
        self._core.containers.write_file(stored.id, "hosts", b"".join(kept))
        self._tell_servers(stored)

    def _hosts(self, id: str) -> bytes:
        try:
            return (self._core.containers.path(id) / "hosts").read_bytes()
        except FileNotFoundError:
            return b""


def _networks(stored: StoredContainer) -> Mapping[str, Any]:
    networks: Mapping[str, Any] = stored.document["NetworkSettings"].get("Networks") or {}
    return networks


def _already(stored: StoredContainer, network: Network) -> str:
    return f"endpoint with name {stored.name} already exists in network {network.name}"


def _check_joinable(network: Network, stored: StoredContainer) -> None:
    """Docker's rules of which networks go together. Raises Conflict."""
    mode = stored.host_config.get("NetworkMode")
    if mode == "host" or shared_container(mode) is not None:
        raise Conflict(
            "container sharing network namespace with another container or host cannot be connected to any "
            "other network"
        )
    if network.name == "host":
        raise Conflict("container cannot be disconnected from host network or connected to host network")
    if network.name == "none" or "none" in _networks(stored):
        raise Conflict(
            "container cannot be connected to multiple networks with one of the networks in private (none) "
            "mode"
        )
