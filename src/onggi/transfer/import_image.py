"""Import: the tarball of a root file system becomes an image of one layer.

How the layer is made is in :mod:`new_layer`; for the config see docker-engine §8.1.
"""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.errors import InvalidArgument, Unsupported
from onggi.layers.store import LayerStore
from onggi.oci.container_config import complete_config
from onggi.oci.digest import ChainID, DiffID, ImageID
from onggi.oci.go_json import dump
from onggi.oci.image_config import ImageConfig
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.oci.timestamps import format_ns
from onggi.record import record
from onggi.store.imagedb import ImageDB
from onggi.store.locks import LockDirectory
from onggi.store.tags import AmbiguousName, TagStore
from onggi.transfer.new_layer import LayerMaker
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
                maker = LayerMaker(self.layers, self.workers, self.spool)
                config = self._config(maker.bring(source, (), cancel, held, made), options)
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


def is_plain_file(stream: object) -> bool:
    """True for a regular file that nobody has read from: it can be unpacked from where it lies."""
    return (
        isinstance(stream, io.FileIO)
        and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        and not stream.tell()
    )
