"""``tag --history`` and ``tag --rollback``: what a name meant, and back to what it meant before."""

from __future__ import annotations

import time

from onggi.engine.core import Core
from onggi.errors import InvalidArgument, NotFound
from onggi.oci.digest import ImageID
from onggi.oci.reference import Reference
from onggi.oci.timestamps import format_ns
from onggi.store.tag_journal import TagChange

__all__ = ["ImageGone", "NothingBefore", "rollback", "tag_history"]


class NothingBefore(NotFound):
    """The name has meant one image only, as far as is known."""

    def __init__(self, reference: Reference) -> None:
        super().__init__(
            f"roll back {reference.familiar}: it meant nothing before",
            hint=f"'onggi tag --history {reference.familiar}' shows what is on record",
        )


class ImageGone(NotFound):
    """The image that a name meant before has been removed."""

    def __init__(self, reference: Reference, image_id: ImageID, digest: str | None) -> None:
        name = reference.familiar
        again = f"then again: onggi tag --rollback {name}"
        if digest is None:
            hint = f"it was not pulled under this name: build or load it again, {again}"
        else:
            hint = f"pull it by its digest: onggi pull {reference.familiar_name}@{digest}; {again}"
        super().__init__(f"roll back {name}: the image {image_id.short} it meant before is gone", hint=hint)
        self.image_id = image_id
        self.digest = digest


def tag_history(core: Core, name: str) -> list[TagChange]:
    """What a name meant, newest change first. Raises InvalidReference."""
    return core.tags.history(_tag(core, name))


def rollback(core: Core, name: str) -> tuple[ImageID | None, ImageID]:
    """Let a name mean the image it meant before; returns (from, to).

    A second rollback takes the first one back. Raises NothingBefore, ImageGone.
    """
    reference = _tag(core, name)
    with core.writing():
        image_id = _previous(core, reference)
        with core.locks.acquire(f"image-{image_id.hex}", exclusive=False):
            if image_id not in core.images:
                raise ImageGone(reference, image_id, _digest_of(core, reference, image_id))
            with core.tags.transaction("rollback") as names:
                before = names.set(reference, image_id)
            core.images.set_last_updated(image_id, format_ns(time.time_ns()))
        core.emit("tag", image_id, {"name": reference.familiar})
        return before, image_id


def _tag(core: Core, name: str) -> Reference:
    reference = Reference.parse(name, core.config.compat)
    if reference.digest is not None:
        raise InvalidArgument(
            f"{reference.familiar} is a digest, which always means the same", hint="give a name and a tag"
        )
    return reference.tagged()


def _previous(core: Core, reference: Reference) -> ImageID:
    """The image it meant last before the present one; times when the name did not exist are passed over."""
    current = core.tags.snapshot().find(reference)
    for change in core.tags.history(reference):
        if change.before not in (None, current):
            assert change.before is not None
            return change.before
    raise NothingBefore(reference)


def _digest_of(core: Core, reference: Reference, image_id: ImageID) -> str | None:
    """What the name resolved to when it was pulled as that image."""
    changes = core.tags.history(reference)
    return next((change.digest for change in changes if change.after == image_id and change.digest), None)
