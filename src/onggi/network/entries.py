"""What aardvark-dns tells of a container that has another name now.

netavark writes a file a network and changes no entry in it. The first line is the network's; then::

    CONTAINER IPV4S IPV6S NAMES[ SERVERS]

A field may be empty; what is in it is separated by commas, and the container's name is the first of
its names. Source: netavark ``src/dns/aardvark.rs``, aardvark-dns ``src/config/mod.rs`` (1.4).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from onggi.store.atomic import stage_file

__all__ = ["rename_entries"]

_NAMES = 3


def rename_entries(directory: Path, networks: Iterable[str], container: str, name: str) -> bool:
    """Give the entries of a container its new name; False: they have it. Under the lock ``networks``."""
    changed = [_rename(directory / network, container, name) for network in networks]
    return any(changed)


def _rename(path: Path, container: str, name: str) -> bool:
    try:
        lines = path.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return False  # a network without names, or without a resolver
    renamed = [_renamed(line, name) if line.startswith(f"{container} ") else line for line in lines]
    if renamed == lines:
        return False
    # Every file beside it is a network to aardvark-dns.
    temporary = path.parent.with_name(f".tmp-{path.name}")
    stage_file(temporary, "".join(renamed).encode(), 0o600)
    os.rename(temporary, path)
    return True


def _renamed(line: str, name: str) -> str:
    fields = line.rstrip("\n").split(" ")
    if len(fields) <= _NAMES:
        return line  # cut off: whoever wrote it was killed
    fields[_NAMES] = ",".join([name, *fields[_NAMES].split(",")[1:]])
    return " ".join(fields) + "\n"
