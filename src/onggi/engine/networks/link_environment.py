"""What ``--link`` says in the environment of who links: addresses and ports, and the other's own variables.

For ``--link db:al``, where db has ``-e X=1`` and the ports 90 and 91 of TCP::

    AL_PORT=tcp://172.17.0.2:90
    AL_PORT_90_TCP_START=…   (of three ports or more in a row: also _PORT_START, _END, _PORT_END)
    AL_PORT_90_TCP=tcp://172.17.0.2:90     (of each port: _ADDR, _PORT, _PROTO)
    AL_NAME=/owner/al
    AL_ENV_X=1

Source: moby ``links/links.go`` (ToEnv), ``daemon/container_operations_unix.go`` (setupLinkedContainers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onggi.engine.core import Core
from onggi.engine.networks.links import container_finder, parse_link
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["linked_environment"]

_BRIDGE = "bridge"
# They are every container's own.
_NOT_TOLD = ("HOME", "PATH")
Port = tuple[int, str]


def linked_environment(core: Core, document: Mapping[str, Any], host_config: Mapping[str, Any]) -> list[str]:
    """``NAME=value`` of the links on the default bridge; none for who has no address there."""
    links = host_config.get("Links") or ()
    if not links or _BRIDGE not in document["NetworkSettings"]["Networks"]:
        return []
    find = container_finder(core)
    owner = str(document["Name"])
    told: list[str] = []
    for name, alias in map(parse_link, links):
        stored = find(name)
        address = "" if stored is None else _address(stored)
        if stored is not None and address:
            told += _told(f"{owner}/{alias}", alias, address, stored.config)
    return told


def _address(stored: StoredContainer) -> str:
    endpoint = stored.document["NetworkSettings"]["Networks"].get(_BRIDGE) or {}
    return str(endpoint.get("IPAddress") or "")


def _told(path: str, alias: str, address: str, config: Mapping[str, Any]) -> Iterator[str]:
    prefix = alias.upper().replace("-", "_")
    ports = _ports(config.get("ExposedPorts") or {})
    if ports:
        yield f"{prefix}_PORT={_url(address, ports[0])}"
    for first, last in _rows(ports):
        yield from _range(prefix, address, first, last)
    for number, protocol in ports:
        name = f"{prefix}_PORT_{number}_{protocol.upper()}"
        yield f"{name}={_url(address, (number, protocol))}"
        yield f"{name}_ADDR={address}"
        yield f"{name}_PORT={number}"
        yield f"{name}_PROTO={protocol}"
    yield f"{prefix}_NAME={path}"
    for entry in config.get("Env") or ():
        name, equals, value = entry.partition("=")
        if equals and name not in _NOT_TOLD:
            yield f"{prefix}_ENV_{name}={value}"


def _ports(exposed: Mapping[str, Any]) -> list[Port]:
    """By number, TCP first."""
    split = (text.partition("/") for text in exposed)
    found = [(int(number), protocol or "tcp") for number, _, protocol in split]
    return sorted(found, key=lambda port: (port[0], port[1] != "tcp", port[1]))


def _rows(ports: Sequence[Port]) -> Iterator[tuple[Port, Port]]:
    """First and last of three ports or more in a row, as Docker counts: two of one number pass for two."""
    start = 0
    while start < len(ports):
        end = _last_in_row(ports, start)
        if end > start + 1:
            yield ports[start], ports[end]
            start = end
        start += 1


def _last_in_row(ports: Sequence[Port], start: int) -> int:
    for place in range(start + 1, len(ports)):
        if ports[place][0] > ports[start][0] + place - start:
            return place - 1
    return len(ports) - 1


def _range(prefix: str, address: str, first: Port, last: Port) -> Iterator[str]:
    name = f"{prefix}_PORT_{first[0]}_{first[1].upper()}"
    yield f"{name}_START={_url(address, first)}"
    yield f"{name}_ADDR={address}"
    yield f"{name}_PROTO={first[1]}"
    yield f"{name}_PORT_START={first[0]}"
    yield f"{name}_END={_url(address, last)}"
    yield f"{name}_PORT_END={last[0]}"


def _url(address: str, port: Port) -> str:
    return f"{port[1]}://{address}:{port[0]}"
