"""Which ranges and addresses are given."""

from __future__ import annotations

import pytest

from onggi.errors import Conflict, InvalidArgument, ResourceExhausted
from onggi.network.addresses import Prefix
from onggi.network.ipam import (
    DEFAULT_POOLS,
    AddressInUse,
    NoFreePool,
    allocate,
    check_overlap,
    free_subnet,
    subnet_of,
)
from onggi.network.model import Network, Subnet


def _network(*subnets: Subnet) -> Network:
    return Network("ab" * 32, "n", "bridge", "", subnets)


def test_networks_get_docker_s_ranges_one_after_the_other() -> None:
    taken: list[Prefix] = []
    for _ in range(17):
        taken.append(free_subnet(DEFAULT_POOLS, taken))
    assert [str(each) for each in (taken[0], taken[1], taken[14], taken[15], taken[16])] == [
        "172.17.0.0/16",
        "172.18.0.0/16",
        "172.31.0.0/16",
        "192.168.0.0/20",
        "192.168.16.0/20",
    ]


def test_what_the_host_routes_is_passed_over_and_pools_end() -> None:
    assert str(free_subnet(DEFAULT_POOLS, [Prefix.parse("172.17.8.0/24")])) == "172.18.0.0/16"
    with pytest.raises(NoFreePool):
        free_subnet([("10.0.0.0/24", 24)], [Prefix.parse("10.0.0.128/25")])


def test_overlap_names_the_network() -> None:
    with pytest.raises(Conflict, match="Pool overlaps") as caught:
        check_overlap(Prefix.parse("10.1.0.0/24"), [_network(Subnet("10.0.0.0/8"))])
    assert caught.value.hint == "network n has 10.0.0.0/8"


def test_the_lowest_free_address_is_given() -> None:
    subnet = Subnet("10.0.0.0/29", auxiliary={"router": "10.0.0.3"})
    network = _network(subnet)
    taken: list[str] = []
    for _ in range(4):
        taken.append(allocate(network, subnet, taken))
    # Neither the network's own, nor the gateway's, nor everybody's.
    assert taken == ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    with pytest.raises(ResourceExhausted, match="no available IPv4 addresses"):
        allocate(network, subnet, taken)
    assert allocate(network, subnet, taken[1:]) == "10.0.0.2"


def test_a_part_of_a_range_and_the_gateway_that_follows_from_it() -> None:
    subnet = Subnet("10.0.0.0/16", ip_range="10.0.5.0/24")
    assert subnet.router == "10.0.5.0"
    assert allocate(_network(subnet), subnet, []) == "10.0.5.1"
    assert Subnet("10.0.0.0/16").router == "10.0.0.1"
    assert Subnet("fd00::/64").router == "fd00::1"


def test_an_address_that_was_asked_for() -> None:
    subnet = Subnet("10.0.0.0/24")
    network = _network(subnet)
    assert allocate(network, subnet, [], "10.0.0.9") == "10.0.0.9"
    for taken, wanted in ((["10.0.0.9"], "10.0.0.9"), ([], "10.0.0.1")):
        with pytest.raises(AddressInUse):
            allocate(network, subnet, taken, wanted)
    with pytest.raises(InvalidArgument, match="It does not belong to any of this network's subnets"):
        subnet_of(network, "10.0.1.9")


def test_a_network_survives_its_file() -> None:
    network = Network(
        id="ab" * 32,
        name="n",
        driver="bridge",
        created="2024-01-01T00:00:00Z",
        subnets=(Subnet("10.0.0.0/24", "10.0.0.1", "10.0.0.0/25", {"a": "10.0.0.2"}), Subnet("fd00::/64")),
        ipv6=True,
        internal=True,
        attachable=True,
        options={"com.docker.network.bridge.name": "b0"},
        labels={"a": "b"},
        ipam_options={},
        own_subnets=True,
    )
    assert Network.from_file(network.to_file()) == network
    assert network.interface == "b0" and network.resolves
