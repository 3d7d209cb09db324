"""User-defined networks: names, isolation, several networks of one container, what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

import onggi
from onggi.engine.containers.container import Container
from onggi.engine.networks.known import NetworkNotFound
from onggi.engine.networks.networks import NetworkInUse
from onggi.errors import Conflict, Forbidden, InvalidArgument, NotFound, OnggiError, Unsupported
from onggi.network.ipam import AddressInUse
from onggi.network.model import Subnet
from onggi.network.netavark import NetavarkFailed
from onggi.runtime.supervisor.resolver import resolver_pid
from tests.engine.networks.conftest import endpoints, links
from tests.peers.processes import require, wait_until

pytestmark = pytest.mark.xdist_group("networks")


def _said(container: Container, *words: str) -> str:
    return container.exec(words).communicate().stdout.decode()


def _reaches(container: Container, name: str) -> bool:
    return container.exec(["timeout", "3", "ping", "-c", "1", "-W", "1", name]).wait() == 0


def _finds(container: Container, name: str) -> bool:
    """aardvark-dns, told of somebody else, may lose a question: it is asked again."""
    wait_until(lambda: _reaches(container, name), f"the way to {name}", timeout_s=15)
    return True


def _run(engine: onggi.Engine, network: str, name: str = "", **settings: object) -> Container:
    from onggi.engine.containers.create import CreateRequest

    request = CreateRequest(
        {"Image": "box", "Cmd": ["sleep", "1000"]},
        {"NetworkMode": network},
        name,
        {network: settings} if settings else {},
    )
    container = engine.containers.get(engine.containers.create_as(request).id)
    container.start()
    return container


def _addresses(container: Container) -> dict[str, str]:
    networks = container.inspect()["NetworkSettings"]["Networks"]
    return {name: endpoint["IPAddress"] for name, endpoint in networks.items()}


def test_containers_find_each_other_by_every_name(engine: onggi.Engine) -> None:
    network = engine.networks.create("named", subnets=[Subnet("10.77.0.0/24")])
    server = _run(engine, "named", "server", Aliases=["web"], IPAMConfig={"IPv4Address": "10.77.0.50"})
    client = _run(engine, "named")
    for name in ("server", "web", server.short_id):
        assert _finds(client, name)
        assert "10.77.0.50" in _said(client, "nslookup", name, "10.77.0.1")
    assert _said(client, "cat", "/etc/resolv.conf") == "nameserver 10.77.0.1\noptions ndots:0\n"
    wait_until(lambda: "NXDOMAIN" in _said(client, "nslookup", "nobody"), "the answer")
    shown = engine.networks.inspect("named")["Containers"][server.id]
    assert (shown["Name"], shown["IPv4Address"]) == ("server", "10.77.0.50/24")
    with pytest.raises(NetworkInUse):
        engine.networks.remove(network.id[:8])
    # A name goes with its container.
    server.remove(force=True)
    wait_until(lambda: "10.77.0.50" not in _said(client, "nslookup", "web"), "the name's end")


def test_a_new_name_is_found_at_once_and_the_old_one_no_more(engine: onggi.Engine) -> None:
    for network in ("named", "second"):
        engine.networks.create(network)
    server = _run(engine, "named", "before", Aliases=["web"])
    engine.networks.connect("second", "before", aliases=["before"])
    first, second = _run(engine, "named"), _run(engine, "second")
    assert _finds(first, "before")
    server.rename("after")
    assert _finds(first, "after")
    assert _finds(first, "web")
    wait_until(lambda: "NXDOMAIN" in _said(first, "nslookup", "before"), "the old name's end")
    assert _finds(second, "after")
    assert _finds(second, "before"), "an alias stays, whatever else was called so"
    server.remove(force=True)
    wait_until(lambda: "NXDOMAIN" in _said(first, "nslookup", "after"), "the new name's end")


def test_networks_are_closed_to_each_other(engine: onggi.Engine) -> None:
    engine.networks.create("left")
    engine.networks.create("right")
    engine.networks.create("inside", internal=True)
    left, right, inside = (_run(engine, name, f"in-{name}") for name in ("left", "right", "inside"))
    neighbour = _run(engine, "inside")
    assert not _reaches(left, _addresses(right)["right"])
    assert not _reaches(left, "in-right")
    assert not _reaches(left, _addresses(inside)["inside"])
    assert _finds(neighbour, "in-inside")
    assert "default" not in _said(inside, "ip", "route")
    outside = engine.containers.run("box", ["sleep", "1000"])
    assert not _reaches(outside, _addresses(left)["left"])


def test_containers_of_a_network_without_icc_reach_the_gateway_alone(engine: onggi.Engine) -> None:
    network = engine.networks.create("apart", options={"com.docker.network.bridge.enable_icc": "false"})
    one, other = _run(engine, "apart"), _run(engine, "apart")
    assert not _reaches(one, _addresses(other)["apart"])
    assert _reaches(one, network.subnets[0].router)


def test_going_in_and_out_of_networks(engine: onggi.Engine) -> None:
    engine.networks.create("first", subnets=[Subnet("10.78.0.0/24")])
    engine.networks.create("second", subnets=[Subnet("10.79.0.0/24")])
    both = _run(engine, "second", "both")
    neighbour = _run(engine, "first", "neighbour")
    engine.networks.connect("first", "both", ip="10.78.0.9", aliases=["extra"])
    assert _addresses(both) == {"first": "10.78.0.9", "second": "10.79.0.2"}
    assert _finds(neighbour, "extra") and _finds(both, "neighbour")
    # As Docker's: the way out is through the network whose name is first.
    assert _said(both, "ip", "route").splitlines()[0].startswith("default via 10.78.0.1 dev eth1")
    assert f"10.78.0.9\t{both.short_id}\n" in _said(both, "cat", "/etc/hosts")
    with pytest.raises(Forbidden, match="endpoint with name both already exists in network first"):
        engine.networks.connect("first", "both")
    engine.networks.disconnect("second", "both")
    assert _addresses(both) == {"first": "10.78.0.9"}
    assert "10.79." not in _said(both, "cat", "/etc/hosts", "/etc/resolv.conf")
    assert "eth0" not in _said(both, "ip", "link")
    with pytest.raises(Forbidden, match="is not connected to network second"):
        engine.networks.disconnect("second", "both")
    # What was said of it holds for its next start.
    both.restart(0)
    assert _addresses(both) == {"first": "10.78.0.9"}
    assert both.inspect()["NetworkSettings"]["Networks"]["first"]["Aliases"] == ["extra"]
    assert _reaches(neighbour, "extra")


def test_a_stopped_container_joins_at_its_start(engine: onggi.Engine) -> None:
    engine.networks.create("later")
    container = engine.containers.create("box", ["sleep", "1000"], name="sleeper")
    engine.networks.connect("later", "sleeper", aliases=["dozer"])
    container.start()
    assert sorted(_addresses(container)) == ["bridge", "later"]
    assert _finds(_run(engine, "later"), "dozer")
    container.stop(0)
    engine.networks.disconnect("later", "sleeper")
    assert sorted(_addresses(container)) == ["bridge"]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("none", r"one of the networks in private \(none\) mode"),
        ("host", "container sharing network namespace with another container or host"),
    ],
)
def test_modes_that_go_with_no_network(engine: onggi.Engine, mode: str, words: str) -> None:
    engine.networks.create("more")
    container = engine.containers.create("box", ["true"], network=mode)
    with pytest.raises(Conflict, match=words):
        engine.networks.connect("more", container.id)


def test_addresses_that_cannot_be_had(engine: onggi.Engine) -> None:
    engine.networks.create("chosen", subnets=[Subnet("10.80.0.0/24")])
    engine.networks.create("given")
    for network, address, error, words in (
        ("chosen", "10.80.0.1", AddressInUse, "Address already in use"),
        ("chosen", "10.81.0.1", InvalidArgument, "It does not belong to any of this network's subnets"),
        ("given", "172.18.0.9", InvalidArgument, "only when connecting to networks with user configured"),
        ("bridge", "172.29.0.9", InvalidArgument, "supported on user defined networks only"),
    ):
        with pytest.raises(error, match=words):
            _run(engine, network, IPAMConfig={"IPv4Address": address})


def test_a_network_that_is_gone(engine: onggi.Engine) -> None:
    engine.networks.create("fleeting")
    container = engine.containers.create("box", ["true"], network="fleeting")
    engine.networks.remove("fleeting")
    with pytest.raises(NetworkNotFound, match="network fleeting not found"):
        container.start()
    engine.networks.disconnect("fleeting", container.id)
    assert _addresses(container) == {}


def test_ipv6(engine: onggi.Engine) -> None:
    engine.networks.create("six", ipv6=True, subnets=[Subnet("fd00:77::/64")])
    server, client = _run(engine, "six", "server6"), _run(engine, "six")
    endpoint = server.inspect()["NetworkSettings"]["Networks"]["six"]
    assert (endpoint["GlobalIPv6Address"], endpoint["IPv6Gateway"]) == ("fd00:77::2", "fd00:77::1")
    wait_until(lambda: "fd00:77::2" in _said(client, "nslookup", "server6"), "the name")
    wait_until(lambda: client.exec(["ping6", "-c1", "-W1", "fd00:77::2"]).wait() == 0, "the way by IPv6")


def test_what_is_refused(engine: onggi.Engine) -> None:
    for error, words, name, options in (
        (Forbidden, "operation is not permitted on predefined host network", "host", {}),
        (Unsupported, "This node is not a swarm manager", "x", {"driver": "overlay"}),
        (Unsupported, "ipvlan is not supported", "x", {"driver": "ipvlan"}),
        (InvalidArgument, 'plugin "foo" not found', "x", {"driver": "foo"}),
        (Unsupported, "cannot create a swarm scoped network", "x", {"scope": "swarm"}),
        (Conflict, "Pool overlaps", "x", {"subnets": [Subnet("172.29.0.0/28")]}),
        (InvalidArgument, "invalid network name", "a b", {}),
    ):
        with pytest.raises(error, match=words):
            engine.networks.create(name, **options)
    with pytest.raises(Forbidden, match="bridge is a pre-defined network and cannot be removed"):
        engine.networks.remove("bridge")
    with pytest.raises(Conflict, match="network with name twice already exists"):
        engine.networks.create("twice")
        engine.networks.create("twice")
    assert [network.name for network in engine.networks.list()] == ["bridge", "host", "none", "twice"]


def test_macvlan_stands_on_an_interface_of_the_host(engine: onggi.Engine) -> None:
    ip = require("ip")
    subprocess.run([ip, "link", "add", "onggi-a", "type", "veth", "peer", "name", "onggi-b"], check=True)
    try:
        for end in ("onggi-a", "onggi-b"):
            subprocess.run([ip, "link", "set", end, "up"], check=True)
        try:
            engine.networks.create(
                "lan", driver="macvlan", subnets=[Subnet("10.82.0.0/24")], options={"parent": "onggi-a"}
            )
        except Unsupported as error:
            pytest.skip(f"macvlan interfaces are not available here: {error}")
        one, other = _run(engine, "lan"), _run(engine, "lan")
        assert _addresses(one) == {"lan": "10.82.0.2"}
        assert _reaches(one, _addresses(other)["lan"])
        with pytest.raises(Unsupported):
            engine.networks.create("lost", driver="macvlan", options={"parent": "no-such"})
        for container in (one, other):
            container.remove(force=True)
    finally:
        subprocess.run([ip, "link", "del", "onggi-a"], check=True)


def test_a_killed_supervisor_s_names_are_forgotten(engine: onggi.Engine) -> None:
    engine.networks.create("fragile")
    lost = _run(engine, "fragile", "lost")
    key = lost.inspect()["NetworkSettings"]["SandboxKey"]
    os.kill(int(os.readlink(key).split("/")[2]), signal.SIGKILL)
    wait_until(lambda: not lost.running, "the supervisor's end")
    client = _run(engine, "fragile")
    assert not _reaches(client, "lost")
    assert lost.exit_code == 137
    client.remove(force=True)
    assert engine.networks.prune() == ["fragile"]


def test_events_of_networks(engine: onggi.Engine) -> None:
    import time

    since = time.time()
    network = engine.networks.create("told")
    container = _run(engine, "told")
    container.remove(force=True)
    engine.networks.remove("told")
    events = [event for event in engine.events.read(since=since, follow=False) if event.type == "network"]
    assert [event.action for event in events] == ["create", "connect", "disconnect", "destroy"]
    assert events[1].attributes == {"container": container.id, "name": "told", "type": "bridge"}
    assert {event.id for event in events} == {network.id}


def test_what_netavark_refuses_is_told_and_taken_back(engine: onggi.Engine) -> None:
    """A bridge cannot have the name of an interface that is none."""
    engine.networks.create("odd", options={"com.docker.network.bridge.name": "lo"})
    container = engine.containers.create("box", ["true"], network="odd")
    with pytest.raises(NetavarkFailed, match="bridge lo"):
        container.start()
    assert endpoints(engine) == []
    assert "bridge lo" in container.stored.state["Error"]
    # The lock is free.
    engine.containers.run("box", ["true"]).wait()


def test_links(engine: onggi.Engine) -> None:
    target = engine.containers.run("box", ["sleep", "1000"], name="target")
    linked = engine.containers.run("box", ["sleep", "1000"], host_config={"Links": ["target:db"]})
    address = _addresses(target)["bridge"]
    assert f"{address}\tdb {target.short_id} target\n" in _said(linked, "cat", "/etc/hosts")
    assert _reaches(linked, "db")
    target.stop(0)
    with pytest.raises(Conflict, match="Cannot link to a non running container: /target AS /"):
        linked.restart(0)
    with pytest.raises(NotFound, match="No such container: nobody"):
        engine.containers.run("box", ["true"], host_config={"Links": ["nobody"]})


def test_the_host_as_its_containers_see_it(engine: onggi.Engine) -> None:
    container = engine.containers.run(
        "box", ["sleep", "1000"], host_config={"ExtraHosts": ["host.docker.internal:host-gateway"]}
    )
    assert "172.29.0.1\thost.docker.internal\n" in _said(container, "cat", "/etc/hosts")
    assert _reaches(container, "host.docker.internal")


def test_system_prune_takes_unused_networks(engine: onggi.Engine) -> None:
    engine.networks.create("idle")
    engine.networks.create("busy")
    _run(engine, "busy")
    assert engine.system.prune().networks == ["idle"]


def test_nothing_is_left(engine: onggi.Engine) -> None:
    before = links()
    engine.networks.create("gone")
    container = _run(engine, "gone")
    assert links() - before
    container.remove(force=True)
    engine.networks.remove("gone")
    wait_until(lambda: links() <= before, "the end of interfaces")
    with pytest.raises(OnggiError):
        engine.networks.get("gone")


def _resolver(engine: onggi.Engine) -> int:
    return resolver_pid(str(engine.config.exec_root / "network/aardvark-dns"))


def test_names_outlive_the_resolver(engine: onggi.Engine) -> None:
    """aardvark-dns is killed, over and over: a supervisor in the network sees it and starts it anew."""
    engine.networks.create("lasting")
    _run(engine, "lasting", "one", Aliases=["first"])
    asking = _run(engine, "lasting", "two")
    for _ in range(3):
        pid = _resolver(engine)
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: _resolver(engine) not in (0, pid), "the next one")
        assert _finds(asking, "first")
    engine.containers.get("one").stop(0)
    asking.stop(0)
    wait_until(lambda: not _resolver(engine), "its end, when there is nobody left to find")


def test_who_joins_brings_the_resolver_back(engine: onggi.Engine) -> None:
    """No supervisor looks here: the container was started in another network."""
    engine.networks.create("joined")
    one, two = (_run(engine, "bridge", name) for name in ("one", "two"))
    engine.networks.connect("joined", "one", aliases=["first"])
    os.kill(_resolver(engine), signal.SIGKILL)
    engine.networks.connect("joined", "two", aliases=["second"])
    assert _finds(two, "first")
    assert _finds(one, "second")
    os.kill(_resolver(engine), signal.SIGKILL)
    engine.networks.disconnect("joined", "two")
    assert _finds(one, "first")
