"""``ps``'s column of ports, as docker/cli joins them."""

from __future__ import annotations

from typing import Any

import pytest

from onggi.cli.ports import ports_text


def _port(inside: int, outside: int = 0, address: str = "", protocol: str = "tcp") -> dict[str, Any]:
    published = {"IP": address, "PublicPort": outside} if outside else {}
    return {"PrivatePort": inside, "Type": protocol, **published}


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([], ""),
        ([_port(80)], "80/tcp"),
        ([_port(81), _port(80), _port(53, protocol="udp")], "53/udp, 80-81/tcp"),
        ([_port(80, 8080, "0.0.0.0"), _port(99)], "99/tcp, 0.0.0.0:8080->80/tcp"),
        (
            [_port(90, 90, "0.0.0.0"), _port(91, 91, "0.0.0.0"), _port(95, 95, "0.0.0.0")],
            "0.0.0.0:90-91->90-91/tcp, 0.0.0.0:95->95/tcp",
        ),
        ([_port(80, 8080, "::1")], "[::1]:8080->80/tcp"),
    ],
)
def test_ports(ports: list[dict[str, Any]], expected: str) -> None:
    assert ports_text(ports) == expected
