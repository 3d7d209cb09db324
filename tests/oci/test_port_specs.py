"""``-p`` in all its forms, as docker/go-connections reads it."""

from __future__ import annotations

import pytest

from onggi.oci.port_specs import InvalidPort, parse_port_spec, parse_publication


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [("80/tcp", "", "")]),
        ("8080:80/udp", [("80/udp", "", "8080")]),
        ("127.0.0.1::80", [("80/tcp", "127.0.0.1", "")]),
        ("[::1]:8080:80", [("80/tcp", "::1", "8080")]),
        ("8000-8001:80-81", [("80/tcp", "", "8000"), ("81/tcp", "", "8001")]),
        ("8000-8010:80", [("80/tcp", "", "8000-8010")]),
        ("8000-8000:80", [("80/tcp", "", "8000")]),
        ("80-81/SCTP", [("80/sctp", "", ""), ("81/sctp", "", "")]),
    ],
)
def test_forms(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert parse_publication(text) == expected
    assert parse_port_spec(text) == [inside for inside, _, _ in expected]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "No port specified: <empty>"),
        ("8080:", "No port specified: 8080:<empty>"),
        ("x", "Invalid containerPort: x"),
        ("x:80", "Invalid hostPort: x"),
        ("80/icmp", "Invalid proto: icmp"),
        ("8000-8002:80-81", "Invalid ranges specified for container and host Ports: 80-81 and 8000-8002"),
        ("1.2.3:80:80", "Invalid ip address: 1.2.3"),
        ("65536", "Invalid containerPort: 65536"),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    with pytest.raises(InvalidPort) as caught:
        parse_publication(text)
    assert caught.value.message == complaint
