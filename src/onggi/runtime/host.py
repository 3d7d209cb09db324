"""What of the host a runtime spec depends on, as one value: read once, passed around, made up in tests."""

from __future__ import annotations

import os
import re
from pathlib import Path

from onggi.record import record

__all__ = ["CAPABILITIES_PATH", "HostFacts", "go_architecture", "kernel_version", "known_capabilities"]

CAPABILITIES_PATH = Path("/proc/sys/kernel/cap_last_cap")
_CGROUP = Path("/sys/fs/cgroup")
_CPU = Path("/sys/devices/system/cpu")
# Set in a network namespace of one's own, where the kernel has them: pinging, and ports below
# 1024, then need no capability.
NETWORK_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
    "i386": "386",
    "i686": "386",
}
_RELEASE = r"(\d+)\.(\d+)"


@record
class HostFacts:
    """``known`` are the kernel's capabilities by number, ``bounding`` those this process can pass on.

    ``cgroups`` is ``v1`` (also for v1 beside an unused v2 tree, called hybrid) or ``v2``;
    ``systemd``: systemd owns the tree, and is asked for groups. ``kernel`` is major, minor;
    ``architecture`` Go's name. ``sysctls`` are the network settings that exist. ``thermal``
    are directories with throttle counters. ``in_user_namespace``: not even root is root.
    ``apparmor``: profiles can be applied.
    """

    architecture: str
    kernel: tuple[int, int]
    known: tuple[str, ...]
    bounding: frozenset[str]
    cgroups: str = "v1"
    hybrid: bool = False
    systemd: bool = False
    controllers: frozenset[str] = frozenset()
    sysctls: frozenset[str] = frozenset()
    thermal: tuple[str, ...] = ()
    in_user_namespace: bool = False
    apparmor: bool = False

    @classmethod
    def read(cls) -> HostFacts:
        """The facts of this host, for this process."""
        from onggi.linux.process import bounding_set

        unified = (_CGROUP / "cgroup.controllers").exists()
        return cls(
            architecture=go_architecture(os.uname().machine),
            kernel=kernel_version(os.uname().release),
            known=known_capabilities(),
            bounding=bounding_set(),
            cgroups="v2" if unified else "v1",
            hybrid=not unified and (_CGROUP / "unified" / "cgroup.procs").exists(),
            systemd=unified and Path("/run/systemd/system").is_dir(),
            controllers=_controllers(),
            sysctls=frozenset(name for name in NETWORK_SYSCTLS if _sysctl_exists(name)),
            thermal=_thermal(),
            in_user_namespace=_in_user_namespace(),
            apparmor=_apparmor(),
        )


def go_architecture(machine: str) -> str:
    """``uname -m`` in Go's words."""
    return _MACHINES.get(machine, machine)


def kernel_version(release: str) -> tuple[int, int]:
    """Major and minor of ``6.1.0-13-amd64``; (0, 0) for what has none."""
    match = re.match(_RELEASE, release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def known_capabilities() -> tuple[str, ...]:
    """All that this kernel has, by number."""
    from onggi.linux.process import CAPABILITIES

    return CAPABILITIES[: _last_capability() + 1]


def _last_capability() -> int:
    try:
        return int(CAPABILITIES_PATH.read_text())
    except (OSError, ValueError):
        return 40


def _controllers() -> frozenset[str]:
    """Names of the cgroup controllers that are in use, of both versions."""
    try:
        lines = Path("/proc/cgroups").read_text().splitlines()[1:]
    except OSError:
        return frozenset()
    return frozenset(line.split()[0] for line in lines if line.split()[3:] == ["1"])


def _sysctl_exists(name: str) -> bool:
    return Path("/proc/sys", *name.split(".")).exists()


def _thermal() -> tuple[str, ...]:
    try:
        names = os.listdir(_CPU)
    except OSError:
        return ()
    paths = (f"{_CPU}/{name}/thermal_throttle" for name in names if name[:3] == "cpu" and name[3:].isdigit())
    return tuple(sorted(path for path in paths if os.path.exists(path)))


def _in_user_namespace() -> bool:
    """False where the map is the identity over all numbers: the first namespace."""
    try:
        lines = Path("/proc/self/uid_map").read_text().split("\n")
    except OSError:
        return False
    return lines[0].split() != ["0", "0", "4294967295"]


def _apparmor() -> bool:
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False
