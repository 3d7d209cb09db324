"""``container inspect``: Docker's object, put together from the two files.

Source: docker-engine §10.3 (GET /containers/{id}/json); moby ``daemon/inspect.go``.
"""

from __future__ import annotations

from collections.abc import Mapping

from onggi.engine.containers.running import is_running
from onggi.engine.core import Core
from onggi.errors import OnggiError
from onggi.oci.host_config import shown_host_config
from onggi.store.containers import ZERO_TIME, StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["inspect_container", "shown_mounts", "status_word", "true_state"]

_SHOWN_STATE = (
    "Running",
    "Paused",
    "Restarting",
    "OOMKilled",
    "Dead",
    "Pid",
    "ExitCode",
    "Error",
    "StartedAt",
    "FinishedAt",
)
# Of the first bridge-like network, at the top for old clients.
_OLD_FIELDS: tuple[tuple[str, Any], ...] = (
    ("EndpointID", ""),
    ("Gateway", ""),
    ("GlobalIPv6Address", ""),
    ("GlobalIPv6PrefixLen", 0),
    ("IPAddress", ""),
    ("IPPrefixLen", 0),
    ("IPv6Gateway", ""),
    ("MacAddress", ""),
)
_HIDDEN_FIELDS = ("IPAMOperational", "DesiredMacAddress")
_NETWORK_FIELDS = (
    "Bridge",
    "SandboxID",
    "HairpinMode",
    "LinkLocalIPv6Address",
    "LinkLocalIPv6PrefixLen",
    "Ports",
    "SandboxKey",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
)


def true_state(core: Core, stored: StoredContainer) -> dict[str, Any]:
    """The state, corrected where its supervisor was killed: nothing is running then."""
    state = dict(stored.state)
    if state.get("Running") and not is_running(core, stored):
        state.update(Running=False, Paused=False, Restarting=False, Pid=0, ExitCode=137)
        if state.get("Health"):
            state["Health"] = {**state["Health"], "Status": "unhealthy"}
    return state


def status_word(state: Mapping[str, Any]) -> str:
    """Docker's one word."""
    if state.get("Running"):
        return "paused" if state.get("Paused") else "restarting" if state.get("Restarting") else "running"
    if state.get("RemovalInProgress"):
        return "removing"
    if state.get("Dead"):
        return "dead"
    return "created" if state.get("StartedAt") in (None, "", ZERO_TIME) else "exited"


def inspect_container(core: Core, stored: StoredContainer, *, size: bool = False) -> dict[str, Any]:
    """The object, keys in Docker's order. ``size`` adds what the container and its image take."""
    document = stored.document
    state = true_state(core, stored)
    result: dict[str, Any] = {
        "Id": stored.id,
        "Created": document["Created"],
        "Path": document["Path"],
        "Args": document["Args"],
        "State": _shown_state(state),
        "Image": document["Image"],
        **{
            field: document.get(field) or ""
            for field in ("ResolvConfPath", "HostnamePath", "HostsPath", "LogPath")
        },
        "Name": document["Name"],
        "RestartCount": document.get("RestartCount") or 0,
        "Driver": document["Driver"],
        "Platform": document.get("OS") or "linux",
        "MountLabel": document.get("MountLabel") or "",
        "ProcessLabel": document.get("ProcessLabel") or "",
        "AppArmorProfile": document.get("AppArmorProfile") or "",
        "ExecIDs": _exec_ids(core, stored) if state.get("Running") else None,
        "HostConfig": shown_host_config(stored.host_config, core.config.compat),
        "GraphDriver": _graph_driver(core, stored),
    }
    if size:
        from onggi.engine.containers.sizes import container_sizes

        result["SizeRw"], result["SizeRootFs"] = container_sizes(core, stored)
    result["Mounts"] = shown_mounts(core, document)
    result["Config"] = stored.config
    result["NetworkSettings"] = _network_settings(stored, core.config.compat)
    return result


def _shown_state(state: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"Status": status_word(state), **{field: state.get(field) for field in _SHOWN_STATE}}
    if state.get("Health"):
        shown["Health"] = state["Health"]
    return shown


def _exec_ids(core: Core, stored: StoredContainer) -> list[str] | None:
    from onggi.runtime.client import SupervisorClient

    try:
        status = SupervisorClient(core.config.exec_root, stored.id).request("status")
    except OnggiError:
        return None
    return [execution["id"] for execution in status["execs"]] or None


def _graph_driver(core: Core, stored: StoredContainer) -> dict[str, Any]:
    try:
        data = core.driver.graph_data(core.writable.get(stored.id).mount_id)
    except OnggiError:
        data = {}
    return {"Data": data, "Name": core.driver.name}


def shown_mounts(core: Core, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``Mounts`` of inspect and ps."""
    points: Mapping[str, Mapping[str, Any]] = document.get("MountPoints") or {}
    return [_mount_point(core, point) for _, point in sorted(points.items())]


def _mount_point(core: Core, point: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"Type": point.get("Type") or ""}
    if point.get("Name"):
        shown["Name"] = point["Name"]
    shown["Source"] = point.get("Source") or ""
    if point.get("Type") == "volume":
        shown["Source"] = str(core.volumes.path(point["Name"]))
    shown["Destination"] = point["Destination"]
    if point.get("Driver"):
        shown["Driver"] = point["Driver"]
    return {
        **shown,
        "Mode": point.get("Relabel") or "",
        "RW": bool(point.get("RW")),
        "Propagation": point.get("Propagation") or "",
    }


def _network_settings(container: StoredContainer, compat: str) -> dict[str, Any]:
    stored: Mapping[str, Any] = container.document.get("NetworkSettings") or {}
    shown = {field: stored.get(field) for field in _NETWORK_FIELDS}
    shown["Ports"] = shown["Ports"] or {}
    networks = {
        name: _endpoint(container, name, endpoint, compat)
        for name, endpoint in (stored.get("Networks") or {}).items()
    }
    first: Mapping[str, Any] = networks.get("bridge") or {}
    shown |= {field: first.get(field, absent) for field, absent in _OLD_FIELDS}
    return {**shown, "Networks": networks}


def _endpoint(
    container: StoredContainer, network: str, endpoint: Mapping[str, Any], compat: str
) -> dict[str, Any]:
    """Docker's EndpointSettings; 28 has other places, and says which names resolve."""
    plain = {key: value for key, value in endpoint.items() if key not in _HIDDEN_FIELDS}
    if compat == "20.10":
        return plain
    shown = {key: plain.pop(key, None) for key in ("IPAMConfig", "Links", "Aliases", "MacAddress")}
    shown |= {"DriverOpts": plain.pop("DriverOpts", None), "GwPriority": 0, **plain, "DNSNames": None}
    if endpoint.get("EndpointID") and network != "bridge" and network not in ("none", "host"):
        names = (container.name, *(endpoint.get("Aliases") or ()), container.id[:12])
        hostname = str(container.config.get("Hostname") or "")
        shown["DNSNames"] = list(dict.fromkeys(name for name in (*names, hostname) if name))
    return shown
