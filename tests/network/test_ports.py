"""Ports of the host, held by real sockets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from onggi.errors import InvalidArgument, ResourceExhausted
from onggi.network.ports import PortTaken, PublishedPort, carried, mappings, publish
from tests.peers.processes import free_port


def _publish(bindings: dict[str, list[dict[str, str]]]) -> list[PublishedPort]:
    ports, sockets = publish(bindings, "127.0.0.1", "")
    for holder in sockets:
        holder.close()
    return ports


def test_a_port_is_held_until_its_socket_is_closed() -> None:
    port = free_port()
    bindings = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    ports, sockets = publish(bindings, "", "")
    assert ports == [PublishedPort(80, "tcp", "127.0.0.1", port)]
    with pytest.raises(PortTaken, match=rf"^x: Bind for 127.0.0.1:{port} failed: port is already allocated$"):
        publish(bindings, "", "x: ")
    sockets[0].close()
    assert _publish(bindings) == ports


def test_connections_that_are_just_ending_do_not_hold_a_port() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            served, _ = server.accept()
            # Who closes first keeps the connection's end in TIME_WAIT.
            served.close()
            assert client.recv(1) == b""
    bindings = {"80/tcp": [{"HostPort": str(port)}]}
    ports, held = publish(bindings, "127.0.0.1", "")
    assert ports[0].host_port == port
    with pytest.raises(PortTaken):
        _publish(bindings)
    held[0].close()


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
def test_a_program_of_the_host_keeps_its_port(kind: socket.SocketKind, protocol: str) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken):
            _publish({f"80/{protocol}": [{"HostPort": str(port)}]})
        # The next one of a range is free, or at least another one.
        (found,) = _publish({f"80/{protocol}": [{"HostPort": f"{port}-{port + 50}"}]})
        assert found.host_port > port


def test_a_range_with_nothing_free_says_so() -> None:
    with socket.socket() as one, socket.socket() as two:
        for port in range(40000, 60000):
            try:
                one.bind(("127.0.0.1", port))
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                one.close()
                one = socket.socket()
                continue
            break
        one.listen()
        two.listen()
        with pytest.raises(ResourceExhausted, match="all ports are allocated"):
            _publish({"80/tcp": [{"HostPort": f"{port}-{port + 1}"}]})


def test_ports_that_nobody_chose_come_from_the_kernel_s_range() -> None:
    kernel_s = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    first, last = (int(word) for word in kernel_s.split())
    ports = _publish({"80/tcp": [{}], "53/udp": [{"HostPort": "0"}], "81/tcp": []})
    assert [port.inside for port in ports] == ["53/udp", "80/tcp", "81/tcp"]
    assert all(first <= port.host_port <= last for port in ports)
    assert len({port.host_port for port in ports if port.protocol == "tcp"}) == 2


def test_an_address_that_is_not_the_host_s() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidArgument, match=r"^cannot publish 192\.0\.2\.1:1/tcp: "):
        publish({"80/tcp": [{"HostIp": "127.0.0.1"}, {"HostIp": "192.0.2.1", "HostPort": "1"}]}, "", "")
    assert len(os.listdir("/proc/self/fd")) == before


def test_every_address_is_one_of_ipv6_too() -> None:
    """Where nobody named one, and both are free; a stream's IPv6 socket listens, for its carrier."""
    ports, sockets = publish({"80/tcp": [{}], "53/udp": [{}]}, "", "")
    assert [port.host_ip for port in ports] == ["0.0.0.0", "::"] * 2
    assert ports[0].host_port == ports[1].host_port
    assert [held.family for held in sockets] == [socket.AF_INET, socket.AF_INET6] * 2
    listening = sockets[3]
    taken = {"80/tcp": [{"HostPort": str(listening.getsockname()[1])}]}
    sockets[2].close()
    with pytest.raises(PortTaken, match=r"Bind for \[::\]:\d+ failed"):
        publish(taken, "", "")
    with socket.create_connection(("::1", listening.getsockname()[1])):
        pass
    assert carried(ports, "10.0.0.2") == [
        {"held": [port.protocol, "::", port.host_port], "target": ["10.0.0.2", port.container_port]}
        for port in (ports[1], ports[3])
    ]
    for held in sockets:
        held.close()
    for words in ({"ipv6": False}, {"default_ip": "127.0.0.1"}):
        found, sockets = publish({"80/tcp": [{}]}, **{"default_ip": "", "what": "", **words})
        assert len(found) == len(sockets) == 1
        sockets[0].close()


def test_what_netavark_is_told() -> None:
    ports = [PublishedPort(80, "tcp", "0.0.0.0", 8080), PublishedPort(53, "udp", "127.0.0.1", 53)]
    assert list(mappings(ports)) == [
        {"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1},
        {"container_port": 53, "host_ip": "127.0.0.1", "host_port": 53, "protocol": "udp", "range": 1},
    ]
