"""One container in one network: which addresses, and what inspect and the hosts file say of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from onggi.engine.containers.networking import absent_endpoint
from onggi.errors import InvalidArgument
from onggi.network.ipam import allocate, subnet_of
from onggi.network.model import Network
from onggi.network.netavark import Endpoint
from onggi.network.ports import PublishedPort
from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "METRIC_STEP",
    "Joined",
    "endpoint_fields",
    "given_addresses",
    "host_lines",
    "metric_between",
    "network_name",
    "own_names",
    "published_bindings",
    "shown_ports",
]

METRIC_STEP = 1 << 16
"""Between the ways out of a container with several networks: others find a place there later."""


@record
class Joined:
    """One network of a container, as it is now."""

    network: Network
    endpoint: Endpoint
    id: str
    settings: Mapping[str, Any]


def network_name(mode: str | None) -> str:
    """The name of the network that a NetworkMode means."""
    return "bridge" if mode in (None, "", "default") else str(mode)


def metric_between(name: str, present: Mapping[str, int]) -> int:
    """A metric for a network among those that are there: the order is that of their names."""
    before = [metric for other, metric in present.items() if other < name]
    after = [metric for other, metric in present.items() if other > name]
    if not after:
        return max(before, default=0) + METRIC_STEP
    return (max(before, default=0) + min(after)) // 2


def published_bindings(
    document: Mapping[str, Any], host_config: Mapping[str, Any]
) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Docker's PortBindings; with PublishAllPorts every exposed port that has none, too."""
    bindings = dict(host_config.get("PortBindings") or {})
    if host_config.get("PublishAllPorts"):
        exposed: Mapping[str, Any] = document["Config"].get("ExposedPorts") or {}
        bindings = {**{port: ({},) for port in exposed}, **bindings}
    return bindings


def given_addresses(network: Network, wanted: Mapping[str, Any], taken: Collection[str]) -> list[str]:
    """One address of each family that the network has."""
    asked = {32: wanted.get("IPv4Address") or "", 128: wanted.get("IPv6Address") or ""}
    if any(asked.values()) and not network.own_subnets:
        raise InvalidArgument(
            "user specified IP address is supported on user defined networks only"
            if network.predefined
            else "user specified IP address is supported only when connecting to networks with user "
            "configured subnets",
            hint="onggi network create --subnet …",
        )
    found: dict[int, str] = {}
    for bits, address in asked.items():
        if address:
            found[bits] = allocate(network, subnet_of(network, address), taken, address)
    for subnet in network.subnets:
        bits = subnet.prefix.bits
        if bits not in found and (bits == 32 or network.ipv6):
            found[bits] = allocate(network, subnet, taken)
    return [found[bits] for bits in sorted(found)]


def shown_ports(ports: Sequence[PublishedPort]) -> dict[str, list[dict[str, str]]]:
    shown: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        shown.setdefault(port.inside, []).append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
    return dict(sorted(shown.items()))


def host_lines(joined: Joined, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the hosts file says of a container's own addresses in a network."""
    return [(address, own_names(config)) for address in joined.endpoint.addresses]


def own_names(config: Mapping[str, Any]) -> str:
    """A container's own names, as a line of the hosts file has them."""
    host, domain = str(config.get("Hostname") or ""), str(config.get("Domainname") or "")
    return f"{host}.{domain} {host}" if domain else host


def endpoint_fields(joined: Joined) -> dict[str, Any]:
    """Docker's EndpointSettings of a container that runs."""
    network, endpoint = joined.network, joined.endpoint
    fields = {
        **absent_endpoint(joined.settings),
        "NetworkID": network.id,
        "EndpointID": joined.id,
        "MacAddress": endpoint.mac,
    }
    for address in endpoint.addresses:
        subnet = next(each for each in network.subnets if each.prefix.holds(address))
        four = subnet.prefix.bits == 32
        names = ("IPAddress", "IPPrefixLen", "Gateway") if four else _SIX
        fields.update(zip(names, (address, subnet.prefix.length, subnet.router), strict=True))
    return fields


_SIX = ("GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway")
