"""The verbs on images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from onggi.cancel import CancelToken
from onggi.engine.core import Core
from onggi.engine.filters import Filters, compile_filters, matching_names
from onggi.engine.image import Image
from onggi.engine.names import find_image
from onggi.errors import InvalidArgument
from onggi.oci.digest import ImageID
from onggi.oci.reference import Reference
from onggi.oci.timestamps import format_ns
from onggi.progress import Message, ProgressSink, discard

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from onggi.drivers.workers import Workers
    from onggi.engine.operation import PullOperation
    from onggi.engine.removal import PruneReport, Removed
    from onggi.engine.repair import RepairReport
    from onggi.engine.verification import Verification
    from onggi.registry.client import RegistryClient
    from onggi.store.tag_journal import TagChange
    from onggi.transfer.load import Loaded
    from onggi.transfer.plan import PullPlan
    from onggi.transfer.pull import Puller
    from onggi.transfer.push import Pushed

if TYPE_CHECKING:
    # Inside the class, ``list`` is a verb.
    ImageList = list[Image]
    PushedList = list[Pushed]
    RemovedList = list[Removed]
    TagHistory = list[TagChange]

__all__ = ["DigestTag", "Images"]


_LIST_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
_PRUNE_FILTERS = ("dangling", "label", "label!", "until")


class DigestTag(InvalidArgument):
    """A digest is not given, it is computed."""

    def __init__(self) -> None:
        super().__init__(
            "refusing to create a tag with a digest reference", hint="give the new name a tag, not a digest"
        )


class Images:
    """The images of an engine: ``engine.images``."""

    def __init__(
        self, core: Core, client: Callable[[], RegistryClient], workers: Callable[[], Workers]
    ) -> None:
        self._core = core
        self._client = client
        self._workers = workers

    # --- looking --------------------------------------------------------------------------

    def list(self, *, all: bool = False, filters: Filters | None = None) -> list[Image]:
        """Images, newest first; intermediate ones (no name, but children) only with ``all``."""
        names = matching_names(self._core.tags.snapshot().by_image(), filters or {})
        parents = self._parents()
        matches = compile_filters(filters or {}, _LIST_FILTERS, self.get, lambda image: image.id in parents)
        found = []
        for image_id, config in self._core.images.images():
            image = Image(self._core, image_id, config)
            image.__dict__["references"] = names.get(image_id, [])
            if (all or image.references or image_id not in parents) and matches(image):
                found.append(image)
        found.sort(key=lambda image: image.created_at or float("-inf"), reverse=True)
        return found

    def _parents(self) -> set[ImageID]:
        parents = (self._core.images.parent(image_id) for image_id in self._core.images.ids())
        return {parent for parent in parents if parent is not None}

    def get(self, name: str) -> Image:
        """One image by name, digest, id or id prefix. Raises ImageNotFound."""
        image_id = find_image(self._core, name)
        return Image(self._core, image_id, self._core.images.get(image_id))

    def _brought(self, image_id: ImageID) -> Image:
        """An image that a verb has just brought here; it succeeded even if somebody removed it since."""
        return Image(self._core, image_id, self._core.images.remembered(image_id))

    def __iter__(self) -> Iterator[Image]:
        return iter(self.list())

    # --- pulling --------------------------------------------------------------------------

    def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        progress: ProgressSink = discard,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
        limit_rate_bytes_per_s: int | None = None,
        max_concurrent_downloads: int | None = None,
        keep_blobs: bool | None = None,
        verify: bool = False,
    ) -> Image:
        """Pull one image; without tag and digest that is ``latest``.

        ``progress`` gets typed events from several threads, one at a time. ``timeout_s`` is
        for the whole pull; ``cancel`` stops it early, and what was received is kept. With
        ``verify`` the layers that were here already are proved too, and repaired. Raises
        the registry's errors (NotFound, Unauthorized, Forbidden, ResourceExhausted,
        Unavailable), DataLoss for wrong bytes, and those of the store.
        """
        # The helper starts beside the imports and the first requests, not after them.
        self._workers().warm_up()
        from onggi.engine.pulling import options_of, pull

        token = cancel or CancelToken(timeout_s)
        parsed = Reference.parse(reference, self._core.config.compat).tagged()
        options = options_of(
            self._core.config, platform, limit_rate_bytes_per_s, max_concurrent_downloads, keep_blobs
        )
        image_id = pull(self._core, self._puller, parsed, options, progress, token)
        if verify:
            self._heal(image_id, progress, token)
        return self._brought(image_id)

    def pull_all(
        self,
        name: str,
        *,
        platform: str | None = None,
        progress: ProgressSink = discard,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
        limit_rate_bytes_per_s: int | None = None,
        max_concurrent_downloads: int | None = None,
        keep_blobs: bool | None = None,
        verify: bool = False,
    ) -> ImageList:
        """Pull every tag of a repository, in the registry's order."""
        self._workers().warm_up()
        from onggi.engine.pulling import options_of, pull_all

        token = cancel or CancelToken(timeout_s)
        parsed = Reference.parse(name, self._core.config.compat)
        options = options_of(
            self._core.config, platform, limit_rate_bytes_per_s, max_concurrent_downloads, keep_blobs
        )
        pulled = pull_all(self._core, self._puller, parsed, options, progress, token)
        for image_id in dict.fromkeys(pulled) if verify else ():
            self._heal(image_id, progress, token)
        return [self._brought(image_id) for image_id in pulled]

    def pulling(self, reference: str, **settings: object) -> PullOperation:
        """The same as :meth:`pull`, to iterate: ``for event in operation: …``, then ``.image``."""
        from onggi.engine.operation import PullOperation

        return PullOperation(self, reference, settings)

    def plan(
        self,
        reference: str,
        *,
        platform: str | None = None,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
    ) -> PullPlan:
        """What a pull would fetch and need; changes nothing."""
        from onggi.engine.pulling import options_of
        from onggi.transfer.plan import plan_pull

        parsed = Reference.parse(reference, self._core.config.compat).tagged()
        options = options_of(self._core.config, platform, None, None, None)
        return plan_pull(self._puller, parsed, options, cancel or CancelToken(timeout_s))

    @cached_property
    def _puller(self) -> Puller:
        from onggi.engine.pulling import puller_of

        return puller_of(self._core, self._client(), self._workers())

    # --- proving --------------------------------------------------------------------------

    def verify(
        self, *names: str, all: bool = False, fast: bool = False, cancel: CancelToken | None = None
    ) -> Verification:
        """Hold images (``all``: the whole store) against what they were made of; iterate it for findings.

        ``fast`` reads no contents: metadata, sizes and times only. Raises ImageNotFound,
        NeedsRoot; while iterating Cancelled, DeadlineExceeded, WorkerDied.
        """
        self._core.driver.check_host()
        workers = self._workers()
        workers.warm_up()
        # Imported while the helper starts.
        from onggi.engine.verification import Verification

        return Verification(self._core, workers, names, all=all, fast=fast, cancel=cancel)

    def repair(
        self,
        name: str,
        *,
        force: bool = False,
        progress: ProgressSink = discard,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
    ) -> RepairReport:
        """Put right what :meth:`verify` finds: mend metadata, fetch and swap in damaged layers only.

        ``force``: also under running containers and mounts, which then lose the old files.
        Raises ImageNotFound, LayerInUse, NowhereToFetch, RepairFailed, and a pull's errors.
        """
        from onggi.engine.pulling import options_of
        from onggi.engine.repair import Repair

        token = cancel or CancelToken(timeout_s)
        options = options_of(self._core.config, None, None, None, None)
        with self._core.writing():
            return Repair(self._core, self._puller, options, progress, token).run(name, force=force)

    def _heal(self, image_id: ImageID, progress: ProgressSink, cancel: CancelToken) -> None:
        report = self.repair(image_id, progress=progress, cancel=cancel)
        for line in report.lines() or ["Verified: nothing has changed"]:
            progress(Message(line))

    # --- archives -------------------------------------------------------------------------

    def save(
        self,
        names: str | Sequence[str],
        out: Path | BinaryIO,
        *,
        format: str = "docker",
        compression: str = "",
        platform: str | None = None,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Write images, with their names, into one archive.

        ``out`` is a path (written beside and renamed when whole) or a binary file. ``format``
        is ``docker`` (which of its layouts, ``compat`` decides) or ``oci``; ``compression``
        (``gzip``, ``zstd``) is for the layers of an OCI layout. A name without a tag stands
        for all tags of the repository, an id for an image without a name. Raises NotFound,
        LayerChanged (nothing stays at a path then), EmptyExport.
        """
        from onggi.engine.saving import save
        from onggi.transfer.save import SaveOptions

        options = SaveOptions(format, compression, self._core.config.compat)
        wanted = [names] if isinstance(names, str) else names
        save(self._core, wanted, out, options, platform, cancel or CancelToken(timeout_s))

    def load(
        self,
        source: Path | BinaryIO,
        *,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        progress: ProgressSink = discard,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
    ) -> Loaded:
        """Load the images of a docker archive or an OCI layout.

        ``source`` is a file (compressed or not), a directory with an OCI layout, or a binary
        file. Everything is checked, and either all images are loaded or none. Of an image for
        several platforms ``platform`` chooses, else this host; ``all_platforms`` takes what is
        there. Raises DataLoss for an archive that is not what it says, NotFound for a platform
        that it has not, InvalidArgument for no archive.
        """
        self._workers().warm_up()
        from onggi.engine.loading import choice_of, load

        choice = choice_of(platform, all_platforms)
        return load(self._core, self._workers(), source, choice, progress, cancel or CancelToken(timeout_s))

    def import_(
        self,
        source: str | Path | BinaryIO,
        reference: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
        progress: ProgressSink = discard,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
    ) -> Image:
        """Make an image of the tarball of a root file system (compressed or not).

        ``source`` is a path, a binary file, or text: an http address. ``changes`` are
        Dockerfile instructions (``CMD ["sh"]``). Raises InvalidArgument for those that are
        none, DataLoss for what is no archive.
        """
        self._workers().warm_up()
        from onggi.engine.importing import import_image

        image_id = import_image(
            self._core,
            self._workers(),
            lambda url, token: self._client().fetch(url, token),
            source,
            reference,
            changes=changes,
            message=message,
            platform=platform,
            progress=progress,
            cancel=cancel or CancelToken(timeout_s),
        )
        return self._brought(image_id)

    # --- pushing --------------------------------------------------------------------------

    def push(
        self,
        reference: str,
        *,
        compression: str | None = None,
        oci: bool | None = None,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        progress: ProgressSink = discard,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
        max_concurrent_uploads: int | None = None,
    ) -> Pushed:
        """Push one tag; without a tag that is ``latest``.

        ``compression`` is ``gzip``, ``zstd`` or ``none``; None takes layers as they are known,
        and gzip for the others. ``oci`` forces the form of the manifest. ``platform``: the
        image for it that is here under the name; several, or ``all_platforms``: an index of
        them. Raises NothingToPush, DigestPush, OtherPlatform, LayerChanged, and the registry's
        errors.
        """
        parsed = Reference.parse(reference, self._core.config.compat).tagged()
        how = compression, oci, platform, all_platforms, max_concurrent_uploads
        (pushed,) = self._push(parsed, how, progress, cancel or CancelToken(timeout_s))
        return pushed

    def push_all(
        self,
        name: str,
        *,
        compression: str | None = None,
        oci: bool | None = None,
        platform: str | Sequence[str] | None = None,
        all_platforms: bool = False,
        progress: ProgressSink = discard,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
        max_concurrent_uploads: int | None = None,
    ) -> PushedList:
        """Push every tag of a repository, sorted."""
        parsed = Reference.parse(name, self._core.config.compat)
        if not parsed.is_name_only:
            raise InvalidArgument("tag can't be used with --all-tags/-a")
        how = compression, oci, platform, all_platforms, max_concurrent_uploads
        return self._push(parsed, how, progress, cancel or CancelToken(timeout_s))

    def _push(
        self,
        reference: Reference,
        how: tuple[str | None, bool | None, str | Sequence[str] | None, bool, int | None],
        progress: ProgressSink,
        cancel: CancelToken,
    ) -> PushedList:
        from onggi.engine.pushing import options_of, push

        options = options_of(self._core, *how)
        return push(self._core, self._client(), reference, options, progress, cancel)

    # --- naming and removing --------------------------------------------------------------

    def tag(self, source: str, target: str) -> None:
        """Let ``target`` (tag defaults to latest) mean the image ``source``."""
        reference = Reference.parse(target, self._core.config.compat)
        if reference.digest is not None:
            raise DigestTag
        reference = reference.tagged()
        with self._core.writing():
            image_id = find_image(self._core, source)
            with self._core.locks.acquire(f"image-{image_id.hex}", exclusive=False):
                self._core.images.get(image_id)
                with self._core.tags.transaction("tag") as names:
                    names.set(reference, image_id)
                self._core.images.set_last_updated(image_id, format_ns(time.time_ns()))
            self._core.emit("tag", image_id, {"name": reference.familiar})

    def tag_history(self, name: str) -> TagHistory:
        """What a name (tag defaults to latest) meant, newest change first."""
        from onggi.engine.tag_history import tag_history

        return tag_history(self._core, name)

    def rollback(self, name: str) -> Image:
        """Let a name mean what it meant before its last change. Raises NothingBefore, ImageGone."""
        from onggi.engine.tag_history import rollback

        return self._brought(rollback(self._core, name)[1])

    def pin(self, name: str) -> bool:
        """Keep an image from every prune, and from ``rmi`` without force; False when it was pinned."""
        with self._core.writing():
            image_id = find_image(self._core, name)
            with self._core.locks.acquire(f"image-{image_id.hex}", exclusive=False):
                self._core.images.get(image_id)
                return self._core.pins.add(image_id)

    def unpin(self, name: str) -> bool:
        """Take the pin away; False when there was none."""
        with self._core.writing():
            return self._core.pins.remove(find_image(self._core, name))

    def remove(self, name: str, *, force: bool = False, prune: bool = True) -> RemovedList:
        """Untag and, when that was the last name, delete; ``prune`` takes unnamed parents along.

        Returns what happened in Docker's order. Raises ImageNotFound, ImageInUse.
        """
        with self._core.writing():
            from onggi.engine.removal import Removal

            return Removal(self._core).remove(name, force=force, prune=prune)

    def prune(self, *, all: bool = False, filters: Filters | None = None) -> PruneReport:
        """Remove images without a tag (``all``: every image no container uses)."""
        wanted = dict(filters or {})
        if wanted.pop("dangling", ["true"])[-1].lower() in ("0", "f", "false"):
            all = True
        matches = compile_filters(wanted, _PRUNE_FILTERS, self.get, lambda image: False)
        with self._core.writing():
            from onggi.engine.removal import Removal

            candidates: Sequence[Image] = [image for image in self.list(all=True) if matches(image)]
            return Removal(self._core, "prune").prune(candidates, all=all, filtered=bool(wanted))
