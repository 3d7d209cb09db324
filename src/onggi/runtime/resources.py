"""What a container may use of the machine: memory, processors, block devices, processes.

``HostConfig`` says it in Docker's fields: bytes, billionths of a processor, microseconds.

Source: moby ``daemon/daemon_unix.go`` (getMemoryResources, getCPUResources, getBlkio…, getPidsLimit).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from onggi.errors import InvalidArgument

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["block_device", "resources"]

_CFS_PERIOD_US = 100_000
_NANO = 1_000_000_000

_THROTTLES = (
    ("BlkioDeviceReadBps", "throttleReadBpsDevice"),
    ("BlkioDeviceWriteBps", "throttleWriteBpsDevice"),
    ("BlkioDeviceReadIOps", "throttleReadIOPSDevice"),
    ("BlkioDeviceWriteIOps", "throttleWriteIOPSDevice"),
)


def resources(host_config: Mapping[str, Any]) -> dict[str, Any]:
    """``linux.resources`` without devices. Raises InvalidArgument for a block device that is none."""
    found: dict[str, Any] = {
        "memory": _memory(host_config),
        "cpu": _cpu(host_config),
        "blockIO": _block_io(host_config),
    }
    limit = host_config.get("PidsLimit")
    if limit is not None:
        # Zero and below mean "no limit", which the runtime spec calls -1.
        found["pids"] = {"limit": limit if limit > 0 else -1}
    return found


def _memory(host_config: Mapping[str, Any]) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    positive = (
        ("Memory", "limit"),
        ("MemoryReservation", "reservation"),
        ("MemorySwap", "swap"),  # -1 is no limit, as is saying nothing
        ("KernelMemory", "kernel"),
        ("KernelMemoryTCP", "kernelTCP"),
    )
    for field, key in positive:
        if (host_config.get(field) or 0) > 0:
            memory[key] = host_config[field]
    swappiness = host_config.get("MemorySwappiness")
    if swappiness is not None and swappiness >= 0:
        memory["swappiness"] = swappiness
    if host_config.get("OomKillDisable") is not None:
        memory["disableOOMKiller"] = host_config["OomKillDisable"]
    return memory


def _cpu(host_config: Mapping[str, Any]) -> dict[str, Any]:
    shares = host_config.get("CpuShares") or 0
    if shares < 0:
        raise InvalidArgument("shares: invalid argument", hint="CPU shares must not be negative")
    cpu: dict[str, Any] = {"shares": shares}
    nano = host_config.get("NanoCpus") or 0
    period = host_config.get("CpuPeriod") or 0
    if nano > 0:
        cpu["period"] = period or _CFS_PERIOD_US
        cpu["quota"] = nano * cpu["period"] // _NANO
    fields = (
        ("CpuPeriod", "period"),
        ("CpuQuota", "quota"),
        ("CpuRealtimePeriod", "realtimePeriod"),
        ("CpuRealtimeRuntime", "realtimeRuntime"),
        ("CpusetCpus", "cpus"),
        ("CpusetMems", "mems"),
    )
    return cpu | {key: host_config[field] for field, key in fields if host_config.get(field)}


def _block_io(host_config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"weight": host_config.get("BlkioWeight") or 0}
    weights = [
        {**_numbers(entry["Path"]), "weight": entry["Weight"]}
        for entry in host_config.get("BlkioWeightDevice") or ()
    ]
    if weights:
        found["weightDevice"] = weights
    for field, key in _THROTTLES:
        entries = [
            {**_numbers(entry["Path"]), "rate": entry["Rate"]} for entry in host_config.get(field) or ()
        ]
        if entries:
            found[key] = entries
    return found


def _numbers(path: str) -> dict[str, int]:
    major, minor = block_device(path)
    return {"major": major, "minor": minor}


def block_device(path: str) -> tuple[int, int]:
    """Major and minor of a device file of the host. Raises InvalidArgument."""
    try:
        status = os.stat(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidArgument(f"stat {path}: {reason}", hint="name a block device of this host") from error
    if not (stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode)):
        raise InvalidArgument(f"{path}: not a device", hint="name a block device of this host")
    return os.major(status.st_rdev), os.minor(status.st_rdev)
