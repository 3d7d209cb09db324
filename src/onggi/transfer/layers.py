"""The layers of one pull: received, unpacked and committed side by side.

Per blob one download (a pool of ``max-concurrent-downloads`` threads, base first); per
layer one worker process that follows the growing file; the calling thread commits what is
unpacked, base first, as many layers at once as are ready::

    downloads   ▕▔▔▔▔base▔▔▔▔▏▕▔▔top▔▔▏
    unpacking     ▕▔▔▔▔▔base▔▔▔▔▔▔▏ ▕▔▔top▔▔▏
    commits                       ▕▏        ▕▏

A failure anywhere stops everything else; what was received stays for the next pull.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.errors import Cancelled, DataLoss, OnggiError
from onggi.layers.staging import StagedLayer, Unpacked, UnpackFailed, Unpacking, WorkerDied
from onggi.layers.store import LayerStore, ReadyLayer
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import DiffID, Digest
from onggi.progress import LayerStatus
from onggi.record import field, mutable_record
from onggi.transfer.reporter import Reporter
from onggi.transfer.wanted import Need, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.transfer.early_layers import EarlyLayer

__all__ = ["ConfigMismatch", "Download", "LayerPull"]


class ConfigMismatch(DataLoss):
    """The layers are not those that the image config promises."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "layers from manifest don't match image configuration",
            hint=f"{detail}; the image is broken at its registry: tell its maintainer",
        )


@mutable_record
class Download:
    """One blob on its way, and the unpackers that follow its file.

    ``start``: bytes of the file before the blob, for one that lies inside an archive. ``early``:
    where it has been unpacked, or is, since before anybody knew what it is.
    """

    descriptor: Descriptor
    start: int = 0
    early: EarlyLayer | None = None
    path: Path | None = None
    frontier_bytes: int = 0
    complete: bool = False
    error: BaseException | None = None
    followers: list[_Unpacker] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def proves(self) -> bool:
        """True when the blob itself must come: to show that a layer which is here is made of it."""
        return any(follower.wanted.need is Need.HASH for follower in self.followers)

    def advance(self, path: Path, frontier_bytes: int) -> None:
        """More bytes are in the file; fewer than before: it was started over."""
        with self.changed:
            restarted = frontier_bytes < self.frontier_bytes
            self.path, self.frontier_bytes = path, frontier_bytes
            self.changed.notify_all()
        for follower in self.followers:
            if restarted:
                follower.restart()
            else:
                follower.feed(frontier_bytes)

    def finish(self, path: Path, size_bytes: int | None = None) -> None:
        """The blob is whole and verified; ``size_bytes`` where the file has another form of it."""
        with self.changed:
            self.path, self.complete = path, True
            self.frontier_bytes = self.descriptor.size if size_bytes is None else size_bytes
            self.changed.notify_all()
        for follower in self.followers:
            follower.end(self.frontier_bytes)

    def fail(self, error: BaseException) -> None:
        """The blob will not come."""
        with self.changed:
            self.error = error
            self.changed.notify_all()
        for follower in self.followers:
            follower.abandon()

    def wait_for_bytes(self) -> Path:
        """Until the file has its first bytes (or is whole); raises the download's error."""
        with self.changed:
            while self.path is None and self.error is None:
                self.changed.wait()
            if self.error is not None:
                raise self.error
            assert self.path is not None
            return self.path

    def wait_until_whole(self) -> None:
        """Until the blob is whole and verified; raises the download's error."""
        with self.changed:
            while not self.complete and self.error is None:
                self.changed.wait()
            if self.error is not None:
                raise self.error


