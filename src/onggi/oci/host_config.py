"""Docker's ``container.HostConfig`` as Go writes it: every field, in declaration order."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["complete_host_config", "shown_host_config"]

# In the order of Docker 20.10: name, value when absent, left out when empty.
_FIELDS: tuple[tuple[str, Any, bool], ...] = (
    ("Binds", None, False),
    ("ContainerIDFile", "", False),
    ("LogConfig", {"Type": "json-file", "Config": {}}, False),
    ("NetworkMode", "", False),
    ("PortBindings", {}, False),
    ("RestartPolicy", {"Name": "no", "MaximumRetryCount": 0}, False),
    ("AutoRemove", False, False),
    ("VolumeDriver", "", False),
    ("VolumesFrom", None, False),
    ("CapAdd", None, False),
    ("CapDrop", None, False),
    ("CgroupnsMode", "", False),
    ("Dns", [], False),
    ("DnsOptions", [], False),
    ("DnsSearch", [], False),
    ("ExtraHosts", None, False),
    ("GroupAdd", None, False),
    ("IpcMode", "", False),
    ("Cgroup", "", False),
    ("Links", None, False),
    ("OomScoreAdj", 0, False),
    ("PidMode", "", False),
    ("Privileged", False, False),
    ("PublishAllPorts", False, False),
    ("ReadonlyRootfs", False, False),
    ("SecurityOpt", None, False),
    ("StorageOpt", None, True),
    ("Tmpfs", None, True),
    ("UTSMode", "", False),
    ("UsernsMode", "", False),
    ("ShmSize", 0, False),
    ("Sysctls", None, True),
    ("Runtime", "", True),
    ("ConsoleSize", [0, 0], False),
    ("Annotations", None, True),  # since 24
    ("Isolation", "", False),
    ("CpuShares", 0, False),
    ("Memory", 0, False),
    ("NanoCpus", 0, False),
    ("CgroupParent", "", False),
    ("BlkioWeight", 0, False),
    ("BlkioWeightDevice", [], False),
    ("BlkioDeviceReadBps", [], False),
    ("BlkioDeviceWriteBps", [], False),
    ("BlkioDeviceReadIOps", [], False),
    ("BlkioDeviceWriteIOps", [], False),
    ("CpuPeriod", 0, False),
    ("CpuQuota", 0, False),
    ("CpuRealtimePeriod", 0, False),
    ("CpuRealtimeRuntime", 0, False),
    ("CpusetCpus", "", False),
    ("CpusetMems", "", False),
    ("Devices", [], False),
    ("DeviceCgroupRules", None, False),
    ("DeviceRequests", None, False),
    ("KernelMemory", 0, False),
    ("KernelMemoryTCP", 0, False),
    ("MemoryReservation", 0, False),
    ("MemorySwap", 0, False),
    ("MemorySwappiness", None, False),
    ("OomKillDisable", None, False),
    ("PidsLimit", None, False),
    ("Ulimits", [], False),
    ("CpuCount", 0, False),
    ("CpuPercent", 0, False),
    ("IOMaximumIOps", 0, False),
    ("IOMaximumBandwidth", 0, False),
    ("Mounts", None, True),
    ("MaskedPaths", None, False),
    ("ReadonlyPaths", None, False),
    ("Init", None, True),
)
# What Docker 28 has elsewhere, or no more (API 1.42 took kernel memory away).
_MOVED_BEHIND_VOLUMES_FROM = ("ConsoleSize", "Annotations")
_GONE = frozenset({"KernelMemory", "KernelMemoryTCP"})


def complete_host_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` (known keys in Docker's spelling), absent fields filled in: the file's shape."""
    result = {}
    for key, absent, omit in _FIELDS:
        value = given.get(key)
        if omit and not value and not (key == "Init" and value is False):
            continue
        result[key] = _fresh(absent) if value is None else _ordered(value)
    return result


def shown_host_config(stored: Mapping[str, Any], compat: str) -> dict[str, Any]:
    """The same as ``inspect`` shows it: Docker 28 has other places for some, and dropped others."""
    complete = complete_host_config(stored)
    if compat == "20.10":
        return complete
    moved = {key: complete.pop(key) for key in _MOVED_BEHIND_VOLUMES_FROM if key in complete}
    result: dict[str, Any] = {}
    for key, value in complete.items():
        if key not in _GONE:
            result[key] = value
        if key == "VolumesFrom":
            result |= moved
    return result


def _fresh(value: Any) -> Any:
    """A value of one's own: the table's must not change."""
    return value.copy() if isinstance(value, dict | list) else value


def _ordered(value: Any) -> Any:
    """Maps sorted as Go writes them; records keep the order they came in."""
    if isinstance(value, dict) and not (value.keys() <= _RECORD_KEYS):
        return dict(sorted(value.items()))
    return value


# Objects with declared fields, not maps.
_RECORD_KEYS = frozenset({"Type", "Config", "Name", "MaximumRetryCount"})
