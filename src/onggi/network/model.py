"""What a network is: Docker's object, without those who are connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onggi.network.addresses import Prefix, address_text
from onggi.record import field, record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BRIDGE_NAME", "MASQUERADE", "Network", "PREDEFINED", "Subnet"]

PREDEFINED = ("bridge", "host", "none")
"""Networks that are there without being made."""

_OPTION = "com.docker.network.bridge."
BRIDGE_NAME = f"{_OPTION}name"
MASQUERADE = f"{_OPTION}enable_ip_masquerade"
_ICC, _BINDING = (f"{_OPTION}{name}" for name in ("enable_icc", "host_binding_ipv4"))
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_MTU = "com.docker.network.driver.mtu"
_INTERFACE_LENGTH = 12


@record
class Subnet:
    """A range of addresses; ``gateway`` empty: its first address. ``auxiliary`` are others' addresses."""

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def prefix(self) -> Prefix:
        """All its addresses."""
        return Prefix.parse(self.subnet)

    @property
    def router(self) -> str:
        """The gateway's address, said or not."""
        if self.gateway:
            return self.gateway
        whole = self.prefix
        chosen = Prefix.parse(self.ip_range) if self.ip_range else whole
        return address_text(max(chosen.base, whole.base + 1), whole.bits)

    def to_json(self) -> dict[str, Any]:
        """An item of Docker's ``IPAM.Config``."""
        shown: dict[str, Any] = {"Subnet": self.subnet}
        if self.ip_range:
            shown["IPRange"] = self.ip_range
        if self.gateway:
            shown["Gateway"] = self.gateway
        if self.auxiliary:
            shown["AuxiliaryAddresses"] = dict(self.auxiliary)
        return shown

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Subnet:
        """The reverse."""
        return cls(
            shown.get("Subnet") or "",
            shown.get("Gateway") or "",
            shown.get("IPRange") or "",
            shown.get("AuxiliaryAddresses") or {},
        )


@record
class Network:
    """One network. ``own_subnets``: somebody chose its addresses; ``created`` is RFC 3339."""

    id: str
    name: str
    driver: str
    created: str
    subnets: Sequence[Subnet] = ()
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    ipam_driver: str = "default"
    ipam_options: Mapping[str, str] | None = field(default=None, hash=False)
    own_subnets: bool = False

    @property
    def short_id(self) -> str:
        """Docker's 12 digits."""
        return self.id[:12]

    @property
    def predefined(self) -> bool:
        """True for bridge, host and none."""
        return self.name in PREDEFINED

    @property
    def resolves(self) -> bool:
        """True when its containers find each other by name: user-defined networks."""
        return self.driver == "bridge" and not self.predefined

    @property
    def interface(self) -> str:
        """The bridge on the host, or the interface that a macvlan stands on."""
        if self.driver == "macvlan":
            return self.options.get("parent") or ""
        return self.options.get(BRIDGE_NAME) or f"br-{self.id[:_INTERFACE_LENGTH]}"

    @property
    def icc(self) -> bool:
        """True when its containers reach each other."""
        return self.options.get(_ICC, "true") not in _FALSE

    @property
    def mtu(self) -> str:
        """As it was given; empty for the kernel's."""
        return self.options.get(_MTU) or ""

    @property
    def host_binding(self) -> str:
        """The host's address on which its ports are published unless others are named."""
        return self.options.get(_BINDING) or ""

    def to_json(self) -> dict[str, Any]:
        """Docker's object, keys in its order."""
        return {
            "Name": self.name,
            "Id": self.id,
            "Created": self.created,
            "Scope": "local",
            "Driver": self.driver,
            "EnableIPv6": self.ipv6,
            "IPAM": {
                "Driver": self.ipam_driver,
                "Options": None if self.ipam_options is None else dict(self.ipam_options),
                "Config": [subnet.to_json() for subnet in self.subnets],
            },
            "Internal": self.internal,
            "Attachable": self.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": {},
            "Options": dict(self.options),
            "Labels": dict(self.labels),
        }

    def to_file(self) -> dict[str, Any]:
        """What is stored: the same, and whether its addresses were chosen by somebody."""
        return {**self.to_json(), "OwnSubnets": self.own_subnets}

    @classmethod
    def from_file(cls, stored: Mapping[str, Any]) -> Network:
        """The reverse."""
        ipam: Mapping[str, Any] = stored.get("IPAM") or {}
        return cls(
            id=stored["Id"],
            name=stored["Name"],
            driver=stored["Driver"],
            created=stored["Created"],
            subnets=tuple(Subnet.from_json(shown) for shown in ipam.get("Config") or ()),
            ipv6=bool(stored.get("EnableIPv6")),
            internal=bool(stored.get("Internal")),
            attachable=bool(stored.get("Attachable")),
            options=stored.get("Options") or {},
            labels=stored.get("Labels") or {},
            ipam_driver=ipam.get("Driver") or "default",
            ipam_options=ipam.get("Options"),
            own_subnets=bool(stored.get("OwnSubnets")),
        )
