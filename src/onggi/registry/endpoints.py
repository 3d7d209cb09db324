"""Which addresses to ask for a repository, in order (docker-engine §2.2)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from onggi.config import Config
from onggi.record import record

__all__ = ["HUB_DOMAIN", "HUB_REGISTRY", "HUB_SERVER", "Endpoint", "endpoints", "is_insecure"]

HUB_DOMAIN = "docker.io"
HUB_REGISTRY = "https://registry-1.docker.io"
# The key of Docker Hub in every credential store.
HUB_SERVER = "https://index.docker.io/v1/"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@record
class Endpoint:
    """One base URL without a trailing slash; ``verify`` is off for insecure registries."""

    url: str
    mirror: bool = False
    verify: bool = True

    @property
    def scheme(self) -> str:
        """``https`` or ``http``."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """``host[:port]``, as credentials and certs.d know it."""
        return urlsplit(self.url).netloc


def endpoints(config: Config, domain: str, *, mirrors: bool = True) -> list[Endpoint]:
    """Mirrors first (pull only), then the registry; ``http`` last and only where it is insecure."""
    found = [_mirror(config, url) for url in _mirrors_of(config, domain)] if mirrors else []
    if domain == HUB_DOMAIN:
        return [*found, Endpoint(HUB_REGISTRY)]
    insecure = is_insecure(config, domain)
    found.append(Endpoint(f"https://{domain}", verify=not insecure))
    if insecure:
        found.append(Endpoint(f"http://{domain}", verify=False))
    return found


def _mirrors_of(config: Config, domain: str) -> Sequence[str]:
    own = config.registries.get(domain, ())
    return (*own, *config.registry_mirrors) if domain == HUB_DOMAIN else own


def _mirror(config: Config, url: str) -> Endpoint:
    host = urlsplit(url).netloc
    return Endpoint(url.rstrip("/"), mirror=True, verify=not is_insecure(config, host))


def is_insecure(config: Config, host: str) -> bool:
    """True for ``host[:port]`` listed as insecure, and for addresses in a listed network or on loopback.

    A name is resolved; one that cannot be is secure.
    """
    if host in config.insecure_registries:
        return True
    networks = _networks(config)
    return any(address in network for address in _addresses(host) for network in networks)


def _networks(config: Config) -> list[_Network]:
    texts = [entry for entry in config.insecure_registries if "/" in entry]
    # dockerd always adds these; the second one since 28.0.
    texts += ["127.0.0.0/8"] if config.compat == "20.10" else ["127.0.0.0/8", "::1/128"]
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def _addresses(host: str) -> list[_Address]:
    name = urlsplit(f"//{host}").hostname or host
    try:
        return [ipaddress.ip_address(name)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    texts = {str(entry[4][0]).partition("%")[0] for entry in found}
    return [ipaddress.ip_address(text) for text in sorted(texts)]
