"""``--link``: another container's address under a name of one's own, in the hosts file.

Docker's old way, before networks had names. It holds for one run: who is linked must run, and have
an address in the same network.

Source: moby ``daemon/container_operations.go`` (buildSandboxOptions), ``opts/link.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from onggi.engine.core import Core
from onggi.errors import Conflict, InvalidArgument, NotFound
from onggi.network.model import Network
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["container_finder", "link_lines", "parse_link"]


def parse_link(text: str) -> tuple[str, str]:
    """``NAME[:ALIAS]``. Raises InvalidArgument."""
    name, colon, alias = text.partition(":")
    if not name or ":" in alias or (colon and not alias):
        raise InvalidArgument(f"bad format for links: {text}", hint="NAME or NAME:ALIAS")
    # Docker's own files have /name:/owner/alias.
    return name.removeprefix("/"), (alias or name).rpartition("/")[2]


def container_finder(core: Core) -> Callable[[str], StoredContainer | None]:
    """Finds containers as ``--link`` names them: by name, else by the beginning of the id."""
    containers = {stored.name: stored for stored in core.containers.all()}

    def find(name: str) -> StoredContainer | None:
        return containers.get(name) or next(
            (each for each in containers.values() if each.id.startswith(name)), None
        )

    return find


def link_lines(
    core: Core, owner: str, links: Mapping[str, Network], present: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Lines of the hosts file for ``links``, each with the network in which it is meant.

    ``present`` are the attachments of running containers by id. Raises NotFound, Conflict.
    """
    if not links:
        return
    find = container_finder(core)
    for text, network in links.items():
        name, alias = parse_link(text)
        stored = find(name)
        if stored is None:
            raise NotFound(f"could not get container for {name}: No such container: {name}")
        if stored.id not in present:
            raise Conflict(f"Cannot link to a non running container: /{stored.name} AS /{owner}/{alias}")
        endpoint = stored.document["NetworkSettings"]["Networks"].get(network.name) or {}
        if not endpoint.get("IPAddress"):
            raise Conflict(
                f"Cannot link to /{stored.name}, as it does not belong to the {network.name} network"
            )
        hostname = str(stored.config.get("Hostname") or "")
        yield endpoint["IPAddress"], " ".join(dict.fromkeys((alias, hostname, stored.name)))
