"""What dockerd's spec cannot show on this host: clamping, cgroup v2, systemd, user namespaces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from onggi.linux.process import CAPABILITIES
from onggi.runtime.devices import InvalidDevice, cgroup_rules, mapped_devices
from onggi.runtime.host import HostFacts, go_architecture, kernel_version
from onggi.runtime.mounts import Mount
from onggi.runtime.namespaces import InvalidMode
from onggi.runtime.process import merged_environment
from onggi.runtime.resources import block_device
from onggi.runtime.security import InvalidSecurityOption, Security, parse_security_options
from onggi.runtime.spec import SpecRequest, build_spec
from onggi.runtime.user import User

HOST = HostFacts("amd64", (6, 1), CAPABILITIES, frozenset(CAPABILITIES))
ROOT = User(0, 0, (0,))


def _spec(host: HostFacts = HOST, mounts: tuple[Mount, ...] = (), **host_config: Any) -> dict[str, Any]:
    request = SpecRequest("c" * 64, ["true"], {}, host_config, "/root", ROOT, mounts=mounts)
    return build_spec(request, host)[0]


def test_what_the_host_cannot_give_is_a_warning() -> None:
    host = replace(HOST, bounding=HOST.bounding - {"CAP_SYS_RESOURCE", "CAP_KILL"})
    request = SpecRequest("c", ["true"], {}, {"Privileged": True}, "/root", ROOT)
    spec, warnings = build_spec(request, host)
    assert "CAP_KILL" not in spec["process"]["capabilities"]["bounding"]
    assert warnings == ["this host cannot give CAP_KILL, CAP_SYS_RESOURCE: the container runs without"]


def test_cgroup_paths() -> None:
    id = "c" * 64
    assert _spec()["linux"]["cgroupsPath"] == f"/docker/{id}"
    assert _spec(CgroupParent="/up/")["linux"]["cgroupsPath"] == f"/up/{id}"
    systemd = replace(HOST, cgroups="v2", systemd=True)
    assert _spec(systemd)["linux"]["cgroupsPath"] == f"system.slice:docker:{id}"
    assert _spec(systemd, CgroupParent="my.slice")["linux"]["cgroupsPath"] == f"my.slice:docker:{id}"


def test_network_settings_only_in_a_network_of_ones_own() -> None:
    host = replace(HOST, sysctls=frozenset({"net.ipv4.ping_group_range"}))
    assert "net.ipv4.ping_group_range" in _spec(host)["linux"]["sysctl"]
    assert "sysctl" not in _spec(host, NetworkMode="host")["linux"]
    assert "sysctl" not in _spec(host, NetworkMode="container:x")["linux"]
    assert "sysctl" not in _spec(replace(host, in_user_namespace=True))["linux"]


def test_joined_namespaces_have_paths() -> None:
    joined = {"network": "/proc/7/ns/net", "pid": "/proc/7/ns/pid"}
    request = SpecRequest("c", ["true"], {}, {"PidMode": "container:x"}, "/root", ROOT, joined=joined)
    found = build_spec(request, HOST)[0]["linux"]["namespaces"]
    assert {"type": "network", "path": "/proc/7/ns/net"} in found
    assert {"type": "pid", "path": "/proc/7/ns/pid"} in found


def test_shared_wins_over_slave_for_the_root() -> None:
    shared, slave = (Mount("/s", f"/{mode}", propagation=mode) for mode in ("rshared", "slave"))
    assert _spec(mounts=(slave, shared))["linux"]["rootfsPropagation"] == "shared"
    assert _spec(mounts=(slave,))["linux"]["rootfsPropagation"] == "rslave"


@pytest.mark.parametrize(
    ("field", "mode"), [("IpcMode", "container:"), ("PidMode", "private"), ("UTSMode", "x")]
)
def test_modes_that_do_not_exist(field: str, mode: str) -> None:
    with pytest.raises(InvalidMode, match=mode):
        _spec(**{field: mode})


def test_a_name_without_value_removes_it() -> None:
    assert merged_environment(["A=1", "B=2"], ["B", "A=3", "C=4"]) == ["A=3", "C=4"]


def test_security_options() -> None:
    options = ["no-new-privileges", "seccomp:unconfined", "apparmor=mine", "label=user:u"]
    assert parse_security_options(options) == Security(True, "unconfined", "mine", ("user:u",))
    assert not parse_security_options(["no-new-privileges=false"], no_new_privileges=True).no_new_privileges
    assert parse_security_options(["seccomp=builtin"]).seccomp == ""
    for wrong in ("nothing", "fly=1", "no-new-privileges=maybe"):
        with pytest.raises(InvalidSecurityOption, match="invalid --security-opt"):
            parse_security_options([wrong])


def test_device_rules_and_paths() -> None:
    assert cgroup_rules(["a *:* rwm"]) == [
        {"allow": True, "type": "a", "major": -1, "minor": -1, "access": "rwm"}
    ]
    with pytest.raises(InvalidDevice, match="invalid device cgroup rule format: 'c 1 r'"):
        cgroup_rules(["c 1 r"])
    with pytest.raises(InvalidDevice, match='custom device "/dev/nope": no such file or directory'):
        mapped_devices("/dev/nope", "/dev/nope")
    with pytest.raises(InvalidDevice, match="not a device node"):
        mapped_devices("/etc/passwd", "/x")
    assert block_device("/dev/null") == (1, 3)


def test_this_host() -> None:
    host = HostFacts.read()
    assert host.known[0] == "CAP_CHOWN"
    assert host.kernel >= (3, 10)
    assert "memory" in host.controllers or host.cgroups == "v2"
    assert (go_architecture("aarch64"), kernel_version("6.1.0-13")) == ("arm64", (6, 1))
