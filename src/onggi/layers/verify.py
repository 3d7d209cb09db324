"""Layers held against what they were made of: metadata, every path, every byte.

Each layer is checked in two parts by worker processes, as many at once as there are cores: ``content``
recomputes the diffID, ``tree`` compares what is mounted with the archive's headers. Where one pass over
files does both, one worker does (drivers/check.py). The small files of layerdb and of the driver are checked
here. Nothing is changed; a shared lease keeps each layer from being removed meanwhile, and a layer
that was removed before, with all that stood on it, is not missing but ``gone``.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from onggi.archive.tar_format import clamp_path
from onggi.cancel import CancelToken
from onggi.drivers.flaw import Flaw
from onggi.drivers.workers import Workers
from onggi.errors import DataLoss, InvalidArgument
from onggi.layers.free_cores import FreeCores
from onggi.layers.store import LayerStore
from onggi.oci.digest import CacheID, ChainID, DiffID, chain_id
from onggi.record import record
from onggi.store.atomic import read_optional
from onggi.store.layerdb import TAR_SPLIT, is_cache_id
from onggi.tree.change import Change

__all__ = [
    "Believed",
    "CheckFailed",
    "LayerCheck",
    "Part",
    "PathChanges",
    "Standing",
    "believed",
    "check_layers",
    "read_cache_id",
    "prove",
    "work",
]

T = TypeVar("T")

# Bytes of one packet of a worker.
_PACKET_BYTES = 256 * 1024
_GONE = frozenset(("missing", "type", "whiteout"))


class CheckFailed(DataLoss):
    """A worker could not look at a layer at all."""


@record
class Believed:
    """What a layer should be. ``diff_id`` and ``parent`` come from an image's config where there is one."""

    chain_id: ChainID
    diff_id: DiffID | None
    parent: ChainID | None
    certain: bool


@record
class PathChanges:
    """One path of a layer, below its root, and all that is not as it was."""

    path: bytes
    changes: tuple[Change, ...]


@record
class LayerCheck:
    """One layer, checked. ``note`` says what could not be; it is no damage. ``size_bytes`` were hashed.

    ``gone``: it is not here and nobody needs it, since somebody removed it meanwhile.
    """

    chain_id: ChainID
    cache_id: CacheID | None
    flaws: tuple[Flaw, ...]
    changes: tuple[PathChanges, ...]
    note: str = ""
    size_bytes: int = 0
    gone: bool = False

    @property
    def sound(self) -> bool:
        """Nothing was found."""
        return not self.flaws and not self.changes

    @property
    def mendable(self) -> bool:
        """All that is wrong can be put right without fetching the layer."""
        return not self.changes and all(flaw.mendable for flaw in self.flaws)


def believed(layers: LayerStore, chain: ChainID) -> Believed:
    """What layerdb says of a layer that no image's config tells of."""
    diff = _parsed(layers.db.path(chain) / "diff", DiffID.parse)
    parent = _parsed(layers.db.path(chain) / "parent", ChainID.parse)
    return Believed(chain, diff, parent, False)


def check_layers(
    layers: LayerStore,
    workers: Workers,
    wanted: Sequence[Believed],
    *,
    fast: bool = False,
    cancel: CancelToken | None = None,
) -> Iterator[LayerCheck]:
    """Check each layer, in the order given; ``fast`` reads no contents and looks at ctimes instead.

    Raises Cancelled, DeadlineExceeded, CheckFailed, WorkerDied.
    """
    token = cancel or CancelToken()
    standing = Standing(layers)
    names = ("tree",) if fast else ("tree", "content")
    at_once = min(len(wanted) * len(names), os.cpu_count() or 1)
    cores = FreeCores((os.cpu_count() or 1) - at_once)
    jobs = [_Job(layers, workers, standing, each, names, cores, token) for each in wanted]
    # The largest first: else one core may be busy with it when the others have nothing left to do.
    by_size = sorted(jobs, key=_Job.size_bytes, reverse=True)
    waiting = deque((job, name) for job in by_size for name in names)
    threads = [
        threading.Thread(target=_work_off, args=(waiting, cores), name="onggi-verify") for _ in range(at_once)
    ]
    for thread in threads:
        thread.start()
    try:
        for job in jobs:
            yield job.verdict()
    finally:
        waiting.clear()
        for thread in threads:
            thread.join()


def _work_off(waiting: deque[tuple[_Job, str]], cores: FreeCores) -> None:
    while waiting:
        try:
            job, name = waiting.popleft()
        except IndexError:
            break  # another thread was faster
        job.run(name)
    cores.add()


@record
class Part:
    """What one worker said: its result, and differences as (member or path, change)."""

    name: str
    result: dict[str, object]
    found: list[tuple[bytes, Change]]


