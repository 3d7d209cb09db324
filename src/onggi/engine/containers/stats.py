"""``stats``: what a container uses, from its control groups and its network namespace.

The runtime reads the groups, of either version. As Docker counts: memory without the file cache
that can be given back at once, processors in per cent of one, the network over all interfaces
but the loopback.

Source: moby ``daemon/stats_unix.go``; docker/cli ``cli/command/container/stats_helpers.go``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from onggi.engine.containers.running import is_running
from onggi.engine.containers.start import container_runtime
from onggi.engine.core import Core
from onggi.errors import OnggiError
from onggi.record import record
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ContainerStats", "Reading", "compare_readings", "read_usage"]

_SECOND_NS = 10**9


@record
class Reading:
    """One look; ``cpu_ns`` of the container since its start, ``system_ns`` of all processors since boot."""

    cpu_ns: int
    system_ns: int
    memory_bytes: int
    limit_bytes: int
    received_bytes: int
    sent_bytes: int
    read_bytes: int
    written_bytes: int
    processes: int


@record
class ContainerStats:
    """What ``docker stats`` shows. ``cpu_percent`` is of one processor; bytes otherwise."""

    cpu_percent: float
    memory_bytes: int
    limit_bytes: int
    received_bytes: int
    sent_bytes: int
    read_bytes: int
    written_bytes: int
    processes: int

    @property
    def memory_percent(self) -> float:
        """Of the limit."""
        return 100.0 * self.memory_bytes / self.limit_bytes if self.limit_bytes else 0.0


def read_usage(core: Core, stored: StoredContainer) -> Reading | None:
    """Now; None for a container that does not run."""
    if not is_running(core, stored):
        return None
    try:
        found = container_runtime(core, stored.host_config).statistics(stored.id)
    except OnggiError:
        return None  # it has just ended
    memory = found.get("memory") or {}
    usage = memory.get("usage") or {}
    received, sent = network_bytes(int(stored.state.get("Pid") or 0))
    read, written = block_bytes(found.get("blkio") or {})
    return Reading(
        int(((found.get("cpu") or {}).get("usage") or {}).get("total") or 0),
        system_ns(),
        used_memory(int(usage.get("usage") or 0), memory.get("raw") or {}),
        min(int(usage.get("limit") or 0) or machine_memory(), machine_memory()),
        received,
        sent,
        read,
        written,
        int((found.get("pids") or {}).get("current") or 0),
    )


def compare_readings(before: Reading | None, now: Reading | None) -> ContainerStats:
    """What is shown for two looks, the second being the later; zeros for what does not run."""
    if now is None:
        return ContainerStats(0.0, 0, 0, 0, 0, 0, 0, 0)
    percent = 0.0
    if before is not None:
        own, all_ = now.cpu_ns - before.cpu_ns, now.system_ns - before.system_ns
        if own > 0 and all_ > 0:
            percent = 100.0 * own / all_ * (os.cpu_count() or 1)
    return ContainerStats(
        percent,
        now.memory_bytes,
        now.limit_bytes,
        now.received_bytes,
        now.sent_bytes,
        now.read_bytes,
        now.written_bytes,
        now.processes,
    )


def measured(core: Core, stored: StoredContainer, interval_s: float) -> ContainerStats:
    """Two looks, ``interval_s`` seconds apart."""
    before = read_usage(core, stored)
    if before is not None:
        time.sleep(interval_s)
    return compare_readings(before, read_usage(core, stored))


# --- where the numbers come from ----------------------------------------------------------------


def used_memory(usage_bytes: int, raw: Mapping[str, Any]) -> int:
    """Without the inactive part of the file cache: v1 counts that of groups below as ``total_…``."""
    inactive = int(raw.get("total_inactive_file", raw.get("inactive_file", 0)))
    return usage_bytes - inactive if inactive < usage_bytes else usage_bytes


def block_bytes(block_io: Mapping[str, Any]) -> tuple[int, int]:
    """Read and written, over all devices."""
    sums = {"r": 0, "w": 0}
    for entry in block_io.get("ioServiceBytesRecursive") or ():
        kind = str(entry.get("op") or "")[:1].lower()
        if kind in sums:
            sums[kind] += int(entry.get("value") or 0)
    return sums["r"], sums["w"]


def network_bytes(pid: int) -> tuple[int, int]:
    """Received and sent in the network namespace of a process, the loopback aside."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            lines = file.read().splitlines()[2:]
    except OSError:
        return 0, 0
    received = sent = 0
    for line in lines:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            fields = numbers.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def system_ns() -> int:
    """Time of all processors since boot, idle time included (proc(5), /proc/stat)."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(field) for field in file.readline().split()[1:8]]
    return sum(ticks) * _SECOND_NS // os.sysconf("SC_CLK_TCK")


def machine_memory() -> int:
    """Bytes of this host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
