"""What in a store is referred to, by whom: the mark phase of ``gc``.

References are names, images, containers, mounts and pins; whatever a living process works on
is leased, and seen when somebody tries to remove it (:mod:`sweep`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from onggi.engine.containers import known_containers
from onggi.engine.core import Core
from onggi.engine.mounts import Mounts
from onggi.errors import OnggiError
from onggi.oci.digest import ChainID, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.record import record
from onggi.store.atomic import read_optional
from onggi.store.layerdb import CorruptLayer

__all__ = ["SETTLED_S", "Marks", "mark", "mounted_images"]

# Seconds after which a thing that is made in moments cannot be half made any more.
SETTLED_S = 3600.0
# bbolt files; keys and values stand in them as they are.
_BUILDKIT_DATABASES = ("snapshots.db", "metadata.db", "metadata_v2.db")
_HEX = frozenset("0123456789abcdef")


@record
class Marks:
    """Each thing that stays, with the reason in a few words.

    ``images`` by id, ``chains`` by chainID, ``directories`` by name in the driver's home.
    ``orphan_mounts`` are container ids with a writable layer and nothing else.
    ``mount_table`` is the kernel's list of mounts, to find out what is mounted;
    ``build_cache`` the bytes of BuildKit's databases, whose snapshots are no images.
    """

    images: dict[ImageID, str]
    chains: dict[ChainID, str]
    directories: dict[str, str]
    orphan_mounts: dict[str, Path]
    mount_table: str
    build_cache: bytes

    def is_built(self, name: str) -> bool:
        """True when Docker's build cache names a layer or directory (or did, in a page it has freed)."""
        return bool(name) and name.encode() in self.build_cache

    def is_mounted(self, *names: str) -> bool:
        """True when a mount in sight of this process has one of the names in its paths or options."""
        return any(name and name in self.mount_table for name in names)


def mark(core: Core) -> Marks:
    """Look at everything that refers to something; changes nothing."""
    images = dict(_images(core))
    orphans = dict(_orphan_mounts(core))
    chains = _chains(core, images, orphans)
    directories = dict(_directories(core, chains, orphans))
    table = (read_optional("/proc/self/mountinfo") or b"").decode("utf-8", "replace")
    databases = (core.layout.root / "buildkit" / name for name in _BUILDKIT_DATABASES)
    build_cache = b"".join(read_optional(path) or b"" for path in databases)
    return Marks(images, chains, directories, orphans, table, build_cache)


# --- images -------------------------------------------------------------------------------------


def _images(core: Core) -> Iterator[tuple[ImageID, str]]:
    names = core.tags.snapshot().by_image()
    used = {container.image_id: container.short_id for container in known_containers(core.layout)}
    mounted = mounted_images(core)
    parents = {parent for image_id in core.images.ids() if (parent := core.images.parent(image_id))}
    for image_id in core.images.ids():
        if image_id in names:
            yield image_id, f"named {names[image_id][0].familiar}"
        elif image_id in used:
            yield image_id, f"container {used[image_id]} uses it"
        elif image_id in core.pins:
            yield image_id, "pinned"
        elif image_id in mounted:
            yield image_id, "mounted"
        elif image_id in parents:
            yield image_id, "another image was built on it"
        else:
            yield image_id, "without a name; 'onggi image prune' removes it"


def mounted_images(core: Core) -> set[ImageID]:
    """Images mounted by hand right now."""
    return {mounted.image_id for mounted in Mounts(core).list()}


# --- layers -------------------------------------------------------------------------------------


def _chains(core: Core, images: dict[ImageID, str], orphans: dict[str, Path]) -> dict[ChainID, str]:
    found: dict[ChainID, str] = {}
    names = core.tags.snapshot().by_image()
    for image_id in images:
        name = names[image_id][0].familiar if image_id in names else image_id.short
        for chain in _chains_of(core, image_id):
            found.setdefault(chain, f"image {name} uses it")
    for container, chain in core.layers.db.containers().items():
        if container not in orphans:
            for below in _down(core, chain):
                found.setdefault(below, f"container {container[:12]} stands on it")
    return found


def _chains_of(core: Core, image_id: ImageID) -> tuple[ChainID, ...]:
    """Also of a config that no longer hashes to its name: whoever mends it wants its layers."""
    try:
        return tuple(ImageConfig.parse(read_optional(core.images.path(image_id)) or b"").chain_ids)
    except OnggiError:
        return ()


def _down(core: Core, chain: ChainID | None) -> Iterator[ChainID]:
    while chain is not None:
        yield chain
        try:
            found = core.layers.db.get(chain)
        except CorruptLayer:
            return
        chain = None if found is None else found.parent


# --- directories --------------------------------------------------------------------------------


def _orphan_mounts(core: Core) -> Iterator[tuple[str, Path]]:
    """Writable layers of containers that a crashed Docker never wrote down."""
    directory = core.layout.layerdb / "mounts"
    for name in listdir(directory):
        path = directory / name
        is_id = len(name) == 64 and _HEX.issuperset(name)
        if is_id and not (core.layout.root / "containers" / name).exists() and is_settled(path):
            yield name, path


def _directories(
    core: Core, chains: dict[ChainID, str], orphans: dict[str, Path]
) -> Iterator[tuple[str, str]]:
    """Driver directories by name. An entry that cannot be read keeps its directory only while it is used."""
    for chain in core.layers.db.chains():
        cache_id = text_of(core.layers.db.path(chain) / "cache-id")
        if cache_id and (chain in chains or is_readable(core, chain)):
            yield cache_id, f"files of layer {chain.short}"
    mounts = core.layout.layerdb / "mounts"
    for container in listdir(mounts):
        if container not in orphans:
            for file in ("mount-id", "init-id"):
                if name := text_of(mounts / container / file):
                    yield name, f"container {container[:12]} writes there"


def is_readable(core: Core, chain: ChainID) -> bool:
    """True when the layerdb entry can be read."""
    try:
        return core.layers.db.get(chain) is not None
    except CorruptLayer:
        return False


# --- files --------------------------------------------------------------------------------------


def is_settled(path: Path, age_s: float = SETTLED_S) -> bool:
    """True when nothing changed there for ``age_s`` seconds."""
    try:
        return time.time() - path.lstat().st_mtime > age_s
    except FileNotFoundError:
        return False


def listdir(path: Path) -> list[str]:
    """Sorted names; none when there is no such directory."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def text_of(path: Path) -> str:
    """A small file's text without spaces around it; empty when it is not there."""
    return (read_optional(path) or b"").decode("ascii", "replace").strip()