class _Job:
    """One layer: its parts are checked by as many threads, and the last one judges, with its lease."""

    def __init__(
        self,
        layers: LayerStore,
        workers: Workers,
        standing: Standing,
        each: Believed,
        names: Sequence[str],
        cores: FreeCores,
        cancel: CancelToken,
    ) -> None:
        self._layers = layers
        self._workers = workers
        self._standing = standing
        self._each = each
        self._names = names
        self._fast = "content" not in names
        self._waiting = len(names)
        self._cores = cores
        self._cancel = cancel
        self._parts: list[Part] = []
        self._lock = threading.Lock()
        self._verdict: SimpleQueue[LayerCheck | BaseException] = SimpleQueue()

    def size_bytes(self) -> int:
        """The layer's size by layerdb, 0 where that cannot be read."""
        raw = read_optional(self._layers.db.path(self._each.chain_id) / "size") or b""
        return int(raw) if raw.isdigit() and len(raw) < 20 else 0

    def verdict(self) -> LayerCheck:
        """Wait for it. Raises what ended a part."""
        verdict = self._verdict.get()
        if isinstance(verdict, BaseException):
            raise verdict
        return verdict

    def run(self, name: str) -> None:
        """Check a part; when all are through there is a verdict."""
        try:
            verdict = self._run(name)
        except BaseException as error:
            self._verdict.put(error)
            return
        if verdict is not None:
            self._verdict.put(verdict)

    def _run(self, name: str) -> LayerCheck | None:
        self._cancel.check()
        with ExitStack() as leases:
            try:
                leases.enter_context(self._layers.lease(self._each.chain_id, cancel=self._cancel))
            except OSError:
                pass  # a root that can only be read
            part = self._check(name)
            with self._lock:
                self._parts += [] if part is None else [part]
                self._waiting -= 1
                if self._waiting:
                    return None
            parts = sorted(self._parts, key=lambda part: self._names.index(part.name))
            return _judge(self._layers, self._standing, self._each, parts, fast=self._fast)

    def _check(self, name: str) -> Part | None:
        """None when what it needs is not there (a flaw says so)."""
        cache_id = read_cache_id(self._layers, self._each.chain_id)
        if cache_id is None:
            return None
        request = self._layers.driver.check(
            cache_id, self._layers.db.path(self._each.chain_id), name, self._each.diff_id, fast=self._fast
        )
        return None if request is None else work(self._workers, request, name, self._cancel, self._cores)


def work(
    workers: Workers, request: dict[str, object], name: str, cancel: CancelToken, cores: FreeCores
) -> Part:
    """Have a worker do what ``request`` says, and wait. Raises CheckFailed, WorkerDied, Cancelled."""
    control = workers.start(request, [])
    forget = cancel.on_cancel(lambda: _stop(control))
    try:
        with cores.wanted_by(control):
            return _listen(control, name, cancel)
    finally:
        forget()
        control.close()


def _listen(control: socket.socket, name: str, cancel: CancelToken) -> Part:
    from onggi.layers.staging import WorkerDied

    found: list[tuple[bytes, Change]] = []
    while True:
        try:
            packet = control.recv(_PACKET_BYTES)
        except ConnectionResetError:
            continue
        if packet[:1] == b"D":
            found += [(bytes.fromhex(path), Change(*change)) for path, *change in json.loads(packet[1:])]
        elif packet[:1] == b"R":
            return Part(name, json.loads(packet[1:]), found)
        elif packet:
            raise CheckFailed(f"verify layer: {json.loads(packet[1:])['message']}")
        else:
            cancel.check()
            raise WorkerDied


def _stop(control: socket.socket) -> None:
    try:
        control.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def prove(
    layers: LayerStore, workers: Workers, wanted: Believed, cache_id: CacheID, cancel: CancelToken
) -> bool:
    """Whether the driver's directory ``cache_id`` holds exactly the content of a layer."""
    request = layers.driver.check(
        cache_id, layers.db.path(wanted.chain_id), "content", wanted.diff_id, fast=False
    )
    if request is None:
        return False
    part = work(workers, request, "content", cancel, FreeCores((os.cpu_count() or 1) - 1))
    return part.result.get("diff_id") == wanted.diff_id


# --- judging ----------------------------------------------------------------------------------


def _judge(
    layers: LayerStore, standing: Standing, each: Believed, parts: list[Part], *, fast: bool
) -> LayerCheck:
    if each.chain_id not in layers.db and not layers.is_used(each.chain_id):
        return LayerCheck(each.chain_id, None, (), (), gone=True)
    if not each.certain:
        # It may have been removed while that was read, and made anew since.
        each = believed(layers, each.chain_id)
    told = [flaw for part in reversed(parts) for flaw in _told(part.result.get("flaws"))]
    result = {key: value for part in parts for key, value in part.result.items()}
    diff_id, shadowed = result.get("diff_id"), result.get("shadowed")
    proved = bool(each.diff_id) and diff_id == each.diff_id
    derived = _told(result.get("derived"))
    # With the content proved, what differs is what was derived from it.
    changes = () if proved and derived else _merge(parts)
    flaws = list(_flaws(layers, standing, each, result))
    if flaws:
        # Not by what stood on the layer before others changed that.
        flaws = list(_flaws(layers, Standing(layers), each, result))
    flaws += dict.fromkeys([*told, *(derived if proved else ())])
    named = derived or any(change.what in ("content", *_GONE) for path in changes for change in path.changes)
    if diff_id and each.diff_id and not (proved or (named and changes) or shadowed or told):
        flaws.append(Flaw(str(result["file"]), f"what is kept makes {diff_id}, not {each.diff_id}", False))
    note = ""
    if shadowed and not fast:
        note = f"cannot be proved: its archive replaces {shadowed} of its own files"
    size_bytes = int(str(result.get("bytes", 0)))
    cache_id = read_cache_id(layers, each.chain_id)
    return LayerCheck(each.chain_id, cache_id, tuple(flaws), changes, note, size_bytes)


