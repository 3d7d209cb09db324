"""Published ports: ``onggi port``, and the column of ``ps``."""

from __future__ import annotations

from onggi.cli.session import Failure, Session

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["ports_text", "run"]


def run(session: Session) -> int:
    """What of the host leads to a container, or to one of its ports."""
    name = session.arguments[0]
    container = session.engine.containers.get(name)
    ports: Mapping[str, Any] = container.inspect()["NetworkSettings"]["Ports"]
    if len(session.arguments) > 1:
        session.out.write("".join(f"{line}\n" for line in _one(ports, session.arguments[1], name)))
        return 0
    lines = [
        f"{inside} -> {_joined(binding['HostIp'], binding['HostPort'])}\n"
        for inside, bindings in ports.items()
        for binding in bindings or ()
    ]
    session.out.write("".join(sorted(lines, key=_natural)))
    return 0


def _one(ports: Mapping[str, Any], word: str, name: str) -> list[str]:
    number, slash, protocol = word.partition("/")
    bindings = ports.get(f"{number}/{protocol if slash else 'tcp'}")
    if not number.isdigit() or bindings is None:
        raise Failure(f"Error: No public port '{word}' published for {name}")
    return [_joined(binding["HostIp"], binding["HostPort"]) for binding in bindings]


def _natural(line: str) -> list[tuple[int, str]]:
    """Numbers by their value."""
    import re

    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", line)]


def _joined(address: str, port: object) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ports_text(ports: Sequence[Mapping[str, Any]]) -> str:
    """``443/tcp, 0.0.0.0:8080->80/tcp``: Docker's order, and neighbours as one range.

    Source: docker/cli ``cli/command/formatter/container.go`` (DisplayablePorts).
    """
    ordered = sorted(
        ports,
        key=lambda port: (port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port["Type"]),
    )
    closed: list[str] = []
    open_ranges: dict[tuple[str, str], tuple[int, int]] = {}
    moved: list[str] = []
    for port in ordered:
        number, address, protocol = port["PrivatePort"], port.get("IP", ""), port["Type"]
        if address and port.get("PublicPort") != number:
            moved.append(f"{_joined(address, port.get('PublicPort', 0))}->{number}/{protocol}")
            continue
        key = (address, protocol)
        first, last = open_ranges.get(key, (number, number - 1))
        if number != last + 1:
            closed.append(_range_text(key, first, last))
            first = number
        open_ranges[key] = (first, number)
    ranges = [_range_text(key, first, last) for key, (first, last) in open_ranges.items()]
    return ", ".join([*closed, *ranges, *moved])


def _range_text(key: tuple[str, str], first: int, last: int) -> str:
    address, protocol = key
    numbers = str(first) if first == last else f"{first}-{last}"
    return f"{_joined(address, numbers)}->{numbers}/{protocol}" if address else f"{numbers}/{protocol}"
