"""What a container's options must be, and what they become: Docker's rules, words and warnings.

Source: moby ``daemon/container.go`` (verifyContainerSettings), ``daemon/daemon_unix.go``
(adaptContainerSettings, verifyPlatformContainerResources).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from onggi.errors import InvalidArgument
from onggi.oci.quoting import quoted
from onggi.runtime.capabilities import normalised
from onggi.runtime.host import HostFacts
from onggi.runtime.mounts import DEFAULT_SHM_BYTES, masked_paths, merged_tmpfs_options, readonly_paths
from onggi.runtime.namespaces import OWN_SYSCTL_PREFIXES, OWN_SYSCTLS, check_modes
from onggi.runtime.security import parse_security_options

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["InvalidOption", "adapted_host_config", "check_host_config"]

_LEAST_MEMORY = 6 * 1024 * 1024
_NANO = 10**9
_RESTART_POLICIES = ("no", "always", "on-failure", "unless-stopped")
_PERIOD_US, _LEAST_QUOTA_US = (1_000, 1_000_000), 1_000


class InvalidOption(InvalidArgument):
    """Options that make no sense, alone or together."""


# --- what they become ---------------------------------------------------------------------------


def adapted_host_config(given: Mapping[str, Any], host: HostFacts, compat: str) -> dict[str, Any]:
    """``given`` with Docker's defaults for what is not said."""
    config = dict(given)
    privileged = bool(config.get("Privileged"))
    config["CapAdd"], config["CapDrop"] = (
        normalised(config[field], host.known, field) if config.get(field) else None
        for field in ("CapAdd", "CapDrop")
    )
    if (config.get("Memory") or 0) > 0 and not config.get("MemorySwap"):
        config["MemorySwap"] = 2 * config["Memory"]
    if (config.get("MemorySwappiness") or 0) < 0:
        config["MemorySwappiness"] = None
    config["PidsLimit"] = config.get("PidsLimit") or None
    config["OomKillDisable"] = bool(config.get("OomKillDisable"))
    config["ShmSize"] = config.get("ShmSize") or DEFAULT_SHM_BYTES
    config["IpcMode"] = config.get("IpcMode") or "private"
    config["CgroupnsMode"] = config.get("CgroupnsMode") or _cgroup_namespace(host, privileged)
    config["NetworkMode"] = config.get("NetworkMode") or "default"
    if privileged or config["IpcMode"] == "host" or config.get("PidMode") == "host":
        config["SecurityOpt"] = [*(config.get("SecurityOpt") or ()), "label=disable"]
    if not privileged:
        config["MaskedPaths"] = masked_paths(config, host.thermal, compat)
        config["ReadonlyPaths"] = readonly_paths(config)
    return config


def _cgroup_namespace(host: HostFacts, privileged: bool) -> str:
    return "private" if host.cgroups == "v2" and not privileged else "host"


# --- what they must be --------------------------------------------------------------------------


