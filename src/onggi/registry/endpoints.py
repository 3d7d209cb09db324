"""Which addresses to ask for a repository, in order (docker-engine §2.2)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from onggi.config import Config

__all__ = ["HUB_DOMAIN", "HUB_REGISTRY", "HUB_SERVER", "Endpoint", "endpoints", "is_insecure"]

HUB_DOMAIN = "docker.io"
HUB_REGISTRY = "https://registry-1.docker.io"
# The key of Docker Hub in every credential store.
HUB_SERVER = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One base URL without a trailing slash; ``verify`` is off for insecure registries."""

    url: str
    mirror: bool = False
    verify: bool = True

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
    """True for hosts listed as insecure, and for addresses in a listed network or on loopback."""
    if host in config.insecure_registries:
        return True
    networks = [ipaddress.ip_network(entry) for entry in config.insecure_registries if "/" in entry]
    networks.append(ipaddress.ip_network("127.0.0.0/8"))
    if config.compat == "28":
        networks.append(ipaddress.ip_network("::1/128"))
    return any(address in network for address in _addresses(host) for network in networks)


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    name = urlsplit(f"//{host}").hostname or host
    try:
        return [ipaddress.ip_address(name)]
    except ValueError:
        pass
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return []
    return [ipaddress.ip_address(str(address).partition("%")[0]) for address in sorted(map(str, found))]
