"""How a container meets the network. Here: not at all (``none``), or as the host (``host``).

:class:`Networks` is the seam for networks that have to be made: what a start asks of them, and
what an end gives back.
"""

from __future__ import annotations

from collections.abc import Mapping

from onggi.errors import Unsupported
from onggi.record import field, record
from onggi.runtime.namespaces import shared_container

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["BareNetworks", "Connection", "Networks", "endpoint_settings"]


@record
class Connection:
    """What a container's network gives to its start.

    ``namespace`` is the path of a network namespace made for it (empty: the runtime makes a
    new one, or shares the host's). ``addresses`` go into its hosts file. ``settings`` change
    config.v2.json's NetworkSettings.
    """

    namespace: str = ""
    addresses: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Networks(Protocol):
    """What containers ask of networks."""

    def check(self, mode: str) -> None:
        """Raise when a container cannot be made with this NetworkMode."""

    def connect(self, document: Mapping[str, Any], host_config: Mapping[str, Any]) -> Connection:
        """Before a start."""

    def disconnect(self, id: str) -> None:
        """After the end, or a start that failed; what is gone already is no error."""


class BareNetworks:
    """Nothing has to be made for ``none`` and ``host``, nor to join another container's."""

    def check(self, mode: str) -> None:
        """Raises Unsupported for networks that need interfaces."""
        if mode not in ("none", "host") and shared_container(mode) is None:
            name = "bridge" if mode in ("", "default") else mode
            raise Unsupported(
                f"network {name} is not supported", hint="use --network none, host or container:NAME"
            )

    def connect(self, document: Mapping[str, Any], host_config: Mapping[str, Any]) -> Connection:
        """Nothing to do."""
        return Connection()

    def disconnect(self, id: str) -> None:
        """Nothing was made."""


def endpoint_settings(mode: str) -> dict[str, Any]:
    """NetworkSettings.Networks of a container that has not run."""
    if shared_container(mode) is not None:
        return {}
    return {
        mode: {
            "IPAMConfig": None,
            "Links": None,
            "Aliases": None,
            "NetworkID": "",
            "EndpointID": "",
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "MacAddress": "",
            "DriverOpts": None,
            "IPAMOperational": False,
        }
    }
