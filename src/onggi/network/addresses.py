"""Addresses and ranges of addresses of both families, as numbers.

The standard library's ``ipaddress`` says more and takes longer to import than a container's start
can spare.
"""

from __future__ import annotations

import socket

from onggi.errors import InvalidArgument
from onggi.record import record

__all__ = ["InvalidAddress", "Prefix", "address_text", "is_address", "mac_of", "parse_address"]


class InvalidAddress(InvalidArgument):
    """No address, or no range of addresses."""

    def __init__(self, text: str) -> None:
        super().__init__(f"invalid CIDR address: {text}", hint="e.g. 172.20.0.0/16 or fd00:20::/64")


def parse_address(text: str) -> tuple[int, int]:
    """Its number and its bits, 32 or 128. Raises ValueError."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        packed = socket.inet_pton(family, text)
    except OSError:
        raise ValueError(f"invalid IP address: {text}") from None
    return int.from_bytes(packed, "big"), 8 * len(packed)


def is_address(text: str) -> bool:
    """True for an address of either family."""
    try:
        parse_address(text)
    except ValueError:
        return False
    return True


def address_text(number: int, bits: int) -> str:
    """The usual way to write an address."""
    family = socket.AF_INET if bits == 32 else socket.AF_INET6
    return socket.inet_ntop(family, number.to_bytes(bits // 8, "big"))


def mac_of(address: str) -> str:
    """Docker's MAC address of an IPv4 address: ``02:42`` and its four bytes."""
    number, _ = parse_address(address)
    return ":".join(f"{byte:02x}" for byte in (2, 0x42, *number.to_bytes(4, "big")))


@record
class Prefix:
    """``base``/``length``: the addresses of ``bits`` bits that begin with the same ``length`` bits."""

    base: int
    length: int
    bits: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """``10.0.0.0/8``; bits of the host count for nothing. Raises InvalidAddress."""
        address, slash, length = text.partition("/")
        try:
            number, bits = parse_address(address)
            size = int(length)
        except ValueError:
            raise InvalidAddress(text) from None
        if not slash or not 0 <= size <= bits or not length.isdigit():
            raise InvalidAddress(text)
        return cls(number >> (bits - size) << (bits - size), size, bits)

    def __str__(self) -> str:
        return f"{address_text(self.base, self.bits)}/{self.length}"

    @property
    def last(self) -> int:
        """The number of the last address."""
        return self.base | ((1 << (self.bits - self.length)) - 1)

    def holds(self, address: str) -> bool:
        """True when ``address`` is one of these."""
        number, bits = parse_address(address)
        return bits == self.bits and self.base <= number <= self.last

    def overlaps(self, other: Prefix) -> bool:
        """True when an address is in both."""
        return self.bits == other.bits and self.base <= other.last and other.base <= self.last
