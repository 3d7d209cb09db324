"""Containers on the default bridge: addresses, published ports, and what is left of them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import onggi
from onggi.engine.containers.container import Container
from onggi.errors import InvalidArgument
from onggi.network.ports import PortTaken
from onggi.runtime.client import SupervisorClient
from tests.engine.networks.conftest import BRIDGE, endpoints, rules
from tests.peers.processes import free_port, require, wait_until

pytestmark = pytest.mark.xdist_group("networks")

_ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
while True:
    data, peer = server.recvfrom(100)
    server.sendto(data, peer)
"""
SERVE = ["sh", "-c", "mkdir /w; echo $0 > /w/index.html; exec httpd -f -h /w"]


def _serving(engine: onggi.Engine, text: str, port: int, **more: object) -> Container:
    host_config = {"PortBindings": {"80/tcp": [{"HostPort": str(port)}]}, **more}
    return engine.containers.run("box", [*SERVE, text], host_config=host_config)


def _fetched(port: int, host: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=10) as answer:
        return answer.read().decode().strip()


def _answers(port: int) -> bool:
    try:
        return bool(_fetched(port))
    except OSError:
        return False


def _said(container: Container, *words: str) -> str:
    return container.exec(words).communicate().stdout.decode()


def _endpoint(container: Container) -> dict[str, object]:
    return container.inspect()["NetworkSettings"]["Networks"]["bridge"]


