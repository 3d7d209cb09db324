"""What a container gets to see of names: ``/etc/hostname``, ``/etc/hosts``, ``/etc/resolv.conf``.

They are files of the container's directory, bound into it at each start.

Source: moby ``libnetwork/etchosts``, ``libnetwork/resolvconf``, ``daemon/container_operations_unix.go``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["hosts_file", "resolv_conf"]

_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
_HOST_FILES = (Path("/etc/hosts"), Path("/etc/resolv.conf"))
_RESOLVED = Path("/run/systemd/resolve/resolv.conf")
_STUB = "127.0.0.53"
_GATEWAY = "host-gateway"
# The host's own resolver is not the container's, in a network of its own.
_LOCAL = r"^nameserver\s+(127\..*|::1)\s*$"
_PUBLIC = ("nameserver 8.8.8.8", "nameserver 8.8.4.4")


def hosts_file(
    host_config: Mapping[str, Any], addresses: Iterable[tuple[str, str]] = (), gateway: str = ""
) -> bytes:
    """``/etc/hosts``; ``addresses`` are the container's own, each with its names.

    In the host's network it is the host's file. ``gateway`` is what ``host-gateway`` stands for.
    """
    text = _read(_HOST_FILES[0]) if host_config.get("NetworkMode") == "host" else _HOSTS
    extra = [tuple(entry.split(":", 1)) for entry in host_config.get("ExtraHosts") or ()]
    lines = [f"{gateway if address == _GATEWAY else address}\t{name}\n" for name, address in extra]
    lines += [f"{address}\t{names}\n" for address, names in addresses]
    return (text + "".join(lines)).encode()


def resolv_conf(host_config: Mapping[str, Any], nameservers: Sequence[str] = ()) -> bytes:
    """``/etc/resolv.conf``: the host's, with what the options change; without them byte for byte.

    Where ``nameservers`` know the containers of its networks, they alone are asked: they ask the
    others. A name without a dot is then looked for as it is first (ndots:0), as with Docker.
    """
    text = _host_resolv_conf()
    if nameservers:
        chosen = [*(host_config.get("DnsOptions") or ()), "ndots:0"]
        return _composed(text, list(nameservers), host_config.get("DnsSearch") or [], chosen).encode()
    own_network = host_config.get("NetworkMode") != "host"
    servers = host_config.get("Dns") or []
    search = host_config.get("DnsSearch") or []
    options = host_config.get("DnsOptions") or []
    if servers or search or options:
        text = _composed(text, servers, search, options)
    elif own_network and any(re.match(_LOCAL, line) for line in text.splitlines()):
        text = _without_local(text)
    return text.encode()


def _composed(text: str, servers: list[str], search: list[str], options: list[str]) -> str:
    """What is not said comes from the host; a search of ``.`` means none."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in text.splitlines():
        word, *values = line.split()[:1] + line.split()[1:] if line.split() else [""]
        if word in found:
            found[word] += values
    domains = search or found["search"]
    lines = [f"search {' '.join(domains)}"] if domains and domains != ["."] else []
    lines += [f"nameserver {server}" for server in servers or found["nameserver"]]
    chosen = options or found["options"]
    lines += [f"options {' '.join(chosen)}"] if chosen else []
    return "".join(f"{line}\n" for line in lines)


def _without_local(text: str) -> str:
    lines = [line for line in text.splitlines() if not re.match(_LOCAL, line)]
    if not any(line.startswith("nameserver") for line in lines):
        lines += _PUBLIC
    return "".join(f"{line}\n" for line in lines)


def _host_resolv_conf() -> str:
    """The host's file; behind systemd's stub resolver the one that names the real servers."""
    text = _read(_HOST_FILES[1])
    servers = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver ")]
    return _read(_RESOLVED) or text if servers == [_STUB] else text


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
