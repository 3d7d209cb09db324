"""``rmi`` and ``image prune``: Docker's rules and conflicts (docker-engine §8.5, §8.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from onggi.engine.containers import KnownContainer, known_containers
from onggi.engine.core import Core
from onggi.engine.image import Image
from onggi.engine.mounts import Mounts
from onggi.engine.names import ImageNotFound, find_image, is_id_of
from onggi.errors import Conflict, DataLoss, InvalidArgument, NotFound
from onggi.oci.digest import ChainID, ImageID
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.store.locks import Lease

__all__ = ["ImageInUse", "PruneReport", "Removal", "Removed"]


class ImageInUse(Conflict):
    """Something stands on the image. ``forceable`` conflicts give way to ``--force``."""

    def __init__(self, message: str, *, forceable: bool, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.forceable = forceable


@record
class Removed:
    """One effect: a name that was untagged, or an image or layer (chainID) that was deleted."""

    untagged: str | None = None
    deleted: str | None = None


@record
class PruneReport:
    """What a prune removed; ``space_reclaimed_bytes`` is Σ size of deleted layers."""

    removed: list[Removed]
    space_reclaimed_bytes: int


class Removal:
    """One removal under the right to write; collects its effects in order."""

    def __init__(self, core: Core, by: str = "rmi") -> None:
        self._core = core
        self._by = by
        self._removed: list[Removed] = []
        self._reclaimed_bytes = 0
        self._parents: list[ImageID] = []

    # --- rmi ------------------------------------------------------------------------------

    def remove(self, name: str, *, force: bool, prune: bool) -> list[Removed]:
        """By name: untag, delete when it was the last. By id: delete, if one name at most is left."""
        image_id = find_image(self._core, name)
        with self._alone_with(image_id):
            references = self._references(image_id)
            if not is_id_of(name, image_id):
                self._remove_name(name, image_id, references, force=force)
            else:
                self._remove_id(image_id, references, force=force)
        if prune:
            self._delete_parents()
        return self._removed

    @contextmanager
    def _alone_with(self, image_id: ImageID, *, wait: bool = True) -> Iterator[None]:
        """Nobody names the image meanwhile; a removal that was declared is settled at the end.

        Without ``wait`` an image that somebody pulls or uses right now is ImageInUse.
        """
        with self._lease(image_id, wait=wait) as lease:
            if image_id not in self._core.images:
                raise ImageNotFound(image_id)
            try:
                yield
            finally:
                self._core.intents.settle(image_id)
                lease.release(remove=image_id not in self._core.images)

    def _lease(self, image_id: ImageID, *, wait: bool) -> Lease:
        name = f"image-{image_id.hex}"
        if wait:
            return self._core.locks.acquire(name, exclusive=True)
        lease = self._core.locks.try_acquire(name, exclusive=True)
        if lease is None:
            raise _conflict(image_id, "image is being used by another command", forceable=False)
        return lease

    def _declare(self, image_id: ImageID) -> None:
        self._core.intents.declare(image_id, self._chains(image_id))

    def _remove_name(self, name: str, image_id: ImageID, references: list[Reference], *, force: bool) -> None:
        if len({reference.name for reference in references}) <= 1 and not self._is_held(image_id):
            self._declare(image_id)
        if not self._untag_by_name(name, image_id, references, force=force):
            self._delete_quietly(image_id)

    def _is_held(self, image_id: ImageID) -> bool:
        if self._reason_to_ask(image_id) or self._core.images.children(image_id):
            return True
        return self._container(image_id) is not None

    def _reason_to_ask(self, image_id: ImageID) -> tuple[str, str] | None:
        """What of ours, and not of Docker's, holds an image, and the way out; None: nothing does."""
        if image_id in self._core.pins:
            return "pinned", f"onggi image unpin {image_id.short}, or force with -f"
        for mounted in Mounts(self._core).list():
            if mounted.image_id == image_id:
                return f"mounted on {mounted.path}", f"onggi image unmount {mounted.id}, or force with -f"
        return None

    def _remove_id(self, image_id: ImageID, references: list[Reference], *, force: bool) -> None:
        if _is_single(references):
            self._check_hard_and_stopped(image_id, force=force)
            self._declare(image_id)
            self._untag(references, image_id)
        self._delete(image_id, force=force)

    def _untag_by_name(
        self, name: str, image_id: ImageID, references: list[Reference], *, force: bool
    ) -> bool:
        """True when names are left and the image stays."""
        reference = Reference.parse(name, self._core.config.compat).tagged()
        if not force and _is_single(references):
            self._check_containers_of_single(reference, image_id)
        self._untag(self._going_with(_stored(reference), image_id), image_id)
        return bool(self._references(image_id))

    def _check_containers_of_single(self, reference: Reference, image_id: ImageID) -> None:
        asked = self._reason_to_ask(image_id)
        if asked is not None:
            raise ImageInUse(
                f'conflict: unable to remove repository reference "{reference.familiar}" (must force) - '
                f"its image {image_id.short} is {asked[0]}",
                forceable=True,
                hint=asked[1],
            )
        container = self._container(image_id)
        if container is not None:
            raise ImageInUse(
                f'conflict: unable to remove repository reference "{reference.familiar}" (must force) - '
                f"container {container.short_id} is using its referenced image {image_id.short}",
                forceable=True,
                hint="remove the container first, or force with -f",
            )

    def _going_with(self, removed: Reference, image_id: ImageID) -> list[Reference]:
        """The name, and with the last tag of a repository that repository's digests of this image."""
        rest = [name for name in self._references(image_id) if name.name == removed.name and name != removed]
        if removed.digest is not None or any(name.digest is None for name in rest):
            return [removed]
        return [removed, *rest]

    def _untag(self, references: Sequence[Reference], image_id: ImageID) -> None:
        """Forget names in one transaction: a kill leaves all of them or none."""
        with self._core.tags.transaction(self._by) as names:
            for reference in references:
                names.remove(reference)
        for reference in references:
            self._removed.append(Removed(untagged=reference.familiar))
            self._core.emit("untag", image_id, {"name": reference.familiar})

    # --- deleting -------------------------------------------------------------------------

    def _delete_quietly(self, image_id: ImageID) -> None:
        """After untagging: conflicts simply leave the image where it is (§8.5 A3)."""
        try:
            self._delete(image_id, force=False)
        except ImageInUse:
            return

    def _delete(self, image_id: ImageID, *, force: bool) -> None:
        self._check_conflicts(image_id, force=force)
        parent = self._core.images.parent(image_id)
        self._declare(image_id)
        self._untag(self._references(image_id), image_id)
        chains = self._chains(image_id)
        sizes = {chain: record.size for chain in chains if (record := self._core.layers.usable(chain))}
        self._core.images.remove(image_id)
        self._core.forget(image_id)
        self._removed.append(Removed(deleted=image_id))
        self._core.emit("delete", image_id, {"name": image_id})
        for chain in self._core.layers.release(chains):
            self._core.last_use.forget(chain)
            self._removed.append(Removed(deleted=chain))
            self._reclaimed_bytes += sizes.get(chain, 0)
        if parent is not None:
            self._parents.append(parent)

    def _delete_parents(self) -> None:
        """Unnamed ancestors go too, up to the first that somebody needs (§8.5 D)."""
        while self._parents:
            parent = self._parents.pop()
            try:
                with self._alone_with(parent):
                    if not self._references(parent):
                        self._delete_quietly(parent)
            except ImageNotFound:
                continue

    def _chains(self, image_id: ImageID) -> Sequence[ChainID]:
        try:
            return self._core.images.get(image_id).chain_ids
        except (DataLoss, InvalidArgument, NotFound):
            return ()

    def _check_conflicts(self, image_id: ImageID, *, force: bool) -> None:
        self._check_hard(image_id)
        if force:
            return
        if self._references(image_id):
            raise _conflict(image_id, "image is referenced in multiple repositories", forceable=True)
        self._check_stopped(image_id)

    def _check_hard_and_stopped(self, image_id: ImageID, *, force: bool) -> None:
        self._check_hard(image_id)
        if not force:
            self._check_stopped(image_id)

    def _check_hard(self, image_id: ImageID) -> None:
        if self._core.images.children(image_id):
            raise _conflict(image_id, "image has dependent child images", forceable=False)
        container = self._container(image_id, running=True)
        if container is not None:
            reason = f"image is being used by running container {container.short_id}"
            raise _conflict(image_id, reason, forceable=False)

    def _check_stopped(self, image_id: ImageID) -> None:
        asked = self._reason_to_ask(image_id)
        if asked is not None:
            raise _conflict(image_id, f"image is {asked[0]}", forceable=True, hint=asked[1])
        container = self._container(image_id, running=False)
        if container is not None:
            reason = f"image is being used by stopped container {container.short_id}"
            raise _conflict(image_id, reason, forceable=True)

    def _container(self, image_id: ImageID, *, running: bool | None = None) -> KnownContainer | None:
        return next(
            (
                container
                for container in known_containers(self._core.layout)
                if container.image_id == image_id and running in (None, container.running)
            ),
            None,
        )

    def _references(self, image_id: ImageID) -> list[Reference]:
        return self._core.tags.snapshot().of(image_id)

    # --- prune ----------------------------------------------------------------------------

    def prune(self, candidates: Sequence[Image], *, all: bool, filtered: bool) -> PruneReport:
        """Remove childless candidates without a tag (``all``: with names too); conflicts are passed over.

        Without filters, layers that no image uses (left by a pull that was stopped) go too.
        """
        used = {container.image_id for container in known_containers(self._core.layout)}
        for image in candidates:
            if image.id in self._core.images and not self._core.images.children(image.id):
                self._prune_one(image, all=all, used=image.id in used)
        if not filtered:
            self._prune_layers()
        return self.report()

    def expire(self, image: Image, last_used: float) -> bool:
        """Remove an image with all its names; True when it went.

        Not when somebody holds it, or has used or named it since it was looked at.
        """
        try:
            with self._alone_with(image.id, wait=False):
                if image.last_used > last_used:
                    return False
                self._delete_with_names(image.id, image.references)
        except (ImageInUse, ImageNotFound):
            return False
        self._delete_parents()
        return True

    def report(self) -> PruneReport:
        """What has been removed so far."""
        return PruneReport(list(self._removed), self._reclaimed_bytes)

    def _delete_with_names(self, image_id: ImageID, references: Sequence[Reference]) -> None:
        """All its names, and it; not when a name that is not among ``references`` came meanwhile."""
        self._check_hard_and_stopped(image_id, force=False)
        if not set(self._references(image_id)) <= set(references):
            raise _conflict(image_id, "image was named meanwhile", forceable=False)
        self._declare(image_id)
        self._untag(references, image_id)
        self._delete(image_id, force=False)

    def _prune_one(self, image: Image, *, all: bool, used: bool) -> None:
        if image.tags and (not all or used):
            return
        try:
            with self._alone_with(image.id):
                self._delete_with_names(image.id, image.references)
        except (ImageInUse, ImageNotFound):
            return
        self._delete_parents()

    def _prune_layers(self) -> None:
        sizes = {record.chain_id: record.size for record in self._core.layers.db.records()}
        progress = True
        while progress:
            progress = False
            for chain in list(sizes):
                for removed in self._core.layers.release([chain]):
                    self._core.last_use.forget(removed)
                    self._removed.append(Removed(deleted=removed))
                    self._reclaimed_bytes += sizes.pop(removed)
                    progress = True


def _conflict(image_id: ImageID, reason: str, *, forceable: bool, hint: str = "") -> ImageInUse:
    how = "must be forced" if forceable else "cannot be forced"
    hint = hint or "untag or remove what uses it first" + (", or force with -f" if forceable else "")
    return ImageInUse(
        f"conflict: unable to delete {image_id.short} ({how}) - {reason}", forceable=forceable, hint=hint
    )


def _is_single(references: Sequence[Reference]) -> bool:
    """One repository with at most one tag (digests beside it do not count)."""
    names = {reference.name for reference in references}
    return len(names) <= 1 and sum(reference.digest is None for reference in references) <= 1


def _stored(reference: Reference) -> Reference:
    if reference.digest is None:
        return reference
    return reference.without_tag().with_digest(reference.digest)