def _told(value: object) -> list[Flaw]:
    """Flaws that a worker tells of."""
    return [
        Flaw(str(file), str(reason), bool(mendable))
        for file, reason, mendable in map(_listed, _listed(value))
    ]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _merge(parts: list[Part]) -> tuple[PathChanges, ...]:
    """Every path once, sorted; a content is not told of twice, nor of a file that is gone."""
    by_path: dict[bytes, dict[str, Change]] = {}
    for name, change in (found for part in parts for found in part.found):
        changes = by_path.setdefault(clamp_path(name), {})
        if not (change.what == "content" and _GONE & changes.keys()):
            changes.setdefault(change.what, change)
    return tuple(PathChanges(path, tuple(by_path[path].values())) for path in sorted(by_path))


def _flaws(layers: LayerStore, standing: Standing, each: Believed, tree: dict[str, object]) -> Iterator[Flaw]:
    entry = layers.db.path(each.chain_id)
    if not entry.is_dir():
        yield Flaw("layerdb", f"the directory {entry} is missing", False)
        return
    yield from _id_flaws(entry, each)
    cache_id = read_cache_id(layers, each.chain_id)
    if cache_id is None:
        yield Flaw("layerdb/cache-id", "is missing or no name of a directory", True)
    else:
        yield from _driver_flaws(layers, standing, each, cache_id)
    needs_split = cache_id is None or not layers.driver.keeps_tar(cache_id)
    if needs_split and not (entry / TAR_SPLIT).is_file():
        yield Flaw(f"layerdb/{TAR_SPLIT}", "is missing", False)
    yield from _size_flaws(entry, tree)


def _id_flaws(entry: Path, each: Believed) -> Iterator[Flaw]:
    diff = _parsed(entry / "diff", DiffID.parse)
    parent = _parsed(entry / "parent", ChainID.parse)
    if diff is None or (each.certain and diff != each.diff_id):
        yield Flaw("layerdb/diff", "is missing or not the layer's diffID", each.certain)
    if each.certain and (parent != each.parent or (parent is None and (entry / "parent").exists())):
        yield Flaw("layerdb/parent", "is missing or not the chainID of the layer below", True)
    if not each.certain and diff is not None and chain_id(parent, diff) != each.chain_id:
        yield Flaw("layerdb/parent", "diff and parent do not add up to the chainID", False)


def _size_flaws(entry: Path, tree: dict[str, object]) -> Iterator[Flaw]:
    raw = read_optional(entry / "size") or b""
    if not raw.isdigit():
        yield Flaw("layerdb/size", "is missing or no decimal number", True)
    elif "size" in tree and int(raw) not in (tree["size"], tree["header_size"]):
        yield Flaw("layerdb/size", f"says {int(raw)} bytes, the layer has {tree['size']}", True)


def _driver_flaws(layers: LayerStore, standing: Standing, each: Believed, cache_id: CacheID) -> list[Flaw]:
    parent = None if each.parent is None else read_cache_id(layers, each.parent)
    if parent is None and each.parent is not None:
        # The parent's own flaw; what this layer should have cannot be told before it is mended.
        parent = layers.driver.below(cache_id)
        if parent is None:
            return []
    children = standing.children(each.chain_id)
    return layers.driver.flaws(cache_id, parent, children, used=standing.is_used(each.chain_id))


class Standing:
    """Who stands on which layer, read once."""

    def __init__(self, layers: LayerStore) -> None:
        self._children: dict[ChainID, list[CacheID]] = {}
        for entry in layers.db.records():
            if entry.parent is not None:
                self._children.setdefault(entry.parent, []).append(entry.cache_id)
        self._containers = frozenset(layers.db.containers().values())

    def children(self, chain: ChainID) -> list[CacheID]:
        """The driver's directories right on top of a layer."""
        return self._children.get(chain, [])

    def is_used(self, chain: ChainID) -> bool:
        """True when a layer or a container stands on it."""
        return chain in self._children or chain in self._containers


def read_cache_id(layers: LayerStore, chain: ChainID) -> CacheID | None:
    """The driver's directory of a layer by layerdb's file, whatever its other files say."""
    text = (read_optional(layers.db.path(chain) / "cache-id") or b"").decode("ascii", "replace").strip()
    return CacheID(text) if is_cache_id(text) else None


def _parsed(path: Path, parse: Callable[[str], T]) -> T | None:
    data = read_optional(path)
    try:
        return None if data is None else parse(data.decode("ascii").strip())
    except (InvalidArgument, UnicodeDecodeError):
        return None
