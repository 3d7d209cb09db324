"""Sweepers of images, layers and the driver's directories, crashed Dockers' included (see :mod:`sweep`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from onggi.engine.core import Core
from onggi.engine.gc import Found, discard, goes, stays
from onggi.engine.marks import Marks, is_readable, listdir, text_of
from onggi.oci.digest import CacheID, ChainID, ImageID
from onggi.tree.size import disk_usage

__all__ = [
    "directories",
    "image_metadata",
    "images",
    "layer_bytes",
    "layerdb_rest",
    "layers",
    "links",
    "orphan_mounts",
    "staging",
]

# A driver directory of Docker's or ours; one of BuildKit's; and the probes of a crashed dockerd.
_CACHE_ID = re.compile(r"[0-9a-f]{64}(-init)?(-removing)?")
_BUILDKIT_ID = re.compile(r"[0-9a-z]{25}(-init)?")
_BUILD_CACHE = "Docker's build cache names it; 'docker builder prune' clears that"
_PROBE = re.compile(r"(opaque-bug-check|metacopy-check|check-overlayfs-support)[0-9]+")


# --- images and layers --------------------------------------------------------------------------


def images(core: Core, marks: Marks) -> Iterator[Found]:
    for image_id, reason in marks.images.items():
        yield stays("image", image_id.short, core.images.path(image_id), reason)


def image_metadata(core: Core) -> Iterator[Found]:
    """``imagedb/metadata`` without content."""
    directory = core.layout.imagedb / "metadata" / "sha256"
    for name in listdir(directory):
        image_id = ImageID(f"sha256:{name}")
        if len(name) == 64 and image_id not in core.images:
            reason = "its image is gone"
            yield goes(
                "image metadata",
                name[:12],
                directory / name,
                reason,
                partial(_remove_metadata, core, image_id, directory / name),
            )


def _remove_metadata(core: Core, image_id: ImageID, path: Path) -> bool:
    lease = core.locks.try_acquire(f"image-{image_id.hex}", exclusive=True)
    if lease is None:
        return False
    gone = image_id not in core.images
    if gone:
        core.trash.discard(path)
    lease.release(remove=gone)
    return gone


def orphan_mounts(core: Core, marks: Marks) -> Iterator[Found]:
    for container, path in marks.orphan_mounts.items():
        reason = "a container that was never written down (a Docker crashed)"
        if marks.is_mounted(text_of(path / "mount-id"), text_of(path / "init-id")):
            yield stays("container layer", container[:12], path, "mounted", busy=True)
        else:
            yield goes("container layer", container[:12], path, reason, partial(discard, core, path))


def layers(core: Core, marks: Marks) -> Iterator[Found]:
    """Used ones, then unused ones, top first."""
    unused = []
    for chain in core.layers.db.chains():
        if chain in marks.chains:
            yield _layer(core, chain, _condition(core, chain, marks.chains[chain]))
        else:
            unused.append(chain)
    for chain in sorted(unused, key=lambda chain: -_depth(core, chain)):
        yield _unused_layer(core, marks, chain)


def _condition(core: Core, chain: ChainID, reason: str) -> str:
    return reason if core.layers.usable(chain) else f"{reason}; damaged, see 'onggi doctor'"


def _layer(core: Core, chain: ChainID, reason: str, *, busy: bool = False) -> Found:
    """A layer that stays; its size is that of its layerdb entry and its files."""
    return Found(
        "layer", chain.short, reason, partial(layer_bytes, core, chain), None, _files_of(core, chain), busy
    )


def _unused_layer(core: Core, marks: Marks, chain: ChainID) -> Found:
    path = core.layers.db.path(chain)
    if not is_readable(core, chain):
        return goes(
            "layer",
            chain.short,
            path,
            "unreadable, and no image uses it",
            partial(_remove_broken_layer, core, chain),
        )
    cache_id = text_of(path / "cache-id")
    if marks.is_built(chain):
        return _layer(core, chain, _BUILD_CACHE)
    if core.locks.is_held(f"chain-{chain.hex}"):
        return _layer(core, chain, "no image uses it, but a running command does", busy=True)
    if marks.is_mounted(cache_id, _link_of(core, cache_id)):
        return _layer(core, chain, "no image uses it, but it is mounted", busy=True)
    reason = "no image, container or layer uses it"
    return Found(
        "layer",
        chain.short,
        reason,
        partial(layer_bytes, core, chain),
        partial(_release, core, chain),
        _files_of(core, chain),
    )


def _release(core: Core, chain: ChainID) -> bool:
    removed = core.layers.release([chain])
    for gone in removed:
        core.last_use.forget(gone)
    return bool(removed)


def _remove_broken_layer(core: Core, chain: ChainID) -> bool:
    lease = core.locks.try_acquire(f"chain-{chain.hex}", exclusive=True)
    if lease is None:
        return False
    broken = not is_readable(core, chain) and not core.layers.is_used(chain)
    if broken:
        core.trash.discard(core.layers.db.path(chain))
    lease.release(remove=broken)
    return broken


def layer_bytes(core: Core, chain: ChainID) -> int:
    cache_id = text_of(core.layers.db.path(chain) / "cache-id")
    files = core.driver.usage(CacheID(cache_id)) if cache_id else 0
    return files + disk_usage(core.layers.db.path(chain))


def _files_of(core: Core, chain: ChainID) -> str:
    cache_id = text_of(core.layers.db.path(chain) / "cache-id")
    return str(core.driver.path(CacheID(cache_id))) if cache_id else ""


def _depth(core: Core, chain: ChainID) -> int:
    depth = 0
    parent = text_of(core.layers.db.path(chain) / "parent")
    while parent and depth < 1000:
        depth += 1
        parent = text_of(core.layers.db.path(ChainID(parent)) / "parent")
    return depth


def layerdb_rest(core: Core) -> Iterator[Found]:
    """Write sets of crashed Dockers (ours lie in ``onggi/staging``), interrupted removals, the unknown."""
    write_sets = core.layout.layerdb / "tmp"
    for name in listdir(write_sets):
        path = write_sets / name
        yield goes("write set", name, path, "a Docker crashed while making it", partial(discard, core, path))
    known = {chain.hex for chain in core.layers.db.chains()}
    removing = {path.name for path in core.layers.db.removals()}
    for name in listdir(core.layout.layerdb / "sha256"):
        path = core.layout.layerdb / "sha256" / name
        if name in removing:
            yield goes("layer", name[:12], path, "an interrupted removal", lambda: core.layers.recover() > 0)
        elif name not in known:
            yield stays("unknown", name, path, "no layer is called so; left alone")


# --- directories --------------------------------------------------------------------------------


def staging(core: Core) -> Iterator[Found]:
    """Recovery has cleared these before a sweep; a dry run finds them."""
    for name in listdir(core.layout.staging):
        path = core.layout.staging / name
        if core.locks.is_held(f"staging-{name}"):
            yield stays("staged layer", name[:12], path, "a running command makes it", busy=True)
        else:
            reason = "its maker was killed"
            yield goes("staged layer", name[:12], path, reason, lambda: core.layers.recover() > 0)
    for name in listdir(core.layout.trash):
        path = core.layout.trash / name
        yield goes("trash", name[:12], path, "an interrupted deletion", partial(discard, core, path))


def directories(core: Core, marks: Marks) -> Iterator[Found]:
    """All but those of layers, which are told of with their layers."""
    of_layers = {text_of(core.layers.db.path(chain) / "cache-id") for chain in core.layers.db.chains()}
    for name in core.driver.cache_ids():
        path = core.driver.path(name)
        if name in marks.directories and name in of_layers:
            continue
        if name in marks.directories:
            yield stays("directory", name[:12], path, marks.directories[name])
        else:
            yield _unmarked_directory(core, marks, name, path)


def _unmarked_directory(core: Core, marks: Marks, name: CacheID, path: Path) -> Found:
    reason = _why_orphan(name, path)
    if not reason:
        return stays("unknown", name, path, "neither a layer nor anything of Docker's; left alone")
    if marks.is_built(name):
        return stays("directory", name[:12], path, _BUILD_CACHE)
    if core.locks.is_held(f"staging-{name}"):
        return stays("directory", name[:12], path, "a running command makes it", busy=True)
    if marks.is_mounted(name, _link_of(core, name)):
        return stays("directory", name[:12], path, "no layer names it, but it is mounted", busy=True)
    size_bytes, remove = partial(core.driver.usage, name), partial(_remove_directory, core, name)
    return Found("directory", name[:12], reason, size_bytes, remove, str(path))


def _why_orphan(name: str, path: Path) -> str:
    """Why an unmarked directory may go; empty: it may not."""
    if not path.is_dir() or path.is_symlink():
        return ""
    if _CACHE_ID.fullmatch(name):
        return "no layer or container names it"
    if _PROBE.fullmatch(name):
        return "a probe of a Docker that crashed"
    return "a build step that Docker's build cache does not name" if _BUILDKIT_ID.fullmatch(name) else ""


def _remove_directory(core: Core, name: CacheID) -> bool:
    """Under the lease that every maker of a directory holds until layerdb names it."""
    lease = core.locks.try_acquire(f"staging-{name}", exclusive=True)
    if lease is None:
        return False
    orphan = not _is_named(core, name)
    if orphan:
        link = _link_of(core, name)
        if link and _leads_to(core, link) == name:
            core.driver.remove_link(link)
        core.trash.discard(core.driver.path(name))
    lease.release(remove=True)
    return orphan


def _is_named(core: Core, name: str) -> bool:
    if name in core.layers.db.container_cache_ids():
        return True
    database = core.layers.db
    return any(
        text_of(database.path(chain) / "cache-id") == name and is_readable(core, chain)
        for chain in database.chains()
    )


def links(core: Core, marks: Marks) -> Iterator[Found]:
    """Short names that lead nowhere, unless a damaged layer waits to be made anew under them."""
    for link in core.driver.orphan_links():
        path = core.layout.driver_home / "l" / link
        name = _leads_to(core, link)
        if name in marks.directories:
            yield stays("link", link, path, f"{marks.directories[name]}, which are missing")
        else:
            yield goes("link", link, path, "it leads nowhere", partial(_remove_link, core, link))


def _remove_link(core: Core, link: str) -> bool:
    if (core.layout.driver_home / "l" / link).exists():
        return False
    core.driver.remove_link(link)
    return True


def _link_of(core: Core, name: str) -> str:
    return text_of(core.driver.path(CacheID(name)) / "link") if name else ""


def _leads_to(core: Core, link: str) -> str:
    """The driver directory that a short name stands for."""
    try:
        parts = os.readlink(core.layout.driver_home / "l" / link).split("/")
    except OSError:
        return ""
    return parts[1] if len(parts) == 3 else ""