class _Unpacker:
    """Drives the worker of one layer in a thread of its own."""

    def __init__(self, pull: LayerPull, wanted: Wanted, download: Download) -> None:
        self.wanted = wanted
        self.download = download
        self.staged: StagedLayer | None = None
        self.unpacked: Unpacked | None = None
        self.error: BaseException | None = None
        self.done = threading.Event()
        self._pull = pull
        self._lock = threading.Lock()
        self._unpacking: Unpacking | None = None
        self._early: EarlyLayer | None = None
        self._restarted = False
        download.followers.append(self)

    def feed(self, frontier_bytes: int) -> None:
        with self._lock:
            if self._unpacking is not None:
                self._unpacking.feed(frontier_bytes)

    def end(self, size_bytes: int) -> None:
        with self._lock:
            if self._unpacking is not None:
                self._unpacking.end(size_bytes)

    def restart(self) -> None:
        with self._lock:
            self._restarted = True
            if self._unpacking is not None:
                self._unpacking.abandon()

    def abandon(self) -> None:
        with self._lock:
            for work in (self._unpacking, self._early):
                if work is not None:
                    work.abandon()

    def run(self) -> None:
        try:
            self.unpacked = self._unpack()
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()

    def _unpack(self) -> Unpacked:
        self.download.wait_for_bytes()
        unpacked = self._take_over()
        if unpacked is not None:
            return unpacked
        while True:
            self._restarted = False
            self.download.wait_for_bytes()
            with self._pull.slots:
                self._pull.stop.check()
                try:
                    return self._once()
                except WorkerDied:
                    if self.download.error is not None:
                        raise self.download.error from None
                    self._pull.stop.check()
                    if not self._restarted:
                        raise
                except UnpackFailed as error:
                    raise self._named(error) from error
            if self.staged is not None:
                self.staged.empty()

    def _take_over(self) -> Unpacked | None:
        """What was unpacked early; None where that was not, or not well, or must not become this layer."""
        early, wanted = self.download.early, self.wanted
        if early is None or self.download.followers[0] is not self:
            return None
        if not self._pull.layers.is_new(wanted.chain_id, wanted.depth):
            return None
        early.on_progress = self._report
        with self._lock:
            self._early = early
            if self.download.error is not None or self._pull.stop.cancelled:
                early.abandon()
        found = early.result()
        if found is None:
            return None
        self.staged, unpacked = found
        self.download.wait_until_whole()
        if len(self.download.followers) == 1:
            early.give_up_bytes()
        self._report(self.download.frontier_bytes)
        return unpacked

    def _named(self, error: UnpackFailed) -> UnpackFailed:
        """Docker's words in front, and which layer it is."""
        digest = self.download.descriptor.digest
        hint = error.hint or f"layer {digest} cannot be unpacked: tell whoever made the image"
        return UnpackFailed(f"failed to register layer: {error.message}", hint=hint)

    def _once(self) -> Unpacked:
        path = self.download.wait_for_bytes()
        blob = _open_blob(path, self._pull.final_path(self.download.descriptor.digest))
        try:
            unpacking = self._start(blob)
        finally:
            os.close(blob)
        try:
            with self._lock:
                self._unpacking = unpacking
                unpacking.feed(self.download.frontier_bytes)
                if self.download.complete:
                    unpacking.end(self.download.frontier_bytes)
                if self._restarted or self.download.error is not None or self._pull.stop.cancelled:
                    unpacking.abandon()
            return unpacking.result()
        finally:
            with self._lock:
                self._unpacking = None
            unpacking.close()

    def _start(self, blob: int) -> Unpacking:
        if self.wanted.need is Need.HASH:
            control = self._pull.workers.start({"job": "hash"}, [blob])
            return Unpacking(control, self._report)
        if self.staged is None:
            self.staged = self._pull.layers.stage(self.wanted.chain_id, self.wanted.depth)
        repeated = self.download.followers[0] is not self
        return self.staged.unpack(
            self._pull.workers, blob, self._report, start=self.download.start, repeated=repeated
        )

    def _report(self, consumed_bytes: int) -> None:
        if self.download.complete:
            id, size = self.download.descriptor.digest.short, self.download.frontier_bytes
            self._pull.reporter.layer(id, self._pull.unpacking, consumed_bytes, size)


def _open_blob(partial: Path, final: Path) -> int:
    """The blob's file under the name it has at this moment."""
    for path in (partial, final):
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
    return os.open(partial, os.O_RDONLY | os.O_CLOEXEC)


Fetch = Callable[[Download, CancelToken], None]


def _config_mismatch(wanted: Wanted, found: DiffID) -> OnggiError:
    return ConfigMismatch(f"layer {wanted.depth} unpacks to {found}, not {wanted.diff_id}")


