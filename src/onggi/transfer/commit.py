"""Commit: what a container wrote becomes a layer, and that with its config a child of its image.

Source: moby ``daemon/commit.go``, ``image/image.go`` (NewChildImage); docker-engine §7.6, §8.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument
from onggi.oci.container_config import complete_config
from onggi.oci.digest import DiffID, ImageID
from onggi.oci.go_json import dump
from onggi.oci.image_config import HistoryEntry, ImageConfig
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.oci.timestamps import ZERO_TIME, format_ns, normalise
from onggi.record import record
from onggi.store.tags import AmbiguousName
from onggi.transfer.new_image import ImageMaker
from onggi.transfer.new_layer import EMPTY_DIFF_ID
from onggi.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CommitOptions", "Committer", "TagWithDigest"]


class TagWithDigest(InvalidArgument):
    """A digest is not given, it is computed; Docker's words."""

    def __init__(self) -> None:
        super().__init__(
            "refusing to create a tag with a digest reference", hint="give the image a name and a tag"
        )


@record
class CommitOptions:
    """What the image shall say of itself. Configs are Docker's Config: the image's, and the container's."""

    container: str
    config: Mapping[str, Any]
    container_config: Mapping[str, Any]
    author: str = ""
    message: str = ""
    reference: Reference | None = None

    def check(self) -> None:
        """Raises TagWithDigest, AmbiguousName."""
        if self.reference is not None and self.reference.digest is not None:
            raise TagWithDigest
        if self.reference is not None and self.reference.familiar_name == "sha256":
            raise AmbiguousName


@record
class Committer:
    """Makes an image as the Docker of ``compat`` does."""

    maker: ImageMaker
    compat: str

    def run(
        self,
        changes: Iterable[bytes],
        parent: ImageConfig | None,
        options: CommitOptions,
        cancel: CancelToken,
    ) -> ImageID:
        """The image of the archive ``changes`` upon ``parent``. Raises what ImageMaker.make does."""
        options.check()
        return self.maker.make(
            "commit",
            changes,
            lambda diff_id: self._config(parent, diff_id, options),
            options.reference,
            cancel,
            parent=parent,
            skip_empty=True,
            built=self.compat != "20.10",
        )

    # --- the config -----------------------------------------------------------------------

    def _config(self, parent: ImageConfig | None, diff_id: DiffID, options: CommitOptions) -> ImageConfig:
        """As the classic daemon writes it: keys sorted, structs complete, what is empty left out."""
        created = format_ns(time.time_ns())
        document: dict[str, Any] = {
            "architecture": (parent and parent.architecture) or Platform.host().architecture,
            "author": options.author,
            "config": complete_config(options.config, self.compat),
            "container": options.container,
            "container_config": complete_config(options.container_config, self.compat),
            "created": created,
            "docker_version": __version__,
            "history": [
                *(self._step(entry) for entry in (parent.history if parent else ())),
                _new_step(created, options, empty=diff_id == EMPTY_DIFF_ID),
            ],
            "os": "linux",
            "os.features": parent.document.get("os.features") if parent else None,
            "os.version": parent.os_version if parent else "",
            "rootfs": _rootfs(parent, diff_id),
            "variant": parent.variant if parent else "",
        }
        return ImageConfig.parse(dump({key: value for key, value in document.items() if value}))

    def _step(self, entry: HistoryEntry) -> dict[str, Any]:
        absent = ZERO_TIME if self.compat == "20.10" else None
        return _filled(
            created=normalise(entry.created) or absent,
            author=entry.author,
            created_by=entry.created_by,
            comment=entry.comment,
            empty_layer=entry.empty_layer,
        )


def _new_step(created: str, options: CommitOptions, *, empty: bool) -> dict[str, Any]:
    return _filled(
        created=created,
        author=options.author,
        created_by=" ".join(options.container_config.get("Cmd") or ()),
        comment=options.message,
        empty_layer=empty,
    )


def _filled(**fields: Any) -> dict[str, Any]:
    """Fields in this order, empty ones left out."""
    return {key: value for key, value in fields.items() if value}


def _rootfs(parent: ImageConfig | None, diff_id: DiffID) -> dict[str, Any]:
    diff_ids = [*(parent.diff_ids if parent else ()), *((diff_id,) if diff_id != EMPTY_DIFF_ID else ())]
    return {"type": "layers", "diff_ids": diff_ids} if diff_ids else {"type": "layers"}
