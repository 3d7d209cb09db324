"""``diff``, ``export``: what a container changed, and all its files as an archive."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from onggi.engine.containers.roots import bare_root, changed_layers
from onggi.engine.core import Core
from onggi.runtime.user import read_accounts, resolve_user
from onggi.store.containers import StoredContainer
from onggi.tree.differences import Change, top_changes
from onggi.tree.layer_tree import DirectoryLayer, KeptDirectories
from onggi.tree.pack import PackRules, pack

__all__ = ["container_changes", "container_tar", "pack_rules", "packed_tree", "read_user"]


def container_changes(core: Core, stored: StoredContainer) -> Iterator[Change]:
    """What is other than in its image: reads what the container wrote only. Raises DataLoss."""
    with changed_layers(core, stored) as (upper, below):
        yield from top_changes(upper, below)


def container_tar(core: Core, stored: StoredContainer) -> Iterator[bytes]:
    """All its files as an archive, without those of volumes and other mounts, in pieces. Raises DataLoss."""
    with bare_root(core, stored) as root:
        yield from packed_tree(root, core.config.compat, names=root)


def packed_tree(
    directory: int, compat: str, top: bytes = b"", name: bytes = b"", *, names: int | None = None
) -> Iterator[bytes]:
    """What is below ``top`` in an open directory; see :func:`pack`.

    ``names`` is the root whose passwd and group files name owners.
    """
    kept = KeptDirectories()
    opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    tree = DirectoryLayer(opened, kept)
    try:
        own = ({}, {}) if names is None else _own_names(names, compat)
        yield from pack(tree, pack_rules(compat, *own), top, name)
    finally:
        tree.close()
        kept.close()


def read_user(root: int, stored: StoredContainer) -> tuple[int, int] | None:
    """User and group that the container runs as, by its own files; None where it says none."""
    spec = stored.config.get("User") or ""
    if not spec:
        return None
    user = resolve_user(spec, read_accounts(root))
    return user.uid, user.gid


def pack_rules(
    compat: str, users: dict[int, bytes], groups: dict[int, bytes], *, layer: bool = False
) -> PackRules:
    """How a version of Docker packs; names are of 20.10 only."""
    if compat != "20.10":
        return PackRules(layer=layer)
    return PackRules(type_bits=True, user=_named(users), group=_named(groups), layer=layer)


def _named(names: dict[int, bytes]) -> Callable[[int], bytes]:
    return lambda number: names.get(number, b"")


def _own_names(root: int, compat: str) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Docker 20.10 looks names up inside the container, the first line of a number counting.

    Its own user it knows already, and Debian's name service knows root's group by itself.
    """
    if compat != "20.10":
        return {}, {}
    accounts = read_accounts(root)
    users = {line.uid: os.fsencode(line.name) for line in reversed(accounts.passwd)}
    groups = {line.gid: os.fsencode(line.name) for line in reversed(accounts.groups)}
    return users | {0: b"root"}, {0: b"root"} | groups