class LayerPull:
    """Brings the missing layers of one image into the store; used once."""

    def __init__(
        self,
        layers: LayerStore,
        workers: Workers,
        reporter: Reporter,
        *,
        final_path: Callable[[Digest], Path],
        cancel: CancelToken,
        max_downloads: int,
        max_unpacks: int,
        unpacking: LayerStatus = LayerStatus.EXTRACTING,
        mismatch: Callable[[Wanted, DiffID], OnggiError] = _config_mismatch,
    ) -> None:
        self.layers = layers
        self.workers = workers
        self.reporter = reporter
        self.final_path = final_path
        self.unpacking = unpacking
        self.stop = CancelToken(cancel.remaining_s())
        self.slots = threading.BoundedSemaphore(max_unpacks)
        self._cancel = cancel
        self._max_downloads = max_downloads
        self._mismatch = mismatch
        self._unpackers: list[_Unpacker] = []

    def run(
        self, wanted: Sequence[Wanted], fetch: Fetch, committed: Callable[[Sequence[Wanted]], None]
    ) -> None:
        """Fetch, unpack and commit; ``committed`` is called with each group, base first.

        Raises the first error; then no staging directory is left.
        """
        downloads = self._plan(wanted)
        self.stop.on_cancel(self._abandon_all)
        forget = self._cancel.on_cancel(self.stop.cancel)
        threads = self._start(downloads, fetch)
        try:
            self._commit_in_order(committed)
        except BaseException as error:
            self.stop.cancel()
            raise self._first_cause(error) from None
        finally:
            forget()
            for thread in threads:
                thread.join()
            self._clean()

    def _plan(self, wanted: Iterable[Wanted]) -> list[Download]:
        downloads: dict[Digest, Download] = {}
        for layer in wanted:
            if layer.need is not Need.NOTHING:
                digest = layer.descriptor.digest
                download = downloads.setdefault(digest, Download(layer.descriptor))
                self._unpackers.append(_Unpacker(self, layer, download))
        return list(downloads.values())

    def _start(self, downloads: list[Download], fetch: Fetch) -> list[threading.Thread]:
        for download in downloads[self._max_downloads :]:
            self.reporter.layer(download.descriptor.digest.short, LayerStatus.WAITING)
        queue = iter(downloads)
        lock = threading.Lock()
        lanes = [
            threading.Thread(target=self._download_lane, args=(queue, lock, fetch), daemon=True)
            for _ in range(min(self._max_downloads, len(downloads)))
        ]
        threads = lanes + [threading.Thread(target=unpacker.run, daemon=True) for unpacker in self._unpackers]
        for thread in threads:
            thread.start()
        return threads

    def _download_lane(self, queue: Iterable[Download], lock: threading.Lock, fetch: Fetch) -> None:
        iterator = iter(queue)
        while True:
            with lock:
                download = next(iterator, None)
            if download is None:
                return
            try:
                self.stop.check()
                fetch(download, self.stop)
            except BaseException as error:
                download.fail(error)

    def _commit_in_order(self, committed: Callable[[Sequence[Wanted]], None]) -> None:
        position = 0
        while position < len(self._unpackers):
            self._wait(self._unpackers[position])
            group = self._ready_from(position)
            self.layers.commit([_ready(unpacker) for unpacker in group if unpacker.staged is not None])
            for unpacker in group:
                unpacker.staged = None
            committed([unpacker.wanted for unpacker in group])
            position += len(group)

    def _wait(self, unpacker: _Unpacker) -> None:
        while not unpacker.done.wait(0.2):
            self._cancel.check()
            failed = next((other for other in self._unpackers if other.error is not None), None)
            if failed is not None and failed.error is not None:
                raise failed.error

    def _ready_from(self, position: int) -> list[_Unpacker]:
        group: list[_Unpacker] = []
        for unpacker in self._unpackers[position:]:
            if not unpacker.done.is_set():
                break
            if unpacker.error is not None:
                if not group:
                    raise unpacker.error
                break
            self._check_diff_id(unpacker)
            group.append(unpacker)
        return group

    def _check_diff_id(self, unpacker: _Unpacker) -> None:
        unpacked, wanted = unpacker.unpacked, unpacker.wanted
        if unpacked is not None and unpacked.diff_id != wanted.diff_id:
            raise self._mismatch(wanted, unpacked.diff_id)

    def _first_cause(self, error: BaseException) -> BaseException:
        """The error that started it all, rather than a cancellation that followed from it."""
        if not isinstance(error, Cancelled) or self._cancel.cancelled:
            return error
        errors = [unpacker.error for unpacker in self._unpackers] + [
            unpacker.download.error for unpacker in self._unpackers
        ]
        return next((other for other in errors if other and not isinstance(other, Cancelled)), error)

    def _abandon_all(self) -> None:
        for unpacker in self._unpackers:
            unpacker.abandon()
            download = unpacker.download
            with download.changed:
                if not download.complete and download.error is None and download.path is None:
                    download.error = Cancelled("operation cancelled")
                    download.changed.notify_all()

    def _clean(self) -> None:
        for unpacker in self._unpackers:
            if unpacker.staged is not None:
                unpacker.staged.discard()


def _ready(unpacker: _Unpacker) -> ReadyLayer:
    staged, unpacked = unpacker.staged, unpacker.unpacked
    assert staged is not None and unpacked is not None
    return ReadyLayer(staged, unpacker.wanted.chain_id, unpacker.wanted.parent, unpacked)
