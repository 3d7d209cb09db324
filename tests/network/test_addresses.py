"""Addresses and ranges against the standard library's."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.network.addresses import InvalidAddress, Prefix, address_text, is_address, mac_of, parse_address

_networks = st.one_of(
    st.builds(lambda n, length: (n, length, 32), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda n, length: (n, length, 128), st.integers(0, 2**128 - 1), st.integers(0, 128)),
)


def _theirs(number: int, length: int, bits: int):
    kind = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    return kind((number, length), strict=False)


@given(_networks, _networks)
def test_ranges_are_those_of_the_standard_library(first, second) -> None:
    one, other = (Prefix.parse(f"{address_text(n, bits)}/{length}") for n, length, bits in (first, second))
    theirs, others = _theirs(*first), _theirs(*second)
    assert ipaddress.ip_network(str(one)) == theirs
    assert one.last == int(theirs.broadcast_address)
    assert one.overlaps(other) == (first[2] == second[2] and theirs.overlaps(others))
    assert one.holds(address_text(one.last, one.bits))


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0/8", "fd00::/129", "x/8"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidAddress):
        Prefix.parse(text)


def test_words_that_are_addresses() -> None:
    assert [is_address(text) for text in ("1.2.3.4", "::1", "1.2.3", "host", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert parse_address("0.0.1.0") == (256, 32)


def test_docker_s_mac_address() -> None:
    assert mac_of("172.17.0.2") == "02:42:ac:11:00:02"
