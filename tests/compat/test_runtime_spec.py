"""The runtime spec, option by option: what dockerd 20.10 hands to runc is what we build from the same files.

dockerd runs with a runtime that keeps the bundle's config.json and fails; its own config.v2.json
and hostconfig.json are our input. Left out of the comparison is what networks do (the hook, the
namespace's path), which Onggi does otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from onggi.runtime.host import HostFacts
from onggi.runtime.request import spec_request
from onggi.runtime.spec import Defaults, build_spec
from onggi.runtime.user import AccountFiles, read_accounts, resolve_user
from tests.peers.busybox import box_layout
from tests.peers.daemon import Daemon
from tests.peers.processes import require

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("runtime-spec")]

_WRAPPER = """#!/bin/sh
last=
for word in "$@"; do
    [ "$last" = --bundle ] && bundle=$word
    last=$word
done
case " $* " in
*" create "*) cp "$bundle/config.json" {kept}/"$last".json; exit 1 ;;
esac
exec {runc} "$@"
"""

# Each row is one container: as many options as do not concern the same thing.
CASES = {
    "nothing": [],
    "words": ["-e", "A=b", "-e", "PATH=/x", "-w", "/wd", "-h", "name", "--domainname", "dom", "-it"],
    "user": ["-u", "user", "--group-add", "wheel", "--group-add", "77", "--init"],
    "user numbers": ["-u", "2000:44", "--security-opt", "no-new-privileges"],
    "user and group": ["-u", "bin:user", "--uts", "host", "--pid", "host", "--init"],
    "capabilities": ["--cap-add", "NET_ADMIN", "--cap-add", "sys_time", "--cap-drop", "CHOWN"],
    "capabilities none": ["--cap-drop", "ALL", "--cap-add", "NET_RAW", "--ipc", "host"],
    "capabilities all": ["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--cap-drop", "mknod"],
    "memory": [
        *(
            "--memory",
            "64m",
            "--memory-swap",
            "-1",
            "--memory-reservation",
            "32m",
            "--memory-swappiness",
            "7",
        ),
        *("--oom-kill-disable", "--oom-score-adj", "5", "--kernel-memory", "50m"),
    ],
    "processors": [
        *("--cpus", "0.5", "--cpu-shares", "77", "--cpuset-cpus", "0", "--cpuset-mems", "0"),
        *("--pids-limit", "50", "--memory", "64m", "--ulimit", "nofile=100:200", "--ulimit", "core=-1"),
    ],
    "quota": ["--cpu-period", "50000", "--cpu-quota", "20000", "--pids-limit", "-1"],
    "block devices": [
        *("--device-read-bps", "/dev/full:1mb", "--device-write-iops", "/dev/full:7"),
        *(
            "--device",
            "/dev/full:/dev/xfull:r",
            "--device",
            "/dev/zero",
            "--device-cgroup-rule",
            "c 42:* rmw",
        ),
    ],
    "mounts": [
        *("-v", "{src}:/src:ro", "-v", "vol:/vol", "-v", "/anon", "-v", "{src}:/deep/er/src"),
        *("--mount", "type=bind,source={src},target=/one,bind-nonrecursive=true"),
        *("--mount", "type=tmpfs,target=/t2,tmpfs-size=2097152,tmpfs-mode=1770"),
        *("--tmpfs", "/tt:size=1m,exec", "--tmpfs", "/run", "--shm-size", "1m"),
    ],
    "over the defaults": [
        "-v",
        "{src}:/dev",
        "-v",
        "{src}/hosts:/etc/hosts",
        "-v",
        "{src}:/sys",
        "--read-only",
    ],
    "read only": ["--read-only", "--tmpfs", "/tmp", "--ipc", "none", "-v", "{src}:/src"],
    "privileged": ["--privileged", "--device", "/dev/full:/dev/xfull", "--read-only"],
    "sysctls": [
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--sysctl",
        "kernel.msgmax=65536",
        "--cgroup-parent",
        "/up",
    ],
    "shareable": ["--ipc", "shareable", "--cgroupns", "private"],
    "unconfined": ["--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"],
    "profile": ["--security-opt", "seccomp={src}/profile.json", "--cap-add", "SYS_ADMIN"],
}
_PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "4.8"}},
        {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"name": "chmod", "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["amd64"]}},
        {
            "names": ["lseek"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 1, "value": 2, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}],
        },
    ],
}


class Captured:
    """The containers of all cases: Docker's files and the spec that came of them."""

    def __init__(self, daemon: Daemon, kept: Path, source: Path) -> None:
        self._daemon = daemon
        self._kept = kept
        self._source = source

    def spec(self, options: list[str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """config.v2.json, hostconfig.json, config.json."""
        words = [word.format(src=self._source) for word in options]
        made = self._daemon.output("create", "--network", "none", *words, "box", "true", "word")
        id = made.strip().splitlines()[-1]
        self._daemon.run("start", id, check=False)
        directory = self._daemon.data_root / "containers" / id
        files = (directory / "config.v2.json", directory / "hostconfig.json", self._kept / f"{id}.json")
        document, host_config, spec = (json.loads(file.read_text()) for file in files)
        return document, host_config, spec


@pytest.fixture(scope="module")
def captured(tmp_path_factory) -> Iterator[Captured]:
    directory = tmp_path_factory.mktemp("spec")
    source, kept = directory / "src", directory / "kept"
    source.mkdir()
    kept.mkdir()
    (source / "hosts").write_text("")
    (source / "profile.json").write_text(json.dumps(_PROFILE))
    wrapper = directory / "keeps-spec"
    wrapper.write_text(_WRAPPER.format(kept=kept, runc=require("runc")))
    wrapper.chmod(0o755)
    settings = {"runtimes": {"keeps-spec": {"path": str(wrapper)}}, "default-runtime": "keeps-spec"}
    with (
        serving(OCILayout(box_layout(directory / "layout").directory)) as url,
        Daemon(directory / "docker", directory / "d", mirror=url, settings=settings) as daemon,
    ):
        daemon.run("pull", "-q", "box")
        yield Captured(daemon, kept, source)


def _accounts(rootfs: Path) -> AccountFiles:
    """From the one layer of the image."""
    layers = rootfs.parent.parent
    image = next(path for path in sorted(layers.iterdir()) if (path / "diff/etc/passwd").exists())
    root = os.open(image / "diff", os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read_accounts(root)
    finally:
        os.close(root)


def _ours(
    document: dict[str, Any], host_config: dict[str, Any], rootfs: str, data_root: Path
) -> dict[str, Any]:
    user = resolve_user(document["Config"]["User"], _accounts(Path(rootfs)), host_config["GroupAdd"] or ())
    sources = {
        point["Destination"]: str(data_root / "volumes" / point["Name"] / "_data")
        for point in (document["MountPoints"] or {}).values()
        if point["Type"] == "volume"
    }
    defaults = Defaults(init_path=require("docker-init"), compat="20.10")
    request = spec_request(
        document, host_config, rootfs=rootfs, user=user, joined={}, defaults=defaults, sources=sources
    )
    spec, _ = build_spec(request, _host_of_20_10())
    return spec


def _host_of_20_10() -> HostFacts:
    """Docker 20.10 knows capabilities up to CAP_AUDIT_READ, and asks runc for what the host cannot give."""
    host = HostFacts.read()
    known = host.known[: host.known.index("CAP_AUDIT_READ") + 1]
    return replace(host, known=known, bounding=frozenset(known))


def _normal(spec: dict[str, Any]) -> dict[str, Any]:
    """Order where it means nothing is taken out, and what networks do."""
    spec.pop("hooks", None)
    linux, process = spec["linux"], spec["process"]
    linux["namespaces"] = sorted(entry["type"] for entry in linux["namespaces"])
    spec["mounts"] = sorted(spec["mounts"], key=lambda mount: mount["destination"])
    for mount in spec["mounts"]:
        mount["options"] = sorted(mount["options"])
    groups = process["user"].get("additionalGids", [])
    process["user"]["additionalGids"] = sorted(set(groups))
    linux["devices"] = sorted(linux.get("devices", []), key=lambda device: device["path"])
    if linux.get("seccomp"):
        linux["seccomp"]["syscalls"] = {
            f"{name} {json.dumps({**rule, 'names': ''}, sort_keys=True)}": True
            for rule in linux["seccomp"]["syscalls"]
            for name in rule["names"]
        }
    for field in ("maskedPaths", "readonlyPaths"):
        linux[field] = sorted(linux.get(field) or [])
    return spec


def _facts(value: Any, place: str = "") -> Iterator[str]:
    """Every leaf with its place, so that a difference shows as two short lines."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _facts(item, f"{place}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _facts(item, f"{place}[{index}]")
    else:
        yield f"{place} = {value!r}"


@pytest.mark.parametrize("case", CASES)
def test_same_as_dockerd(captured: Captured, case: str) -> None:
    document, host_config, theirs = captured.spec(CASES[case])
    ours = _ours(document, host_config, theirs["root"]["path"], captured._daemon.data_root)
    our_facts, their_facts = set(_facts(_normal(ours))), set(_facts(_normal(theirs)))
    differences = [f"- {fact}" for fact in their_facts - our_facts]
    differences += [f"+ {fact}" for fact in our_facts - their_facts]
    assert "\n".join(sorted(differences, key=lambda line: line[2:])) == ""
