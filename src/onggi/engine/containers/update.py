"""``update``: other limits, or another restart policy, for a container that may be running.

Source: moby ``daemon/update.go``, ``container/container_unix.go`` (UpdateContainer).
"""

from __future__ import annotations

from collections.abc import Mapping

from onggi.engine.containers.checks import check_host_config
from onggi.engine.containers.container_events import emit
from onggi.engine.containers.defaults import host_facts
from onggi.engine.containers.running import is_running
from onggi.engine.containers.start import container_runtime
from onggi.engine.core import Core
from onggi.errors import Conflict, OnggiError
from onggi.runtime.resources import resources
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["UPDATABLE", "CannotUpdate", "update_container"]

UPDATABLE = (
    "BlkioWeight",
    "CpuShares",
    "NanoCpus",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "Memory",
    "MemorySwap",
    "MemoryReservation",
    "KernelMemory",
)
"""Fields of HostConfig that a value other than nothing replaces; PidsLimit, where it is given, too."""

# What Docker notes and never sets for one that runs (moby daemon/update_linux.go).
_AT_NEXT_START = ("CpuRealtimePeriod", "CpuRealtimeRuntime")
_EXCLUSIVE = (
    ("NanoCpus", "CpuPeriod", "Nano CPUs cannot be updated as CPU Period has already been set"),
    ("NanoCpus", "CpuQuota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
    ("CpuPeriod", "NanoCpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
    ("CpuQuota", "NanoCpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
)


class CannotUpdate(Conflict):
    """Docker's words around the reason."""

    def __init__(self, id: str, reason: str, hint: str = "") -> None:
        super().__init__(f"Cannot update container {id}: {reason}", hint=hint)


def update_container(core: Core, stored: StoredContainer, wanted: Mapping[str, Any]) -> list[str]:
    """Change what ``wanted`` (of HostConfig) says; gives warnings. Raises CannotUpdate, InvalidArgument.

    The file says it before the kernel is asked; where that refuses, the file gets its old words back.
    """
    given = dict(wanted)
    warnings = check_host_config(given, host_facts(core.config), core.config.compat)
    if stored.state.get("RemovalInProgress") or stored.state.get("Dead"):
        raise CannotUpdate(stored.id, 'container is marked for removal and cannot be "update"')
    with core.writing():
        before: dict[str, Any] = {}

        def change(host_config: dict[str, Any]) -> None:
            before.update(host_config)
            _merge(stored, host_config, given)

        core.containers.update_host_config(stored.id, change)
        try:
            _apply(core, stored, given)
        except OnggiError as error:
            core.containers.update_host_config(stored.id, lambda host_config: host_config.update(before))
            raise CannotUpdate(stored.id, error.message, error.hint) from error
    emit(core, "update", stored)
    return warnings


def _merge(stored: StoredContainer, current: dict[str, Any], given: Mapping[str, Any]) -> None:
    for field, other, reason in _EXCLUSIVE:
        if (given.get(field) or 0) > 0 and (current.get(other) or 0) > 0:
            raise CannotUpdate(stored.id, f"Conflicting options: {reason}")
    memory, swap = given.get("Memory") or 0, current.get("MemorySwap") or 0
    if memory and memory > swap and not given.get("MemorySwap"):
        raise CannotUpdate(
            stored.id,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the "
            "same time",
            hint="--memory-swap, -1 for no limit",
        )
    policy = given.get("RestartPolicy") or {}
    if current.get("AutoRemove") and policy.get("Name") not in (None, "", "no"):
        raise CannotUpdate(
            stored.id, "Restart policy cannot be updated because AutoRemove is enabled for the container"
        )
    current.update({field: given[field] for field in UPDATABLE if given.get(field)})
    if given.get("PidsLimit") is not None:
        current["PidsLimit"] = max(given["PidsLimit"], 0)  # no limit
    if policy.get("Name"):
        current["RestartPolicy"] = dict(policy)


def _apply(core: Core, stored: StoredContainer, given: Mapping[str, Any]) -> None:
    """The limits of one that does not run are set when it starts; its supervisor reads the policy itself."""
    asked = {field: given[field] for field in UPDATABLE if given.get(field) and field not in _AT_NEXT_START}
    if given.get("PidsLimit") is not None:
        asked["PidsLimit"] = given["PidsLimit"]
    if asked and is_running(core, stored) and not stored.state.get("Restarting"):
        container_runtime(core, stored.host_config).update(stored.id, _said(resources(asked)))


def _said(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not asked for: a zero would be taken for a limit."""
    return {
        kind: {key: value for key, value in limits.items() if value}
        for kind, limits in wanted.items()
        if any(limits.values())
    }
