"""Networks and ports as the words of ``run`` and ``create`` name them.

Source: docker/cli ``opts/network.go``, ``opts/port.go``, ``cli/command/container/opts.go``
(parseNetworkOpts).
"""

from __future__ import annotations

from collections.abc import Mapping

from onggi.cli.session import Session
from onggi.errors import InvalidArgument

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NetworkOptionError", "network_settings", "parse_network", "published_ports"]

_DEFAULT = "default"
# Flags that speak of the first network, and how its long form and Docker's complaint call them.
_FLAGS = (
    ("network-alias", "alias", "alias"),
    ("ip", "ip", "IPv4 address"),
    ("ip6", "ip6", "IPv6 address"),
    ("mac-address", "mac-address", "MAC address"),
)
_ADDRESSES = (("IPv4Address", "ip"), ("IPv6Address", "ip6"))
_PORT_FIELDS = ("target", "published", "protocol", "mode")


class NetworkOptionError(Exception):
    """Options that mean nothing, or not together; the text is Docker's."""


# --- ports --------------------------------------------------------------------------------------


def published_ports(session: Session) -> tuple[dict[str, Any], dict[str, list[dict[str, str]]]]:
    """Docker's ExposedPorts and PortBindings. Raises NetworkOptionError."""
    from onggi.oci.port_specs import parse_publication

    exposed: dict[str, Any] = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    try:
        for text in session.flag("publish"):
            for inside, address, port in parse_publication(_long_port(text)):
                exposed[inside] = {}
                bindings.setdefault(inside, []).append({"HostIp": address, "HostPort": port})
        for text in session.flag("expose"):
            if ":" in text:
                raise NetworkOptionError(f"invalid port format for --expose: {text}")
            exposed |= {inside: {} for inside, _, _ in parse_publication(text)}
    except InvalidArgument as error:
        words = error.message.replace("Invalid ip", "invalid IP")
        raise NetworkOptionError(words[:1].lower() + words[1:]) from error
    return exposed, bindings


def _long_port(text: str) -> str:
    """``target=80,published=8080,protocol=udp`` in the short form."""
    if "=" not in text:
        return text
    fields = {"protocol": "tcp"}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not value or key.lower() not in _PORT_FIELDS:
            raise NetworkOptionError(f"invalid field: {part}")
        fields[key.lower()] = value
    if "target" not in fields:
        raise NetworkOptionError(f"missing mandatory field 'target' in {text}")
    inside = f"{fields['target']}/{fields['protocol']}"
    return f"{fields['published']}:{inside}" if "published" in fields else inside


# --- networks -----------------------------------------------------------------------------------


def network_settings(session: Session) -> tuple[str, dict[str, dict[str, Any]]]:
    """NetworkMode, and Docker's EndpointsConfig of all networks named. Raises NetworkOptionError."""
    named = list(session.flag("network"))
    if not named:
        named = [(_DEFAULT, {})]
    first, settings = named[0]
    if len(named) > 1 and not all(_joinable(name) for name, _ in named):
        raise NetworkOptionError(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    if session.flag("network-alias") and not _joinable(first):
        raise NetworkOptionError("network-scoped aliases are only supported for user-defined networks")
    _add_flags(session, settings)
    if session.flag("link") and _joinable(first):
        settings["link"] = list(session.flag("link"))
    found: dict[str, dict[str, Any]] = {}
    for name, given in named:
        if name in found:
            raise NetworkOptionError(f'network "{name}" is specified multiple times')
        found[name] = _endpoint(given)
    if _is_bare(first):
        return first, {}
    return first, {name: endpoint for name, endpoint in found.items() if endpoint or len(found) > 1}


def _joinable(name: str) -> bool:
    return not _is_bare(name) and name not in (_DEFAULT, "bridge")


def _is_bare(name: str) -> bool:
    return name in ("none", "host") or name.startswith("container:")


def parse_network(text: str) -> tuple[str, dict[str, list[str]]]:
    """``NAME``, or ``name=NAME,alias=A,ip=…``. Raises ValueError."""
    if "=" not in text:
        return text, {}
    fields: dict[str, list[str]] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals:
            raise ValueError(f"invalid field {part}")
        if key not in ("name", "alias", "ip", "ip6", "mac-address", "link-local-ip", "driver-opt"):
            raise ValueError(f"invalid field key {key}")
        fields.setdefault(key, []).append(value.strip())
    if "name" not in fields:
        raise ValueError("network name/id is not specified")
    return fields.pop("name")[-1], fields


def _add_flags(session: Session, settings: dict[str, list[str]]) -> None:
    """What stands in flags of its own belongs to the first network."""
    for flag, key, called in _FLAGS:
        value = session.flag(flag)
        values = list(value) if isinstance(value, list | tuple) else [value] if value else []
        if values and settings.get(key):
            what = f"both --{flag} and per-network {called}"
            raise NetworkOptionError(f"conflicting options: cannot specify {what}")
        if values:
            settings[key] = values


def _endpoint(fields: Mapping[str, list[str]]) -> dict[str, Any]:
    """Docker's EndpointSettings."""
    endpoint: dict[str, Any] = {}
    ipam: dict[str, Any] = {name: fields[key][-1] for name, key in _ADDRESSES if key in fields}
    if fields.get("link-local-ip"):
        ipam["LinkLocalIPs"] = fields["link-local-ip"]
    if ipam:
        endpoint["IPAMConfig"] = ipam
    if fields.get("alias"):
        endpoint["Aliases"] = list(fields["alias"])
    if fields.get("link"):
        endpoint["Links"] = list(fields["link"])
    if fields.get("mac-address"):
        endpoint["DesiredMacAddress"] = fields["mac-address"][-1]
    if fields.get("driver-opt"):
        endpoint["DriverOpts"] = dict(_pair(text) for text in fields["driver-opt"])
    return endpoint


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise NetworkOptionError("invalid key value pair format in driver options")
    return key, value