def check_host_config(config: dict[str, Any], host: HostFacts, compat: str) -> list[str]:
    """Warnings; what this kernel cannot do is taken out of ``config``. Raises InvalidArgument."""
    check_modes(config)
    _check_platform_words(config)
    parse_security_options(config.get("SecurityOpt") or ())
    _check_restart(config)
    _check_sysctls(config)
    _check_tmpfs(config)
    score = config.get("OomScoreAdj") or 0
    if not -1000 <= score <= 1000:
        raise InvalidOption(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    if (config.get("ShmSize") or 0) < 0:
        raise InvalidOption("SHM size can not be less than 0")
    _check_memory(config)
    _check_processors(config)
    _check_sets(config)
    return [*_take_out_unsupported(config, host), *_deprecated(config, compat)]


def _check_platform_words(config: Mapping[str, Any]) -> None:
    isolation = config.get("Isolation") or ""
    if isolation.lower() not in ("", "default"):
        raise InvalidOption(f"Invalid isolation: {quoted(isolation)} - linux only supports 'default'")
    if config.get("StorageOpt"):
        raise InvalidOption(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
            hint="no driver here limits what a container may write",
        )


def _check_restart(config: Mapping[str, Any]) -> None:
    policy = config.get("RestartPolicy") or {}
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    if name not in _RESTART_POLICIES:
        raise InvalidOption(f"invalid restart policy '{name}'", hint=f"one of {', '.join(_RESTART_POLICIES)}")
    if count < 0:
        raise InvalidOption("maximum retry count cannot be negative")
    if count and name != "on-failure":
        raise InvalidOption(f"maximum retry count cannot be used with restart policy '{name}'")
    if config.get("AutoRemove") and name != "no":
        raise InvalidOption("can't create 'AutoRemove' container with restart policy")


def _check_sysctls(config: Mapping[str, Any]) -> None:
    for name in config.get("Sysctls") or ():
        if name not in OWN_SYSCTLS and not name.startswith(OWN_SYSCTL_PREFIXES):
            raise InvalidOption(
                f"sysctl '{name}' is not whitelisted", hint="it would change the host, not the container"
            )
        if name.startswith("net.") and config.get("NetworkMode") == "host":
            raise InvalidOption(f"sysctl '{name}' is not allowed in the host's network namespace")


def _check_tmpfs(config: Mapping[str, Any]) -> None:
    for path, options in (config.get("Tmpfs") or {}).items():
        if not path.startswith("/"):
            raise InvalidOption(f"invalid mount path: '{path}' mount path must be absolute")
        merged_tmpfs_options([option for option in options.split(",") if option])


def _check_memory(config: Mapping[str, Any]) -> None:
    memory, swap = config.get("Memory") or 0, config.get("MemorySwap") or 0
    reservation = config.get("MemoryReservation") or 0
    swappiness = config.get("MemorySwappiness")
    if 0 < memory < _LEAST_MEMORY:
        raise InvalidOption("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidOption("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise InvalidOption("You should always set the Memory limit when using Memoryswap limit, see usage")
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidOption(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if 0 < reservation < _LEAST_MEMORY:
        raise InvalidOption("Minimum memory reservation allowed is 6MB")
    if memory and reservation > memory:
        raise InvalidOption("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_processors(config: Mapping[str, Any]) -> None:
    nano, period = config.get("NanoCpus") or 0, config.get("CpuPeriod") or 0
    quota, count = config.get("CpuQuota") or 0, os.cpu_count() or 1
    if nano and (period or quota):
        other = "CPU Period" if period else "CPU Quota"
        raise InvalidOption(f"Conflicting options: Nano CPUs and {other} cannot both be set.")
    if nano < 0 or nano > count * _NANO or 0 < nano < _NANO // 100:
        raise InvalidOption(
            f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        )
    if period and not _PERIOD_US[0] <= period <= _PERIOD_US[1]:
        raise InvalidOption(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < _LEAST_QUOTA_US:
        raise InvalidOption("CPU cfs quota can not be less than 1ms (i.e. 1000)")


_SETS = (
    ("CpusetCpus", "cpuset cpus", "CPUs", "/sys/devices/system/cpu/online"),
    ("CpusetMems", "cpuset mems", "memory nodes", "/sys/devices/system/node/online"),
)


def _check_sets(config: Mapping[str, Any]) -> None:
    """Processors and memory nodes that are asked for must be there."""
    for field, what, things, file in _SETS:
        text = config.get(field) or ""
        if not text:
            continue
        wanted = _numbers(text)
        if wanted is None:
            raise InvalidOption(f"Invalid value {text} for {what}: invalid format: {text}")
        available = _available(file)
        if not wanted <= (_numbers(available) or set()):
            raise InvalidOption(
                f"Requested {things} are not available - requested {text}, available: {available}"
            )


_SET = r"\d{1,5}(?:-\d{1,5})?"


def _numbers(text: str) -> set[int] | None:
    """``0-3,7``; None for what is none."""
    found: set[int] = set()
    for part in text.split(","):
        if re.fullmatch(_SET, part) is None:
            return None
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            return None
        found.update(range(int(first), int(last or first) + 1))
    return found


def _available(file: str) -> str:
    try:
        with open(file, encoding="ascii") as numbers:
            return numbers.read().strip()
    except OSError:
        return "0"


_BLOCK_IO: tuple[tuple[str, Any, str, str, str], ...] = (
    ("BlkioWeight", 0, "blkio.weight", "Block I/O weight", "Weight discarded"),
    ("BlkioWeightDevice", [], "blkio.weight_device", "Block I/O weight_device", "Weight-device discarded"),
)


def _take_out_unsupported(config: dict[str, Any], host: HostFacts) -> list[str]:
    warnings = []
    if host.cgroups == "v1":
        for field, nothing, file, what, consequence in _BLOCK_IO:
            if config.get(field) and not os.path.exists(f"/sys/fs/cgroup/blkio/{file}"):
                config[field] = nothing
                warnings.append(
                    f"Your kernel does not support {what} or the cgroup is not mounted. {consequence}."
                )
    weight = config.get("BlkioWeight") or 0
    if weight and not 10 <= weight <= 1000:
        raise InvalidOption("Range of blkio weight is from 10 to 1000")
    if config.get("OomKillDisable") and not config.get("Memory"):
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the "
            "system running out of resources."
        )
    return warnings


def _deprecated(config: Mapping[str, Any], compat: str) -> list[str]:
    if config.get("KernelMemory") and compat == "20.10":
        return ["Specifying a kernel memory limit is deprecated and will be removed in a future release."]
    return []
