"""Which ranges networks get, and which addresses containers: Docker's rules.

A network without addresses of its own gets the first range of the pools that overlaps neither
another network nor a route of the host. A container gets the lowest address that is free.

Source: moby ``libnetwork/ipamutils/utils.go`` (pools), ``libnetwork/ipam/allocator.go``.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from onggi.errors import Conflict, InvalidArgument, ResourceExhausted
from onggi.network.addresses import Prefix, address_text, parse_address
from onggi.network.model import Network, Subnet

__all__ = ["AddressInUse", "NoFreePool", "allocate", "check_overlap", "free_subnet", "host_routes"]

# Range to take from, and the length of each network's part.
DEFAULT_POOLS: tuple[tuple[str, int], ...] = (
    *((f"172.{number}.0.0/16", 16) for number in range(17, 32)),
    ("192.168.0.0/16", 20),
)
_ROUTES = Path("/proc/net/route")


class NoFreePool(ResourceExhausted):
    """Every range is taken."""

    def __init__(self) -> None:
        super().__init__(
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to "
            "the network",
            hint="remove networks, choose a --subnet, or give more default-address-pools in daemon.json",
        )


class AddressInUse(Conflict):
    """Somebody has it."""

    def __init__(self) -> None:
        super().__init__("Address already in use")


def host_routes() -> list[Prefix]:
    """Networks that the host reaches by a route of their own (IPv4)."""
    try:
        lines = _ROUTES.read_text().splitlines()[1:]
    except OSError:
        return []
    return [route for line in lines if (route := _route(line.split())) is not None]


def _route(fields: Sequence[str]) -> Prefix | None:
    """Of a line of ``/proc/net/route``: numbers are in the host's byte order."""
    destination, mask = (_native(fields[index]) for index in (1, 7))
    length = mask.bit_count()
    return Prefix(destination, length, 32) if length else None


def _native(text: str) -> int:
    return int.from_bytes(struct.pack("=I", int(text, 16)), "big")


def free_subnet(pools: Iterable[tuple[str, int]], taken: Collection[Prefix]) -> Prefix:
    """The first part of the pools that overlaps nothing. Raises NoFreePool, InvalidAddress."""
    for candidate in _candidates(pools):
        if not any(candidate.overlaps(other) for other in taken):
            return candidate
    raise NoFreePool


def _candidates(pools: Iterable[tuple[str, int]]) -> Iterator[Prefix]:
    for text, length in pools:
        pool = Prefix.parse(text)
        for base in range(pool.base, pool.last + 1, 1 << (pool.bits - length)):
            yield Prefix(base, length, pool.bits)


def check_overlap(subnet: Prefix, networks: Iterable[Network]) -> None:
    """Raises Conflict when another network has some of the addresses."""
    for network in networks:
        for other in network.subnets:
            if subnet.overlaps(other.prefix):
                raise Conflict(
                    "Pool overlaps with other one on this address space",
                    hint=f"network {network.name} has {other.subnet}",
                )


def allocate(network: Network, subnet: Subnet, taken: Collection[str], wanted: str = "") -> str:
    """An address for a container; ``taken`` are those of others.

    Raises AddressInUse, InvalidArgument (``wanted`` is not of this network), ResourceExhausted.
    """
    reserved = {*taken, subnet.router, *subnet.auxiliary.values()}
    if wanted:
        if wanted in reserved:
            raise AddressInUse
        return wanted
    numbers = {parse_address(address)[0] for address in reserved}
    whole = subnet.prefix
    chosen = Prefix.parse(subnet.ip_range) if subnet.ip_range else whole
    # The first address names the network, the last one of IPv4 means everybody in it.
    last = chosen.last - (whole.bits == 32 and chosen.last == whole.last)
    for number in range(max(chosen.base, whole.base + 1), last + 1):
        if number not in numbers:
            return address_text(number, whole.bits)
    raise ResourceExhausted(
        f"no available {'IPv4' if whole.bits == 32 else 'IPv6'} addresses on this network's address pools: "
        f"{network.name} ({network.id})"
    )


def subnet_of(network: Network, address: str) -> Subnet:
    """The subnet that a wanted address belongs to. Raises InvalidArgument."""
    for subnet in network.subnets:
        if subnet.prefix.holds(address):
            return subnet
    raise InvalidArgument(
        f"Invalid address {address}: It does not belong to any of this network's subnets",
        hint="it has " + ", ".join(subnet.subnet for subnet in network.subnets),
    )
