"""What netavark is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from onggi.engine.networks.endpoint import metric_between
from onggi.network import netavark
from onggi.network.model import Network, Subnet
from onggi.network.netavark import Attachment, Call, Endpoint, Netavark, NetavarkFailed
from onggi.runtime.supervisor.network import clear_settings, leaves_traces, network_events
from tests.peers.processes import wait_until

BRIDGE = Network(
    "ab" * 32,
    "bridge",
    "bridge",
    "",
    (Subnet("172.17.0.0/16"),),
    options={"com.docker.network.bridge.name": "onggi0", "com.docker.network.driver.mtu": "1400"},
)
OWN = Network("cd" * 32, "own", "bridge", "", (Subnet("10.0.0.0/24", "10.0.0.254"),), internal=True)


def _attachment(*networks: Network, ports: tuple[dict[str, object], ...] = ()) -> Attachment:
    endpoints = [
        Endpoint(network, f"eth{number}", [f"10.0.0.{number + 2}"], "02:42:0a:00:00:02", ["x"], 65536)
        for number, network in enumerate(networks)
    ]
    return Attachment.of("ef" * 32, "name", endpoints, ports, ["1.1.1.1"])


def test_the_whole_of_it() -> None:
    document = _attachment(BRIDGE).document
    assert document["container_name"] == "name" and document["dns_servers"] == ["1.1.1.1"]
    assert document["networks"] == {
        BRIDGE.id: {
            "interface_name": "eth0",
            "static_ips": ["10.0.0.2"],
            "static_mac": "02:42:0a:00:00:02",
            "aliases": ["x"],
        }
    }
    assert document["network_info"][BRIDGE.id] == {
        "name": BRIDGE.id,
        "id": BRIDGE.id,
        "driver": "bridge",
        "network_interface": "onggi0",
        "subnets": [{"subnet": "172.17.0.0/16", "gateway": "172.17.0.1"}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
        "options": {"mtu": "1400", "metric": "65536", "isolate": "true"},
    }


def test_networks_come_and_go() -> None:
    both = _attachment(BRIDGE, OWN)
    assert list(both.only(OWN.id).networks) == [OWN.id]
    assert list(both.without(OWN.id).document["network_info"]) == [BRIDGE.id]
    assert both.without(OWN.id).joined(both.only(OWN.id)) == both
    assert list(both.addresses(OWN.id)) == ["10.0.0.3"] and list(both.addresses("other")) == []
    info = both.document["network_info"][OWN.id]
    assert info["network_interface"] == "br-" + "cd" * 6
    assert info["subnets"] == [{"subnet": "10.0.0.0/24", "gateway": "10.0.0.254"}]


def test_what_has_to_be_taken_back() -> None:
    assert not leaves_traces(_attachment(BRIDGE).document)
    assert leaves_traces(_attachment(BRIDGE, OWN).document)
    assert leaves_traces(_attachment(BRIDGE, ports=({"host_port": 80},)).document)
    assert not leaves_traces({})
    assert network_events(_attachment(OWN).document) == [
        (OWN.id, {"container": "ef" * 32, "name": "own", "type": "bridge"})
    ]


def test_settings_of_a_container_that_has_ended() -> None:
    endpoint = {
        "Aliases": ["x"],
        "NetworkID": "n",
        "EndpointID": "e",
        "IPAddress": "1.2.3.4",
        "IPPrefixLen": 8,
    }
    document = {"NetworkSettings": {"SandboxID": "s", "Ports": {"80/tcp": None}, "Networks": {"n": endpoint}}}
    clear_settings(document)
    settings = document["NetworkSettings"]
    assert (settings["SandboxID"], settings["Ports"]) == ("s", None)
    assert endpoint["Aliases"] == ["x"] and endpoint["NetworkID"] == "n"
    assert (endpoint["EndpointID"], endpoint["IPAddress"], endpoint["IPPrefixLen"]) == ("", "", 0)


def test_the_way_out_is_by_name() -> None:
    assert metric_between("b", {}) == 65536
    assert metric_between("c", {"a": 65536, "b": 131072}) == 131072 + 65536
    assert metric_between("a", {"b": 65536}) == 32768
    assert 65536 < metric_between("b", {"a": 65536, "c": 131072}) < 131072


def test_its_complaint_is_told(tmp_path: Path) -> None:
    nowhere = f"/proc/{os.getpid()}/ns/no-such"
    with pytest.raises(NetavarkFailed, match=r"^netavark setup: .*[Nn]o such file"):
        Netavark(tmp_path).run("setup", _attachment(BRIDGE), nowhere)


def test_one_that_waits_for_ever_is_ended_with_what_it_waits_for(monkeypatch) -> None:
    """netavark waits so for an aardvark-dns that is killed as it starts."""
    monkeypatch.setattr(netavark, "_PATIENCE_S", 0.5)
    stuck = subprocess.Popen(["sh", "-c", "sleep 1000; true"])
    children = Path(f"/proc/{stuck.pid}/task/{stuck.pid}/children")
    wait_until(children.read_text, "its tool")
    tool = int(children.read_text())
    with pytest.raises(NetavarkFailed) as raised:
        Call("setup", stuck.pid, os.memfd_create("answer")).finish()
    assert raised.value.killed
    wait_until(lambda: not _runs(tool), "the end of its tool")


def _runs(pid: int) -> bool:
    """False for a zombie, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