def test_data_roots_have_bridges_of_their_own(engine: onggi.Engine, tmp_path: Path) -> None:
    """Also where another data root's bridge of the same name, which is gone, has left its address."""
    other = onggi.open(
        tmp_path / "root",
        exec_root=tmp_path / "run",
        config_file=engine.config.config_file,
        bip="172.29.1.1/24",
    )
    engine.images.save(["box"], tmp_path / "box.tar")
    other.images.load(tmp_path / "box.tar")
    name = next(each for each in other.networks.list() if each.name == "bridge").interface
    ports = free_port(), free_port()
    subprocess.run([require("ip"), "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run([require("ip"), "address", "add", "10.99.0.1/24", "dev", name], check=True)
        _serving(engine, "one", ports[0])
        _serving(other, "two", ports[1])
        wait_until(lambda: _answers(ports[0]) and _answers(ports[1]), "answers")
        assert [_fetched(port) for port in ports] == ["one", "two"]
    finally:
        for container in other.containers.list(all=True):
            container.remove(force=True)
        subprocess.run([require("ip"), "link", "delete", name], check=True)


def test_containers_get_addresses_and_reach_each_other(engine: onggi.Engine) -> None:
    first = engine.containers.run("box", ["sleep", "1000"])
    second = engine.containers.run("box", ["sleep", "1000"])
    settings = _endpoint(first)
    assert (settings["IPAddress"], settings["Gateway"]) == ("172.29.0.2", "172.29.0.1")
    assert settings["MacAddress"] == "02:42:ac:1d:00:02"
    assert _endpoint(second)["IPAddress"] == "172.29.0.3"
    assert second.exec(["ping", "-c", "1", "-W", "5", "172.29.0.2"]).wait() == 0
    hosts = _said(first, "cat", "/etc/hosts")
    assert f"172.29.0.2\t{first.short_id}\n" in hosts
    # An address is free as soon as its container has stopped.
    first.stop(0)
    assert _endpoint(first)["IPAddress"] == ""
    third = engine.containers.run("box", ["sleep", "1000"])
    assert _endpoint(third)["IPAddress"] == "172.29.0.2"


def test_a_published_port_leads_in_from_everywhere_until_the_end(engine: onggi.Engine) -> None:
    port = free_port()
    served = _serving(engine, "hello", port)
    wait_until(lambda: _answers(port), "the page")
    assert _fetched(port) == _fetched(port, "172.29.0.1") == _fetched(port, "[::1]") == "hello"
    # From another container, and from the one itself.
    other = engine.containers.run("box", ["sleep", "1000"])
    for container in (other, served):
        assert _said(container, "wget", "-qO-", f"http://172.29.0.1:{port}/") == "hello\n"
    assert served.inspect()["NetworkSettings"]["Ports"] == {
        "80/tcp": [{"HostIp": address, "HostPort": str(port)} for address in ("0.0.0.0", "::")]
    }
    with pytest.raises(PortTaken, match=f"Bind for 0.0.0.0:{port} failed: port is already allocated"):
        _serving(engine, "second", port)
    served.restart(0)
    wait_until(lambda: _answers(port), "the page after a restart")
    served.stop(0)
    assert not _answers(port)
    assert not [rule for rule in rules() if str(port) in rule]
    assert served.inspect()["NetworkSettings"]["Ports"] == {}


def test_datagrams_and_one_address_of_the_host(engine: onggi.Engine) -> None:
    port = free_port()
    bindings = {"53/udp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    container = engine.containers.run("box", ["sleep", "1000"], host_config={"PortBindings": bindings})
    key = container.inspect()["NetworkSettings"]["SandboxKey"]
    enter = [require("nsenter"), f"--net={key}", sys.executable, "-c", _ECHO]
    with subprocess.Popen(enter) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)

        def echoed() -> bool:
            try:
                client.sendto(b"hello", ("127.0.0.1", port))
                return client.recv(100) == b"hello"
            except OSError:
                return False

        try:
            wait_until(echoed, "the echo")
        finally:
            server.kill()


def test_all_exposed_ports(engine: onggi.Engine) -> None:
    container = engine.containers.run(
        "box",
        ["sleep", "1000"],
        config={"ExposedPorts": {"80/tcp": {}, "81/udp": {}}},
        host_config={"PublishAllPorts": True},
    )
    ports = container.inspect()["NetworkSettings"]["Ports"]
    assert sorted(ports) == ["80/tcp", "81/udp"]
    assert all(int(bindings[0]["HostPort"]) > 1024 for bindings in ports.values())


def test_a_supervisor_that_is_killed_leaves_what_the_next_command_takes_away(engine: onggi.Engine) -> None:
    port = free_port()
    served = _serving(engine, "hello", port)
    supervisor = _supervisor(engine, served)
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not served.running, "the supervisor's end")
    assert [rule for rule in rules() if f"--dport {port}" in rule]
    other = _serving(engine, "other", port)
    assert _endpoint(other)["IPAddress"] == "172.29.0.2"
    wait_until(lambda: _answers(port) and _fetched(port) == "other", "the other's page")
    assert endpoints(engine) == [other.id]
    other.remove(force=True)
    assert not [rule for rule in rules() if f"--dport {port}" in rule]


def test_a_host_that_starts_anew_has_nothing_of_what_its_containers_had(engine: onggi.Engine) -> None:
    """No process, no running directory, no bridge, rule or mount: the files suffice for a boot."""
    port = free_port()
    tmpfs = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    volume = engine.volumes.create("keg", options=tmpfs)
    policy = {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}, "Binds": ["keg:/keg"]}
    served = _serving(engine, "hello", port, **policy)
    os.kill(_supervisor(engine, served), signal.SIGKILL)
    os.kill(served.stored.state["Pid"], signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{served.stored.state['Pid']}").exists(), "its end")
    shutil.rmtree(engine.config.exec_root)
    subprocess.run([require("umount"), volume.path], check=True)
    subprocess.run([require("ip"), "link", "delete", BRIDGE], check=True)
    for table in ("filter", "nat"):
        for words in (["-F"], ["-X"]):
            subprocess.run([require("iptables"), "-t", table, *words], check=True)
    assert engine.containers.boot().started == (served.id,)
    wait_until(lambda: _answers(port), "an answer")
    assert _fetched(port) == "hello"
    assert _endpoint(served)["IPAddress"] == "172.29.0.2"
    assert endpoints(engine) == [served.id]
    assert _said(served, "grep", "-c", " /keg tmpfs ", "/proc/mounts") == "1\n"
    served.remove(force=True)
    volume.remove()
    assert not [rule for rule in rules() if f"--dport {port}" in rule]


def _supervisor(engine: onggi.Engine, container: Container) -> int:
    """Who holds the namespace: the link says so."""
    key = container.inspect()["NetworkSettings"]["SandboxKey"]
    assert SupervisorClient(engine.config.exec_root, container.id).request("status")["pid"]
    return int(os.readlink(key).split("/")[2])


def test_a_start_that_fails_leaves_nothing(engine: onggi.Engine) -> None:
    port = free_port()
    with pytest.raises(InvalidArgument):
        engine.containers.run(
            "box",
            ["/no/such/program"],
            host_config={"PortBindings": {"80/tcp": [{"HostPort": str(port)}]}},
        )
    wait_until(lambda: endpoints(engine) == [], "the end of the record")
    assert not [rule for rule in rules() if str(port) in rule]


def test_restarts_keep_the_address(engine: onggi.Engine) -> None:
    container = engine.containers.run(
        "box",
        ["sh", "-c", "hostname -i; sleep 0.1; exit 1"],
        host_config={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
    )
    wait_until(lambda: not container.running, "the last restart")
    assert [entry.data for entry in container.logs()] == [b"172.29.0.2\n"] * 3
