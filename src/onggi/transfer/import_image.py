"""Import: the tarball of a root file system becomes an image of one layer.

How the image is made is in :mod:`new_image`; for the config see docker-engine §8.1.
"""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Iterable, Mapping

from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, Unsupported
from onggi.oci.container_config import complete_config
from onggi.oci.digest import DiffID, ImageID
from onggi.oci.go_json import dump
from onggi.oci.image_config import ImageConfig
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.oci.timestamps import format_ns
from onggi.record import record
from onggi.store.tags import AmbiguousName
from onggi.transfer.new_image import ImageMaker
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
    """Makes an image as the Docker of ``compat`` does."""

    maker: ImageMaker
    compat: str

    def run(
        self, source: io.FileIO | Iterable[bytes], options: ImportOptions, cancel: CancelToken
    ) -> ImageID:
        """The image of the tarball ``source``. Raises what ImageMaker.make does."""
        options.check()
        return self.maker.make(
            "import", source, lambda diff_id: self._config(diff_id, options), options.reference, cancel
        )

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
