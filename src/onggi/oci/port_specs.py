"""Ports as users write them.

    spec  = [ [ ip ":" ] [ range ] ":" ] range [ "/" protocol ]
    range = port [ "-" port ]

Only the container's side counts where no port is published. Source: docker/go-connections ``nat``.
"""

from __future__ import annotations

import ipaddress

from onggi.errors import InvalidArgument

__all__ = ["InvalidPort", "parse_port_spec", "parse_publication"]

_PROTOCOLS = ("tcp", "udp", "sctp")
_LAST_PORT = 65535


class InvalidPort(InvalidArgument):
    """No port; the message is Docker's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, hint="a port looks like 80, 53/udp or 8000-8010/tcp")


def parse_port_spec(text: str) -> list[str]:
    """``80-81/udp`` → ``80/udp``, ``81/udp``. Raises InvalidPort."""
    return [inside for inside, _, _ in parse_publication(text)]


def parse_publication(text: str) -> list[tuple[str, str, str]]:
    """``1.2.3.4:8080:80`` → ``("80/tcp", "1.2.3.4", "8080")``: container's port, host's address and port.

    A range of the container's takes as long a range of the host; a single port may be given one of
    a range, which is then left as it is: ``8080-8090``. Raises InvalidPort.
    """
    *host, container = text.split(":")
    address = ":".join(host[:-1])
    _check_address(address)
    ports, _, protocol = container.partition("/")
    protocol = (protocol.partition("/")[0] or "tcp").lower()
    if not ports:
        raise InvalidPort(f"No port specified: {text}<empty>")
    first, last = _range(ports, "Invalid containerPort")
    outside = host[-1] if host else ""
    host_first, host_last = _range(outside, "Invalid hostPort") if outside else (0, 0)
    if outside and last - first != host_last - host_first and first != last:
        raise InvalidPort(f"Invalid ranges specified for container and host Ports: {ports} and {outside}")
    if protocol not in _PROTOCOLS:
        raise InvalidPort(f"Invalid proto: {protocol}")
    address = address.removeprefix("[").removesuffix("]")
    if first == last:
        one = outside.partition("-")[0] if host_first == host_last else outside
        return [(f"{first}/{protocol}", address, one)]
    return [
        (f"{first + index}/{protocol}", address, str(host_first + index) if outside else "")
        for index in range(last - first + 1)
    ]


def _check_address(text: str) -> None:
    address = text.removeprefix("[").removesuffix("]")
    if not address:
        return
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise InvalidPort(f"Invalid ip address: {address}") from None


def _range(text: str, complaint: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    ends = (first, last if dash else first)
    if not all(end.isascii() and end.isdigit() and len(end) <= 5 and int(end) <= _LAST_PORT for end in ends):
        raise InvalidPort(f"{complaint}: {text}")
    low, high = (int(end) for end in ends)
    if high < low:
        raise InvalidPort(f"{complaint}: {text}")
    return low, high
