"""Import: the tarball of a root file system becomes an image of one layer.

The layer is unpacked while it is read: a plain file from where it lies, a stream from a file
without a name into which it is written. Only then its diffID is known, and with it whether
the layer is here already (docker-engine §8.1 for the config).
"""

from __future__ import annotations

import io
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.errors import InvalidArgument, Unsupported
from onggi.layers.staging import StagedLayer, Unpacked, Unpacking, WorkerDied
from onggi.layers.store import LayerStore, ReadyLayer
from onggi.oci.container_config import complete_config
from onggi.oci.digest import ChainID, DiffID, ImageID, random_id
from onggi.oci.go_json import dump
from onggi.oci.image_config import ImageConfig
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.oci.timestamps import format_ns
from onggi.record import record
from onggi.store.imagedb import ImageDB
from onggi.store.locks import LockDirectory
from onggi.store.tags import AmbiguousName, TagStore
from onggi.transfer.archive_files import nameless_file, write_whole
from onggi.transfer.undo import take_back
from onggi.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DigestReference", "ImportOptions", "Importer"]


class DigestReference(InvalidArgument):
    """A digest is not given, it is computed; Docker's words."""

    def __init__(self) -> None:
        super().__init__("cannot import digest reference", hint="give the image a name and a tag")


class ForeignSystem(Unsupported):
    """Only Linux images are made here; Docker's words."""

    def __init__(self) -> None:
        super().__init__("operating system is not supported", hint="leave --platform out, or say linux/…")


@record
class ImportOptions:
    """What the image shall say; ``config`` is a container config, known keys in Docker's spelling."""

    config: Mapping[str, Any]
    message: str
    platform: Platform
    reference: Reference | None = None

    def check(self) -> None:
        """Raises DigestReference, AmbiguousName, ForeignSystem."""
        if self.platform.os != "linux":
            raise ForeignSystem
        if self.reference is not None and self.reference.digest is not None:
            raise DigestReference
        if self.reference is not None and self.reference.familiar_name == "sha256":
            raise AmbiguousName


@record
class Importer:
    """Everything an import needs."""

    layers: LayerStore
    images: ImageDB
    tags: TagStore
    locks: LockDirectory
    workers: Workers
    spool: Path
    compat: str

    def run(
        self, source: io.FileIO | Iterable[bytes], options: ImportOptions, cancel: CancelToken
    ) -> ImageID:
        """Make the image; failing, leave the store as it was.

        Raises UnpackFailed, CorruptStream, DiskFull and the errors of ``source``.
        """
        options.check()
        made: list[ChainID] = []
        fresh: list[ImageID] = []
        try:
            with ExitStack() as held:
                blob = held.enter_context(_Blob(source, self.spool, cancel))
                config = self._config(self._bring_layer(blob, cancel, held, made), options)
                lock = f"image-{config.id.hex}"
                held.enter_context(self.locks.acquire(lock, exclusive=False, cancel=cancel))
                fresh += [config.id] if config.id not in self.images else []
                self.images.add(config)
                self._name(config.id, options.reference)
        except BaseException:
            take_back(self.layers, self.images, self.tags, self.locks, fresh, made)
            raise
        return config.id

    def _name(self, image_id: ImageID, reference: Reference | None) -> None:
        if reference is not None:
            with self.tags.transaction("import") as names:
                names.set(reference.tagged(), image_id)
            self.images.set_last_updated(image_id, format_ns(time.time_ns()))

    # --- the layer ------------------------------------------------------------------------

    def _bring_layer(self, blob: _Blob, cancel: CancelToken, held: ExitStack, made: list[ChainID]) -> DiffID:
        """Unpack it under a name that nobody has, then see whether it is new: then it is one of ``made``."""
        unpacked, staged = self._unpack(blob, ChainID(f"sha256:{random_id()}"))
        chain = ChainID(unpacked.diff_id)
        try:
            lease = self.layers.lease(chain, exclusive=True, cancel=cancel)
            held.callback(lease.release)
            if self.layers.usable(chain) is None:
                if chain in self.layers.db:
                    # Damaged: it is remade under its old cache-id, for the layers that stand on it.
                    staged.discard()
                    unpacked, staged = self._unpack(blob, chain)
                made.append(chain)
                self.layers.commit([ReadyLayer(staged, chain, None, unpacked)])
            else:
                staged.discard()
            lease.share()
        except BaseException:
            staged.discard()
            raise
        return unpacked.diff_id

    def _unpack(self, blob: _Blob, chain: ChainID) -> tuple[Unpacked, StagedLayer]:
        staged = self.layers.stage(chain, 1)
        try:
            unpacking = staged.unpack(self.workers, blob.fd, lambda consumed: None)
            return blob.unpacked_by(unpacking), staged
        except BaseException:
            staged.discard()
            raise

    # --- the config -----------------------------------------------------------------------

    def _config(self, diff_id: DiffID, options: ImportOptions) -> ImageConfig:
        """As the classic daemon writes it: keys sorted, structs complete."""
        created = format_ns(time.time_ns())
        host = Platform.host()
        platform = host if self.compat == "20.10" else options.platform
        document: dict[str, Any] = {
            "architecture": platform.architecture,
            "comment": options.message,
            "config": complete_config(options.config, self.compat),
            "container_config": complete_config({}),
            "created": created,
            "docker_version": __version__,
            "history": [{"created": created, "comment": options.message}],
            "os": platform.os,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
        if platform.variant and self.compat != "20.10":
            document["variant"] = platform.variant
        return ImageConfig.parse(dump(document, compat=self.compat))


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


def is_plain_file(stream: object) -> bool:
    """True for a regular file that nobody has read from: it can be unpacked from where it lies."""
    return (
        isinstance(stream, io.FileIO)
        and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        and not stream.tell()
    )
