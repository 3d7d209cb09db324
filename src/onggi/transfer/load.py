"""Load: the images of an archive, into the store.

Nothing is changed before the whole archive has been looked at (load_plan). Then the layers of
all images that are not here, once each, unpack side by side, straight from where they lie in
the archive; configs, parent links and names follow, in this order, so that a kill anywhere
leaves a sound store. What fails half way takes the layers it made along.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from hashlib import new as new_hash
from pathlib import Path
from typing import BinaryIO

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.errors import DataLoss
from onggi.layers.store import LayerStore
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import ChainID, DiffID, Digest, ImageID
from onggi.oci.image_config import HistoryEntry, ImageConfig
from onggi.oci.reference import Reference
from onggi.oci.timestamps import parse_ns
from onggi.progress import LayerStatus, ProgressSink
from onggi.record import record
from onggi.store.imagedb import ImageDB
from onggi.store.locks import LockDirectory, lease_order
from onggi.store.manifests import ManifestDB
from onggi.store.tags import TagStore
from onggi.transfer.archive_files import ArchiveFiles, Extent, MissingMember, open_archive
from onggi.transfer.early_layers import EarlyLayers
from onggi.transfer.layers import Download, LayerPull
from onggi.transfer.load_plan import read_plan
from onggi.transfer.loadable import LayerFile, LoadableImage, PlatformChoice, check_blob
from onggi.transfer.reporter import Reporter
from onggi.transfer.undo import take_back
from onggi.transfer.wanted import Need, Wanted, wanted_layers

__all__ = ["InvalidDiffID", "Loaded", "Loader", "LoadedImage"]


class InvalidDiffID(DataLoss):
    """A layer's bytes are not those the config promises; Docker's words."""

    def __init__(self, layer: int, expected: DiffID, found: DiffID) -> None:
        super().__init__(
            f'invalid diffID for layer {layer}: expected "{expected}", got "{found}"',
            hint="the archive was changed after it was saved: save it again",
        )


class NotAParent(DataLoss):
    """The archive claims a parent that the histories contradict; Docker's words."""

    def __init__(self, image: ImageID, parent: ImageID) -> None:
        super().__init__(
            f"image {parent} is not a valid parent for {image}",
            hint="the archive is not what an image tool writes: save it again",
        )


@record
class LoadedImage:
    """An image that is here now, and the names the archive gave it."""

    id: ImageID
    references: tuple[Reference, ...]


@record
class Loaded:
    """The end of a load: images in the archive's order, repeated ones once each time."""

    images: tuple[LoadedImage, ...]


@record
class Loader:
    """Everything a load needs."""

    layers: LayerStore
    images: ImageDB
    tags: TagStore
    manifests: ManifestDB
    locks: LockDirectory
    workers: Workers
    spool: Path
    compat: str

    def load(
        self,
        source: Path | BinaryIO,
        choice: PlatformChoice,
        sink: ProgressSink,
        cancel: CancelToken,
    ) -> Loaded:
        """Load what ``choice`` asks for; ``sink`` gets Docker's messages and each layer's bytes."""
        reporter = Reporter(sink)
        with EarlyLayers(self.layers, self.images, self.workers) as early:
            files = open_archive(source, self.spool, cancel, early)
            try:
                images = read_plan(files, choice, self.compat, cancel)
                self._bring(files, images, early, reporter, cancel)
            finally:
                files.close()
        return Loaded(tuple(LoadedImage(image.config.id, image.references) for image in images))

    def _bring(
        self,
        files: ArchiveFiles,
        images: Sequence[LoadableImage],
        early: EarlyLayers,
        reporter: Reporter,
        cancel: CancelToken,
    ) -> None:
        """Make the images exist; failing, leave the store as it was."""
        parents = _parents(images)
        fresh = {image.config.id for image in images if image.config.id not in self.images}
        with ExitStack() as held:
            wanted, archived = self._want(files, images, cancel, held)
            for image_id in sorted({image.config.id for image in images}):
                held.enter_context(
                    self.locks.acquire(f"image-{image_id.hex}", exclusive=False, cancel=cancel)
                )
            try:
                early.keep([each.place.start for each in archived.values()])
                self._unpack(wanted, archived, early, reporter, cancel)
                for image in images:
                    self._keep_documents(image)
                    self.images.add(image.config)
                for child, parent in parents.items():
                    self.images.set_parent(child, parent)
                self._name(images, reporter)
            except BaseException:
                held.close()
                self._undo(fresh, wanted)
                raise

    def _keep_documents(self, image: LoadableImage) -> None:
        """For a push; unless the layers are uncompressed, which is no form for a registry."""
        if all(file.blob and file.blob.media_type.endswith(("gzip", "zstd")) for file in image.layers):
            for document in image.documents:
                self.manifests.add(image.config.id, document)

    def _undo(self, fresh: Iterable[ImageID], wanted: Sequence[Wanted]) -> None:
        """Remove what this load made."""
        made = [layer.chain_id for layer in wanted if layer.need is Need.UNPACK]
        for image_id in take_back(self.layers, self.images, self.tags, self.locks, fresh, made):
            self.manifests.remove(image_id)

    # --- layers ---------------------------------------------------------------------------

    def _want(
        self, files: ArchiveFiles, images: Sequence[LoadableImage], cancel: CancelToken, held: ExitStack
    ) -> tuple[list[Wanted], dict[Digest, _Archived]]:
        """Every layer once, in the archive's order and leased, and where those lie that are not here."""
        wanted: dict[ChainID, tuple[Wanted, LayerFile]] = {}
        for image in images:
            descriptors = list(map(_descriptor, image.layers, image.config.diff_ids))
            for file, layer in zip(image.layers, wanted_layers(image.config, descriptors), strict=True):
                wanted.setdefault(layer.chain_id, (layer, file))
        for chain in lease_order(image.config.chain_ids for image in images):
            wanted[chain][0].take_lease(self.layers, held, cancel)
        archived: dict[Digest, _Archived] = {}
        for layer, file in wanted.values():
            if layer.need is Need.UNPACK:
                known = archived.setdefault(
                    layer.descriptor.digest, _Archived(_place(files, file), file.blob, layer.diff_id)
                )
                layer.descriptor = _sized(layer.descriptor, known.place)
        return [layer for layer, _ in wanted.values()], archived

    def _unpack(
        self,
        wanted: Sequence[Wanted],
        archived: dict[Digest, _Archived],
        early: EarlyLayers,
        reporter: Reporter,
        cancel: CancelToken,
    ) -> None:
        if not archived:
            return
        at_once = (os.cpu_count() or 1) + 1
        pull = LayerPull(
            self.layers,
            self.workers,
            reporter,
            final_path=lambda digest: archived[digest].place.path,
            cancel=cancel,
            max_downloads=len(archived),
            max_unpacks=at_once,
            unpacking=LayerStatus.LOADING,
            mismatch=lambda layer, found: InvalidDiffID(layer.depth - 1, layer.diff_id, found),
        )

        def committed(group: Sequence[Wanted]) -> None:
            for layer in group:
                layer.share()

        lanes = threading.BoundedSemaphore(at_once)

        def offer(download: Download, stop: CancelToken) -> None:
            download.early = early.find(archived[download.descriptor.digest].place.start)
            archived[download.descriptor.digest].offer(download, lanes, stop)

        pull.run(wanted, offer, committed)

    # --- names ----------------------------------------------------------------------------

    def _name(self, images: Sequence[LoadableImage], reporter: Reporter) -> None:
        messages = []
        with self.tags.transaction("load") as names:
            for image in images:
                for reference in image.references:
                    before = names.set(reference, image.config.id)
                    if before not in (None, image.config.id):
                        messages.append(_renamed(reference, before))
                    messages.append(f"Loaded image: {reference.familiar}")
        messages += [
            f"Loaded image ID: {image.config.id}" for image in images if image.told and not image.references
        ]
        for text in messages:
            reporter.message(text)


