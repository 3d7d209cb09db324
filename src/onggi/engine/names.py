"""From what a user types to an image of the store (docker-engine §1.4)."""

from __future__ import annotations

from onggi.engine.core import Core
from onggi.errors import NotFound
from onggi.oci.digest import Digest, ImageID
from onggi.oci.reference import Reference, parse_any

__all__ = ["ImageNotFound", "find_image", "is_id_of", "short_id"]


class ImageNotFound(NotFound):
    """No image has this name or id."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No such image: {name}", hint="'onggi images' lists what is here")
        self.name = name


def find_image(core: Core, text: str) -> ImageID:
    """The image that ``text`` means: digest, name, or id prefix, in Docker's order.

    An ambiguous prefix is reported like an unknown one. Raises ImageNotFound,
    InvalidReference.
    """
    parsed = parse_any(text)
    if isinstance(parsed, Digest):
        image_id = ImageID(parsed)
        if image_id not in core.images:
            raise ImageNotFound(parsed)
        return image_id
    found = core.tags.snapshot().find(parsed)
    if found is not None and found in core.images:
        return found
    matches = ids_with_prefix(core, text)
    if len(matches) != 1:
        raise ImageNotFound(_shown(parsed))
    return matches[0]


def ids_with_prefix(core: Core, text: str) -> list[ImageID]:
    """Image ids that begin with ``text``, with or without ``sha256:``."""
    prefix = text.removeprefix("sha256:")
    return [image_id for image_id in core.images.ids() if prefix and image_id.hex.startswith(prefix)]


def is_id_of(text: str, image_id: ImageID) -> bool:
    """True when the user meant the image by (a prefix of) its id, not by a name."""
    prefix = text.removeprefix("sha256:")
    return bool(prefix) and image_id.hex.startswith(prefix)


def short_id(image_id: ImageID) -> str:
    """Docker's 12 digits."""
    return image_id.short


def _shown(reference: Reference) -> str:
    return reference.tagged().familiar
