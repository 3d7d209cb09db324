"""Ports of the host that lead to containers.

Each is held by a socket bound to it as long as the container runs: so nobody else, container or
program, gets it meanwhile, and a crash gives it back. Nothing is ever accepted there: the
firewall's rule sends on what arrives before a socket would see it. SCTP's are not held, since few
kernels have its sockets.

Source: moby ``libnetwork/portallocator/portallocator.go``, ``daemon/network.go`` (getPortMapInfo).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onggi.errors import Conflict, InvalidArgument, ResourceExhausted
from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PortTaken", "PublishedPort", "mappings", "publish"]

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EVERYWHERE = "0.0.0.0"  # noqa: S104  published ports are meant for everybody, as Docker's are
_USUAL_RANGE = (49153, 65535)
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_MAX_HELD = 200
"""Sockets that are held for one container: they travel to its supervisor in one message (SCM_MAX_FD 253)."""


class PortTaken(Conflict):
    """Another container, or a program of the host, has the port."""

    def __init__(self, address: str, port: int, what: str = "") -> None:
        super().__init__(f"{what}Bind for {_shown(address, port)} failed: port is already allocated")


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@record
class PublishedPort:
    """``host_ip``:``host_port`` leads to ``container_port``; ``protocol`` is tcp, udp or sctp."""

    container_port: int
    protocol: str
    host_ip: str
    host_port: int

    @property
    def inside(self) -> str:
        """Docker's name of the container's side."""
        return f"{self.container_port}/{self.protocol}"


def publish(
    bindings: Mapping[str, Sequence[Mapping[str, Any]]], default_ip: str, what: str
) -> tuple[list[PublishedPort], list[socket.socket]]:
    """Ports for ``bindings`` (Docker's PortBindings), and the sockets that hold them.

    ``default_ip`` stands where no address was said (empty: all), ``what`` before an error's text.
    Raises PortTaken, InvalidArgument, ResourceExhausted.
    """
    ports: list[PublishedPort] = []
    held: list[socket.socket] = []
    try:
        for inside, wanted in sorted(bindings.items(), key=_order):
            number, _, protocol = inside.partition("/")
            for binding in wanted or ({},):
                address = binding.get("HostIp") or default_ip or _EVERYWHERE
                first, last = _wanted_range(str(binding.get("HostPort") or ""))
                port, holder = _bound(protocol or "tcp", address, first, last, what)
                ports.append(PublishedPort(int(number), protocol or "tcp", address, port))
                if holder is not None and len(held) < _MAX_HELD:
                    held.append(holder)
    except BaseException:
        for holder in held:
            holder.close()
        raise
    return ports, held


def _order(entry: tuple[str, Any]) -> tuple[int, str]:
    number, _, protocol = entry[0].partition("/")
    return int(number), protocol


def _bound(protocol: str, address: str, first: int, last: int, what: str) -> tuple[int, socket.socket | None]:
    """The first port of a range that is free, and its holder."""
    if protocol not in _KINDS:
        return first, None
    for port in range(first, last + 1):
        held = _bind(protocol, address, port)
        if held is not None:
            return port, held
    if first == last:
        raise PortTaken(address, first, what)
    raise ResourceExhausted(f"{what}all ports are allocated: {first}-{last} on {address}")


def _wanted_range(text: str) -> tuple[int, int]:
    if not text or text == "0":
        return _ephemeral()
    first, _, last = text.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        raise InvalidArgument(f"Error validating HostPort value ({text})", hint="a port or a range of ports")
    return int(first), int(last or first)


def _ephemeral() -> tuple[int, int]:
    try:
        first, last = _RANGE.read_text().split()
    except (OSError, ValueError):
        return _USUAL_RANGE
    return int(first), int(last)


def _bind(protocol: str, address: str, port: int) -> socket.socket | None:
    """A socket bound there, or None when somebody has the port."""
    holder = _new(protocol, address)
    try:
        holder.bind((address, port))
    except OSError as error:
        holder.close()
        if error.errno == errno.EADDRINUSE:
            return _bind_late(address, port) if protocol == "tcp" else None
        raise InvalidArgument(
            f"cannot publish {_shown(address, port)}/{protocol}: {(error.strerror or str(error)).lower()}"
        ) from error
    return holder


def _bind_late(address: str, port: int) -> socket.socket | None:
    """Connections of an earlier server that are just ending do not count: who may listen has the port."""
    holder = _new("tcp", address)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((address, port))
        holder.listen(0)
    except OSError:
        holder.close()
        return None
    return holder


def _new(protocol: str, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    created = socket.socket(family, _KINDS[protocol])
    if family == socket.AF_INET6:
        created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return created


def mappings(ports: Sequence[PublishedPort]) -> Iterator[dict[str, Any]]:
    """netavark's ``port_mappings``."""
    for port in ports:
        any_address = port.host_ip in (_EVERYWHERE, "::")
        yield {
            "container_port": port.container_port,
            "host_ip": "" if any_address else port.host_ip,
            "host_port": port.host_port,
            "protocol": port.protocol,
            "range": 1,
        }
