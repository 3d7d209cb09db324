"""Commit: what a container wrote becomes a layer, and that with its config a child of its image.

Source: moby ``daemon/commit.go``, ``image/image.go`` (NewChildImage); docker-engine §7.6, §8.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.errors import InvalidArgument
from onggi.layers.store import LayerStore
from onggi.oci.container_config import complete_config
from onggi.oci.digest import ChainID, DiffID, ImageID
from onggi.oci.go_json import dump
from onggi.oci.image_config import HistoryEntry, ImageConfig
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.oci.timestamps import ZERO_TIME, format_ns, normalise
from onggi.record import record
from onggi.store.imagedb import ImageDB
from onggi.store.locks import LockDirectory
from onggi.store.tags import AmbiguousName, TagStore
from onggi.transfer.new_layer import EMPTY_DIFF_ID, LayerMaker
from onggi.transfer.undo import take_back
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
    """Everything a commit needs."""

    layers: LayerStore
    images: ImageDB
    tags: TagStore
    locks: LockDirectory
    workers: Workers
    spool: Path
    compat: str

    def run(
        self,
        changes: Iterable[bytes],
        parent: ImageConfig | None,
        options: CommitOptions,
        cancel: CancelToken,
    ) -> ImageID:
        """Make the image of the archive ``changes`` upon ``parent``; failing, leave the store as it was.

        Raises ImageNotFound, TooDeep, UnpackFailed, DiskFull and the errors of ``changes``.
        """
        options.check()
        made: list[ChainID] = []
        fresh: list[ImageID] = []
        try:
            with ExitStack() as held:
                self._keep_parent(parent, held, cancel)
                maker = LayerMaker(self.layers, self.workers, self.spool)
                below = parent.chain_ids if parent else ()
                diff_id = maker.bring(changes, below, cancel, held, made, skip_empty=True)
                config = self._config(parent, diff_id, options)
                lock = f"image-{config.id.hex}"
                held.enter_context(self.locks.acquire(lock, exclusive=False, cancel=cancel))
                fresh += [config.id] if config.id not in self.images else []
                self._add(config, parent)
                self._name(config.id, options.reference)
        except BaseException:
            take_back(self.layers, self.images, self.tags, self.locks, fresh, made)
            raise
        return config.id

    def _keep_parent(self, parent: ImageConfig | None, held: ExitStack, cancel: CancelToken) -> None:
        if parent is None:
            return
        lock = f"image-{parent.id.hex}"
        held.enter_context(self.locks.acquire(lock, exclusive=False, cancel=cancel))
        self.images.get(parent.id)
        if parent.chain_ids:
            held.enter_context(self.layers.lease(parent.chain_ids[-1], cancel=cancel))

    def _add(self, config: ImageConfig, parent: ImageConfig | None) -> None:
        self.images.add(config)
        if parent is not None:
            self.images.set_parent(config.id, parent.id)
        if self.compat != "20.10":
            self.images.mark_built(config.id)

    def _name(self, image_id: ImageID, reference: Reference | None) -> None:
        if reference is not None:
            with self.tags.transaction("commit") as names:
                names.set(reference.tagged(), image_id)
            self.images.set_last_updated(image_id, format_ns(time.time_ns()))

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
