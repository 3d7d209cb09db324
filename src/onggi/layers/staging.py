"""A layer on its way into the store: staged, unpacked by a worker, committed.

``onggi/staging/<cache-id>/`` holds ``layer/`` (the driver's directory to be), ``layerdb/``
(the write set to be renamed into layerdb) and is kept alive by an exclusive lease
``staging-<cache-id>``, of which the worker inherits a copy. Recovery reads it so:

* lease taken: somebody works on it, leave it alone;
* ``layerdb/`` still there: not committed; whatever was installed is undone, unless a layerdb
  entry names it: then a layer was being remade, and this is its old entry or its new one;
* ``layerdb/`` gone: committed; only the empty staging directory is left to remove.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from onggi import errors
from onggi.cancel import CancelToken
from onggi.drivers.packets import NUMBER
from onggi.drivers.staged import StagedDirectory
from onggi.drivers.workers import Workers
from onggi.errors import DataLoss, DeadlineExceeded, OnggiError, Unavailable
from onggi.oci.digest import CacheID, ChainID, DiffID
from onggi.record import record
from onggi.store.atomic import DiskFull, ReadOnlyRoot, remove_tree, translate_os_error
from onggi.store.layerdb import LayerRecord
from onggi.store.locks import Lease, LockDirectory

if TYPE_CHECKING:
    from onggi.layers.driver import StorageDriver

__all__ = ["StagedLayer", "Unpacked", "Unpacking", "UnpackFailed", "WorkerDied"]


# Seconds that a worker nobody wants any more may take to end: it is told between two pieces of its
# layer, but a flush that it is in cannot be broken off.
_WORKER_END_S = 10.0


class UnpackFailed(DataLoss):
    """A worker refused the layer; the message is Docker's where Docker has one."""


class WorkerDied(Unavailable):
    """A worker ended without a word: killed, or out of memory."""

    def __init__(self) -> None:
        super().__init__(
            "unpack layer: its worker process died",
            hint="was it killed for lack of memory? See dmesg; the next pull goes on where this one stopped",
        )


@record
class Unpacked:
    """What a worker found: the diffID of the stream and the layer's size by Docker's rule."""

    diff_id: DiffID
    size_bytes: int


class Unpacking:
    """A worker at work on one blob; owns the control socket.

    Fed by one thread (:meth:`feed`, :meth:`end`), waited for by another.
    """

    def __init__(self, control: socket.socket, on_progress: Callable[[int], None]) -> None:
        self._control = control
        self._on_progress = on_progress

    def feed(self, frontier_bytes: int) -> None:
        """Tell how much of the blob is in its file. Dropped when the worker lags: the next one tells more."""
        try:
            self._control.send(NUMBER.pack(b"N", frontier_bytes), socket.MSG_DONTWAIT)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return

    def end(self, size_bytes: int) -> None:
        """Tell that the blob is complete."""
        try:
            self._control.send(NUMBER.pack(b"E", size_bytes))
        except (BrokenPipeError, ConnectionResetError):
            return

    def result(self) -> Unpacked:
        """Wait for the worker. Raises UnpackFailed, DiskFull, WorkerDied."""
        while True:
            try:
                packet = self._control.recv(64 * 1024)
            except ConnectionResetError:
                # Told first when the worker ended with packets of ours unread; its last word follows.
                continue
            except OSError:
                packet = b""
            if not packet:
                raise WorkerDied
            if packet[:1] == b"P":
                self._on_progress(NUMBER.unpack(packet)[1])
            elif packet[:1] == b"R":
                found = json.loads(packet[1:])
                return Unpacked(DiffID(found["diff_id"]), found["size"])
            else:
                raise _worker_error(json.loads(packet[1:]))

    def abandon(self) -> None:
        """Stop the worker; a waiting :meth:`result` raises WorkerDied."""
        try:
            self._control.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Release the socket (after :meth:`result`, or instead of it)."""
        self._control.close()


def _worker_error(report: dict[str, object]) -> OnggiError:
    message, hint = str(report["message"]), str(report["hint"])
    if report["errno"]:
        known = translate_os_error(OSError(int(str(report["errno"])), message), "layer")
        if isinstance(known, DiskFull):
            return known
        if isinstance(known, ReadOnlyRoot):
            return UnpackFailed(f"unpack layer: {message}")
    kind = errors.__dict__.get(str(report["kind"]))
    if isinstance(kind, type) and issubclass(kind, OnggiError) and kind is not DataLoss:
        return kind(message, hint=hint)
    return UnpackFailed(message, hint=hint)


class StagedLayer:
    """One staging directory; :meth:`discard` or the store's commit ends its life."""

    def __init__(
        self,
        driver: StorageDriver,
        base: Path,
        staged: StagedDirectory,
        lease: Lease,
        locks: LockDirectory,
        *,
        trailing_empty_segment: bool,
    ) -> None:
        self.base = base
        self.staged = staged
        self._driver = driver
        self._lease = lease
        self._locks = locks
        self._trailing_empty_segment = trailing_empty_segment

    @property
    def cache_id(self) -> CacheID:
        """The name the layer will have in the driver."""
        return self.staged.cache_id

    @property
    def write_set(self) -> Path:
        """The layerdb directory to be."""
        return self.base / "layerdb"

    def unpack(
        self,
        workers: Workers,
        blob: int,
        on_progress: Callable[[int], None],
        *,
        start: int = 0,
        repeated: bool = False,
        flush: bool = True,
    ) -> Unpacking:
        """Start a worker that unpacks the growing file ``blob`` (a descriptor; stays the caller's).

        ``start``: bytes of the file before the blob, for one that lies inside an archive.
        ``repeated``: the same blob is a lower layer of the image too (tarsplit minds, in Docker 20.10).
        ``flush``: files go to the disk while more are unpacked, and with them all else that the file
        system has not written yet.
        """
        settings: dict[str, object] = {
            "trailing_empty_segment": self._trailing_empty_segment,
            "start": start,
            "repeated": repeated,
            "flush": flush,
        }
        job = self._driver.job(self.staged, self.write_set)
        try:
            descriptors = [blob, *job.descriptors, self._lease.fileno()]
            return Unpacking(workers.start(settings | job.request, descriptors), on_progress)
        finally:
            job.close()

    def empty(self) -> None:
        """Forget what was unpacked, before a second try."""
        self._driver.empty(self.staged)

    def record(self, chain: ChainID, parent: ChainID | None, unpacked: Unpacked) -> LayerRecord:
        """The layerdb record it will have."""
        return LayerRecord(chain, unpacked.diff_id, parent, self.cache_id, unpacked.size_bytes)

    def discard(self) -> None:
        """Throw the staged layer away, once its worker has ended, who might add to it still.

        One who does not end leaves what the next command clears.
        """
        self._lease.release()
        with suppress(DeadlineExceeded):
            self._lease = self._locks.acquire(
                self._lease.path.name, exclusive=True, cancel=CancelToken(_WORKER_END_S)
            )
        remove_tree(self.base)
        self._lease.release(remove=True)

    def finish(self) -> None:
        """After the commit: remove what is left of the staging directory."""
        remove_tree(self.base)
        self._lease.release(remove=True)
