"""Which proxy a request goes through, by Go's rules (golang.org/x/net/http/httpproxy).

``no_proxy`` is a comma-separated list of

======================  =====================================================
``*``                   everything
``10.0.0.0/8``          addresses of a network
``10.1.2.3[:port]``     an address
``example.com[:port]``  the name and everything below it
``.example.com``        everything below it (also written ``*.example.com``)
======================  =====================================================

``localhost`` and loopback addresses never go through a proxy. Names are not resolved.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, unquote, urlsplit

from onggi.config import Config
from onggi.registry.errors import ProxySettings

__all__ = ["Proxy", "proxy_for"]


_SOCKS = ("socks5", "socks5h")
# Where a proxy listens that names no port.
_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class Proxy:
    """A proxy's address, and its credentials apart (they belong into no error)."""

    def __init__(self, text: str) -> None:
        parts = _split(text)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self.socks = parts.scheme in _SOCKS
        self.host, self.port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        port = self.port
        self.url = f"{parts.scheme}://{host}:{port}"
        self.credentials = ""
        if parts.username:
            self.credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


def proxy_for(config: Config, scheme: str, host: str, port: int) -> Proxy | None:
    """The proxy for a request, or None. Raises ProxySettings."""
    text = config.https_proxy if scheme == "https" else config.http_proxy
    if not text or _bypasses(config.no_proxy, host.lower(), port):
        return None
    return Proxy(text)


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ProxySettings("invalid proxy address", hint="it looks like http://proxy.example:3128")
    if parts.scheme not in _PORTS:
        raise ProxySettings(
            f"proxy scheme {parts.scheme!r} is not supported",
            hint="use an http://, https:// or socks5:// proxy",
        )
    return parts


def _bypasses(no_proxy: str, host: str, port: int) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_covers(entry.strip().lower(), host, address, port) for entry in no_proxy.split(","))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _covers(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if not entry:
        return False
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _in_network(address, entry)
    name, entry_port = _host_and_port(entry)
    if entry_port and entry_port != str(port):
        return False
    entry_address = _address(name)
    if entry_address is not None:
        return entry_address == address
    name = name.removeprefix("*") if name.startswith("*.") else name
    if not name:
        return False
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _host_and_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _in_network(address: _Address, text: str) -> bool:
    try:
        return address in ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