def _renamed(reference: Reference, before: ImageID | None) -> str:
    name = reference.familiar
    return f"The image {name} already exists, renaming the old one with ID {before} to empty string"


@record
class _Archived:
    """A layer's bytes in the archive; ``blob`` is set where they have a digest of their own to check."""

    place: Extent
    blob: Descriptor | None
    diff_id: DiffID

    def offer(self, download: Download, lanes: threading.BoundedSemaphore, cancel: CancelToken) -> None:
        """Let the worker read them at once, and check their digest meanwhile."""
        download.start = self.place.start
        download.advance(self.place.path, self.place.size)
        if self.blob is not None:
            with lanes:
                self._check(self.blob, cancel)
        download.finish(self.place.path)

    def _check(self, blob: Descriptor, cancel: CancelToken) -> None:
        if blob.size != self.place.size:
            check_blob(blob, self.place.size, "")
        if blob.digest.hex == self.diff_id.hex:
            # Uncompressed: the worker computes the same hash.
            return
        hashed = new_hash(blob.digest.algorithm)
        for piece in self.place.pieces():
            cancel.check()
            hashed.update(piece)
        check_blob(blob, self.place.size, hashed.hexdigest())


def _descriptor(file: LayerFile, diff_id: DiffID) -> Descriptor:
    """Docker names a layer on its way in by its diffID (§12.8)."""
    return file.blob or Descriptor("", Digest(diff_id), 0)


def _place(files: ArchiveFiles, file: LayerFile) -> Extent:
    place = files.find(file.name)
    if place is None:
        raise MissingMember(file.name)
    return place


def _sized(descriptor: Descriptor, place: Extent) -> Descriptor:
    return Descriptor(descriptor.media_type, descriptor.digest, place.size)


# --- parents ----------------------------------------------------------------------------------


def _parents(images: Sequence[LoadableImage]) -> dict[ImageID, ImageID]:
    """Parent links within the archive; a claim about an image outside of it means nothing, as with Docker."""
    configs = {image.config.id: image.config for image in images}
    links: dict[ImageID, ImageID] = {}
    for image in images:
        parent = configs.get(ImageID(image.parent))
        if parent is None or parent.id == image.config.id:
            continue
        if not _is_parent(parent, image.config):
            raise NotAParent(image.config.id, parent.id)
        links[image.config.id] = parent.id
    return links


def _is_parent(parent: ImageConfig, child: ImageConfig) -> bool:
    """The child's history is the parent's and one step more."""
    if not parent.history and not child.history:
        return True
    if len(child.history) - len(parent.history) != 1:
        return False
    return all(map(_same_step, parent.history, child.history))


def _same_step(one: HistoryEntry, other: HistoryEntry) -> bool:
    return _facts(one) == _facts(other)


def _facts(step: HistoryEntry) -> tuple[object, ...]:
    """All that a step says, the time as a moment."""
    when = step.created and parse_ns(step.created)
    return when, step.created_by, step.author, step.comment, step.empty_layer
