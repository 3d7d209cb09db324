"""Ports of the host that lead to containers.

Each is held by a socket bound to it as long as the container runs: so nobody else, container or
program, gets it meanwhile, and a crash gives it back. Nothing is ever accepted there: the
firewall's rule sends on what arrives before a socket would see it. What arrives at an IPv6 address
is no IPv4 container's by a rule: the supervisor takes it from the socket, and carries it there
(runtime/supervisor/userland_proxy.py). SCTP's are not held, since few kernels have its sockets.

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

__all__ = ["PortTaken", "PublishedPort", "carried", "mappings", "publish"]

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EVERYWHERE = "0.0.0.0"  # noqa: S104  published ports are meant for everybody, as Docker's are
_EVERYWHERE_IPV6 = "::"
_BACKLOG = 128
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
    bindings: Mapping[str, Sequence[Mapping[str, Any]]], default_ip: str, what: str, *, ipv6: bool = True
) -> tuple[list[PublishedPort], list[socket.socket]]:
    """Ports for ``bindings`` (Docker's PortBindings), and the sockets that hold them.

    ``default_ip`` stands where no address was said (empty: all, and with ``ipv6`` those of IPv6 too, where
    the host has them), ``what`` before an error's text.
    Raises PortTaken, InvalidArgument, ResourceExhausted.
    """
    ports: list[PublishedPort] = []
    held: list[socket.socket] = []
    try:
        for inside, wanted in sorted(bindings.items(), key=_order):
            number, _, protocol = inside.partition("/")
            for binding in wanted or ({},):
                addresses = _addresses(binding.get("HostIp") or "", default_ip, protocol, ipv6=ipv6)
                first, last = _wanted_range(str(binding.get("HostPort") or ""))
                port, holders = _bound(protocol or "tcp", addresses, first, last, what)
                for place, address in enumerate(addresses):
                    if place and len(held) + len(holders) > _MAX_HELD:
                        holders.pop().close()  # nobody would carry what arrives there
                        break
                    ports.append(PublishedPort(int(number), protocol or "tcp", address, port))
                held.extend(holders)
    except BaseException:
        for holder in held:
            holder.close()
        raise
    return ports, held


def _order(entry: tuple[str, Any]) -> tuple[int, str]:
    number, _, protocol = entry[0].partition("/")
    return int(number), protocol


def _addresses(said: str, default_ip: str, protocol: str, *, ipv6: bool) -> tuple[str, ...]:
    """Those of the host on which a port is published."""
    address = said or default_ip or _EVERYWHERE
    everywhere = ipv6 and not said and address == _EVERYWHERE and (protocol or "tcp") in _KINDS
    return (address, _EVERYWHERE_IPV6) if everywhere and _has_ipv6() else (address,)


def _has_ipv6() -> bool:
    try:
        with _new("tcp", _EVERYWHERE_IPV6) as probe:
            probe.bind((_EVERYWHERE_IPV6, 0))
    except OSError:
        return False
    return True


def _bound(
    protocol: str, addresses: Sequence[str], first: int, last: int, what: str
) -> tuple[int, list[socket.socket]]:
    """The first port of a range that is free on all of ``addresses``, and what holds it there."""
    if protocol not in _KINDS:
        return first, []
    for port in range(first, last + 1):
        held: list[socket.socket] = []
        for address in addresses:
            holder = _bind(protocol, address, port)
            if holder is None:
                break
            held.append(holder)
        if len(held) == len(addresses):
            return port, held
        for holder in held:
            holder.close()
        if first == last:
            raise PortTaken(addresses[len(held)], first, what)
    raise ResourceExhausted(f"{what}all ports are allocated: {first}-{last} on {addresses[0]}")


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
        if protocol == "tcp" and ":" in address:
            holder.listen(_BACKLOG)
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
        holder.listen(_BACKLOG if ":" in address else 0)
    except OSError:
        holder.close()
        return None
    return holder


def _new(protocol: str, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    created = socket.socket(family, _KINDS[protocol])
    if family == socket.AF_INET6:
        created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Its connections have the port, too: those that are just ending must not keep the next one out.
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(protocol == "tcp"))
    return created


def carried(ports: Sequence[PublishedPort], address: str) -> list[dict[str, Any]]:
    """What the supervisor carries to the container's ``address``, by the sockets' own names."""
    return [
        {
            "held": [port.protocol, port.host_ip, port.host_port],
            "target": [address, port.container_port],
        }
        for port in ports
        if ":" in port.host_ip and port.protocol in _KINDS
    ]


def mappings(ports: Sequence[PublishedPort], *, ipv6: bool = False) -> Iterator[dict[str, Any]]:
    """netavark's ``port_mappings``; ``ipv6``: the container has an IPv6 address.

    No address means both families there: so ``::`` goes without a rule of its own.
    """
    for port in ports:
        if ":" in port.host_ip and (port.host_ip == _EVERYWHERE_IPV6 or not ipv6):
            continue
        yield {
            "container_port": port.container_port,
            "host_ip": "" if port.host_ip == _EVERYWHERE else port.host_ip,
            "host_port": port.host_port,
            "protocol": port.protocol,
            "range": 1,
        }
