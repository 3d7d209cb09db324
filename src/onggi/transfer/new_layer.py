"""A layer from the stream of its archive: unpacked while it is read, and new only if nobody has it.

A plain file is unpacked from where it lies, a stream from a file without a name into which it is
written. Only at its end is the diffID known, and with it whether the layer is here already.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.layers.staging import StagedLayer, Unpacked, Unpacking, WorkerDied
from onggi.layers.store import LayerStore, ReadyLayer
from onggi.oci.digest import ChainID, DiffID, chain_id, random_id
from onggi.record import record
from onggi.transfer.archive_files import nameless_file, write_whole

__all__ = ["EMPTY_DIFF_ID", "LayerMaker"]

EMPTY_DIFF_ID = DiffID("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
"""Of an archive without members, 1024 NUL bytes: Docker makes no layer of it."""


@record
class LayerMaker:
    """Makes layers of ``layers``; ``spool`` is where streams are written."""

    layers: LayerStore
    workers: Workers
    spool: Path

    def bring(
        self,
        source: io.FileIO | Iterable[bytes],
        below: Sequence[ChainID],
        cancel: CancelToken,
        held: ExitStack,
        made: list[ChainID],
        *,
        skip_empty: bool = False,
    ) -> DiffID:
        """The diffID of the layer that ``source`` holds, upon the chains ``below`` (base first).

        The caller keeps those leased. A lease on the layer goes to ``held``; one that was not here is
        added to ``made``. ``skip_empty``: an archive without members gives EMPTY_DIFF_ID and no layer.
        Raises UnpackFailed, CorruptStream, DiskFull and the errors of ``source``.
        """
        with _Blob(source, self.spool, cancel) as blob:
            # Unpacked under a name that nobody has.
            unpacked, staged = self._unpack(blob, ChainID(f"sha256:{random_id()}"), len(below) + 1)
            if skip_empty and unpacked.diff_id == EMPTY_DIFF_ID:
                staged.discard()
            else:
                self._keep(blob, unpacked, staged, below, cancel, held, made)
            return unpacked.diff_id

    def _keep(
        self,
        blob: _Blob,
        unpacked: Unpacked,
        staged: StagedLayer,
        below: Sequence[ChainID],
        cancel: CancelToken,
        held: ExitStack,
        made: list[ChainID],
    ) -> None:
        parent = below[-1] if below else None
        chain = chain_id(parent, unpacked.diff_id)
        try:
            lease = self.layers.lease(chain, exclusive=True, cancel=cancel)
            held.callback(lease.release)
            if self.layers.usable(chain) is None:
                if not self.layers.is_new(chain, len(below) + 1):
                    # Damaged: it is remade under its old cache-id, for the layers that stand on it.
                    staged.discard()
                    unpacked, staged = self._unpack(blob, chain, len(below) + 1)
                made.append(chain)
                self.layers.commit([ReadyLayer(staged, chain, parent, unpacked)])
            else:
                staged.discard()
            lease.share()
        except BaseException:
            staged.discard()
            raise

    def _unpack(self, blob: _Blob, chain: ChainID, depth: int) -> tuple[Unpacked, StagedLayer]:
        staged = self.layers.stage(chain, depth)
        try:
            unpacking = staged.unpack(self.workers, blob.fd, lambda consumed: None)
            return blob.unpacked_by(unpacking), staged
        except BaseException:
            staged.discard()
            raise


class _Blob:
    """The tarball as a file for the worker, written meanwhile if it comes as a stream.

    A context manager; owns ``fd``.
    """

    def __init__(self, source: io.FileIO | Iterable[bytes], spool: Path, cancel: CancelToken) -> None:
        self._cancel = cancel
        self._pieces: Iterator[bytes] | None = None
        self._error: BaseException | None = None
        if isinstance(source, io.FileIO):
            self.fd = os.dup(source.fileno())
            self._size = os.fstat(self.fd).st_size
        else:
            self.fd = nameless_file(spool)
            self._pieces = iter(source)
            self._size = 0

    def __enter__(self) -> _Blob:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)

    def unpacked_by(self, unpacking: Unpacking) -> Unpacked:
        """Feed a worker to its end; raises what stopped it, or the stream, or the caller."""
        ended = threading.Event()
        feeder = threading.Thread(target=self._feed, args=(unpacking, ended), daemon=True)
        forget = self._cancel.on_cancel(unpacking.abandon)
        feeder.start()
        try:
            return unpacking.result()
        except WorkerDied:
            self._cancel.check()
            ended.set()
            feeder.join()
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            ended.set()
            forget()
            feeder.join()
            unpacking.close()

    def _feed(self, unpacking: Unpacking, ended: threading.Event) -> None:
        try:
            for piece in self._pieces or ():
                if ended.is_set():
                    return
                write_whole(self.fd, piece)
                self._size += len(piece)
                unpacking.feed(self._size)
            self._pieces = None
            unpacking.end(self._size)
        except BaseException as error:
            self._error = error
            unpacking.abandon()
