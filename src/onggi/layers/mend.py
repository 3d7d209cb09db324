"""Metadata of a layer, made anew from what else is known; no byte of the layer itself is touched.

What an image's config says gives ``diff`` and ``parent``; the files give ``size``; the other
layers' short names, or a proof of the content, give ``cache-id``; the driver knows how its own
files follow from each other. What cannot be had so must be fetched.
"""

from __future__ import annotations

from collections.abc import Iterator

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.layers.free_cores import FreeCores
from onggi.layers.store import LayerStore
from onggi.layers.verify import Believed, LayerCheck, Standing, prove, read_cache_id, work
from onggi.oci.digest import CacheID
from onggi.store.atomic import read_optional, remove_temporary_files, write_file
from onggi.store.layerdb import TAR_SPLIT

__all__ = ["mend_layer"]


def mend_layer(
    layers: LayerStore, workers: Workers, wanted: Believed, check: LayerCheck, cancel: CancelToken
) -> list[str]:
    """Make anew what a check found wrong and can be made; returns the files, each named from its room.

    Hold the layer's exclusive lease; the layers below must be mended before. Files are
    written whole and flushed, one by one: after a crash the next call goes on.
    """
    files = {flaw.file for flaw in check.flaws if flaw.mendable}
    entry = layers.db.path(wanted.chain_id)
    remove_temporary_files(entry)
    mended = []
    for name, value in (("diff", wanted.diff_id), ("parent", wanted.parent)):
        if f"layerdb/{name}" in files:
            if value is None:
                (entry / name).unlink(missing_ok=True)
            else:
                write_file(entry / name, value.encode("ascii"), 0o644)
            mended.append(f"layerdb/{name}")
    cache_id = read_cache_id(layers, wanted.chain_id)
    if cache_id is None:
        cache_id = _find_directory(layers, workers, wanted, cancel)
        if cache_id is None:
            return mended
        write_file(entry / "cache-id", cache_id.encode("ascii"), 0o644)
        mended.append("layerdb/cache-id")
    if "layerdb/size" in files or not (read_optional(entry / "size") or b"").isdigit():
        _write_size(layers, wanted, cache_id)
        mended.append("layerdb/size")
    derived = sorted({flaw.file for flaw in check.flaws if flaw.file in layers.driver.derived})
    if derived and check.mendable:
        _derive(layers, workers, wanted, cache_id, cancel)
        mended += derived
    return mended + _mend_driver(layers, wanted, cache_id)


def _write_size(layers: LayerStore, wanted: Believed, cache_id: CacheID) -> None:
    entry = layers.db.path(wanted.chain_id)
    size = layers.driver.content_size(cache_id, entry / TAR_SPLIT)
    write_file(entry / "size", str(size).encode("ascii"), 0o644)


def _derive(
    layers: LayerStore, workers: Workers, wanted: Believed, cache_id: CacheID, cancel: CancelToken
) -> None:
    """Make anew what follows from the layer's content; the worker proves the content before."""
    if wanted.diff_id is None:
        return
    request = layers.driver.derive(cache_id, wanted.diff_id)
    if request is not None:
        work(workers, request, "derive", cancel, FreeCores(0))


def _mend_driver(layers: LayerStore, wanted: Believed, cache_id: CacheID) -> list[str]:
    parent = None if wanted.parent is None else read_cache_id(layers, wanted.parent)
    if wanted.parent is not None and parent is None:
        return []
    standing = Standing(layers)
    children = standing.children(wanted.chain_id)
    return layers.driver.mend(cache_id, parent, children, used=standing.is_used(wanted.chain_id))


def _find_directory(
    layers: LayerStore, workers: Workers, wanted: Believed, cancel: CancelToken
) -> CacheID | None:
    """The driver's directory of a layer whose ``cache-id`` is lost: the one with its content."""
    for candidate in _candidates(layers, wanted):
        if prove(layers, workers, wanted, candidate, cancel):
            return candidate
    return None


def _candidates(layers: LayerStore, wanted: Believed) -> Iterator[CacheID]:
    """Directories that may be it: what children stand on, then those that nobody claims or makes."""
    below_children = [
        below
        for child in Standing(layers).children(wanted.chain_id)
        if (below := layers.driver.below(child)) is not None
    ]
    yield from dict.fromkeys(below_children)
    claimed: set[str] = {record.cache_id for record in layers.db.records()}
    claimed |= layers.db.container_cache_ids() | set(below_children)
    for each in layers.driver.cache_ids():
        if each not in claimed and not layers.locks.is_held(f"staging-{each}"):
            yield each
