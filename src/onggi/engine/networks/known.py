"""Which networks there are: those that were made, and Docker's three that always are."""

from __future__ import annotations

from collections.abc import Iterable
from time import time_ns

from onggi.config import Config
from onggi.engine.containers.networking import predefined_id
from onggi.engine.core import Core
from onggi.errors import InvalidArgument, NotFound
from onggi.network.addresses import Prefix
from onggi.network.bridges import remove_stray
from onggi.network.ipam import DEFAULT_POOLS, free_subnet, host_routes
from onggi.network.model import BRIDGE_NAME, PREDEFINED, Network, Subnet
from onggi.network.netavark import Netavark
from onggi.network.store import NetworkStore
from onggi.oci.timestamps import format_ns
from onggi.record import replace

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AmbiguousNetwork", "KnownNetworks", "NetworkNotFound", "network_drivers"]

_DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}


def network_drivers() -> list[str]:
    """Those that work here: Docker's names."""
    return sorted({"host", "null"} | ({"bridge", "macvlan"} if Netavark.find("netavark") else set()))


class NetworkNotFound(NotFound):
    """No network has this name or id."""

    def __init__(self, name: str) -> None:
        super().__init__(f"network {name} not found", hint="'onggi network ls' lists what is here")
        self.name = name


class AmbiguousNetwork(InvalidArgument):
    """More than one id begins like this."""

    def __init__(self, prefix: str, count: int) -> None:
        super().__init__(f"network {prefix} is ambiguous ({count} matches found based on ID prefix)")


class KnownNetworks:
    """Networks of a data root, read anew by each call."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.store = NetworkStore(core.layout.own, core.locks)

    def all(self) -> list[Network]:
        """Every network, Docker's three first."""
        made = list(self.store.all())
        known = {network.id for network in made}
        return [*(each for each in self._predefined(made) if each.id not in known), *made]

    def find(self, word: str) -> Network:
        """By id, name, or the beginning of one id. Raises NetworkNotFound, AmbiguousNetwork."""
        networks = self.all()
        exact = [network for network in networks if network.id == word]
        exact += [network for network in networks if network.name == word]
        if exact:
            return exact[0]
        matches = [network for network in networks if word and network.id.startswith(word)]
        if len(matches) > 1:
            raise AmbiguousNetwork(word, len(matches))
        if not matches:
            raise NetworkNotFound(word)
        return matches[0]

    def named(self, name: str) -> Network | None:
        """By its name alone."""
        return next((network for network in self.all() if network.name == name), None)

    # --- Docker's three -----------------------------------------------------------------------

    def _predefined(self, made: list[Network]) -> Iterator[Network]:
        for name in PREDEFINED:
            if name == "bridge":
                if self._core.config.bridge != "none":
                    yield self._bridge(made)
            else:
                yield Network(predefined_id(self._core.layout.root, name), name, _DRIVERS[name], self._epoch)

    @property
    def _epoch(self) -> str:
        """Since when they are there: since the data root is."""
        try:
            return format_ns((self._core.layout.root / "engine-id").stat().st_mtime_ns)
        except OSError:
            return format_ns(time_ns())

    def _bridge(self, made: Iterable[Network]) -> Network:
        config = self._core.config
        options = {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": config.ip or "0.0.0.0",  # noqa: S104  Docker's default
            BRIDGE_NAME: config.bridge or self._own_bridge(),
            "com.docker.network.driver.mtu": str(config.mtu or 1500),
        }
        id = predefined_id(self._core.layout.root, "bridge")
        return Network(id, "bridge", "bridge", self._epoch, (self._bridge_subnet(made),), options=options)

    def _own_bridge(self) -> str:
        """Data roots know nothing of each other's addresses, so each has an interface of its own."""
        root = self._core.layout.root
        return "onggi0" if root == Config().data_root else f"onggi-{predefined_id(root, 'bridge')[:8]}"

    def _bridge_subnet(self, made: Iterable[Network]) -> Subnet:
        if self._core.config.bip:
            address, _, _ = self._core.config.bip.partition("/")
            return Subnet(str(Prefix.parse(self._core.config.bip)), gateway=address)
        return Subnet(str(self.free_subnet(made)))

    def free_subnet(self, networks: Iterable[Network]) -> Prefix:
        """A range that no network and no route of the host has. Raises NoFreePool."""
        taken = [subnet.prefix for network in networks for subnet in network.subnets]
        return free_subnet(self._core.config.default_address_pools or DEFAULT_POOLS, [*taken, *host_routes()])

    def settle_bridge(self) -> None:
        """Write the default bridge network down, so that its addresses stay. Under the lock of networks.

        A bridge of its name with another address goes, unless somebody uses it.
        """
        if self._core.config.bridge == "none":
            return
        made = list(self.store.all())
        id = predefined_id(self._core.layout.root, "bridge")
        stored = next((network for network in made if network.id == id), None)
        wanted = self._bridge([network for network in made if network.id != id])
        if stored is not None and not self._core.config.bip:
            wanted = replace(wanted, subnets=stored.subnets)
        if stored is None or stored != wanted:
            self.store.write(wanted)
        remove_stray(wanted.interface, wanted.subnets[0].router)
