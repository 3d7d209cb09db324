"""``engine.images.save``: from names to an archive in a file or a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import BinaryIO

from onggi.cancel import CancelToken
from onggi.engine.core import Core
from onggi.engine.names import ImageNotFound, find_image, ids_with_prefix
from onggi.engine.output_file import named_errors, whole_file
from onggi.errors import FailedPrecondition, InvalidArgument, NotFound
from onggi.oci.digest import Digest, ImageID
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference, parse_any
from onggi.store.dataroot import claim
from onggi.store.locks import lease_order
from onggi.transfer.archive_layouts import SavedImage
from onggi.transfer.save import SaveOptions, write_images

__all__ = ["PlatformMismatch", "UnknownReference", "save"]


class UnknownReference(NotFound):
    """No image has this name and tag; Docker's words."""

    def __init__(self, name: str) -> None:
        super().__init__("reference does not exist", hint=f"{name} is no image here; see 'onggi images'")
        self.name = name


class PlatformMismatch(NotFound):
    """The image is for another platform than the one asked for; Docker's words."""

    def __init__(self, name: str, found: Platform, wanted: Platform) -> None:
        super().__init__(
            f"image with reference {name} was found but its platform ({found}) does not match the specified "
            f"platform ({wanted})",
            hint=f"pull it for that platform first: onggi pull --platform {wanted} {name}",
        )


def save(
    core: Core,
    names: Sequence[str],
    out: Path | BinaryIO,
    options: SaveOptions,
    platform: str | None,
    cancel: CancelToken,
) -> None:
    """Write the images to ``out``; a path is written beside and renamed when whole."""
    options.check()
    if not names:
        raise InvalidArgument("save: no image is named", hint="name at least one image")
    with _kept(core) as leases:
        images = _resolve(core, names, platform, leases)
        spool = Path(gettempdir()) if leases is None else core.layout.own
        if isinstance(out, Path):
            with whole_file(out, "save image") as file:
                write_images(core.layers, images, file, options, spool, cancel)
        else:
            with named_errors("the output"):
                write_images(core.layers, images, out, options, spool, cancel)
        if leases is not None:
            for image in images:
                image_id = image.config.id
                core.used(image_id)
                core.emit("save", image_id, {**image.config.labels, "name": image_id})


@contextmanager
def _kept(core: Core) -> Iterator[ExitStack | None]:
    """The right to hold leases; None on a root that only can be read, or that a live dockerd owns."""
    with ExitStack() as stack:
        if not _may_write(core):
            yield None
            return
        stack.enter_context(core.writing())
        yield stack.enter_context(ExitStack())


def _may_write(core: Core) -> bool:
    try:
        core.driver.check_host()
        with claim(core.layout.root):
            return True
    except FileNotFoundError:
        return True
    except FailedPrecondition:
        return False


# --- which images -----------------------------------------------------------------------------


def _resolve(
    core: Core, names: Sequence[str], platform: str | None, leases: ExitStack | None
) -> list[SavedImage]:
    wanted: dict[ImageID, dict[str, Reference]] = {}
    for name in names:
        for image_id, reference in _meant(core, name):
            _check_platform(core, name, image_id, platform)
            references = wanted.setdefault(image_id, {})
            if reference is not None and reference.digest is None:
                references.setdefault(str(reference), reference)
    images = [
        SavedImage(core.images.get(image_id), tuple(names.values()), core.images.parent(image_id))
        for image_id, names in wanted.items()
    ]
    if leases is not None:
        _keep(core, images, leases)
    return images


def _meant(core: Core, name: str) -> list[tuple[ImageID, Reference | None]]:
    """What a name stands for: an id, one tag, or every tag of a repository."""
    parsed = parse_any(name, core.config.compat)
    if isinstance(parsed, Digest):
        return [(find_image(core, name), None)]
    if parsed.familiar_name == "sha256":
        return [(_by_prefix(core, name), None)]
    names = core.tags.snapshot()
    if not parsed.is_name_only:
        found = names.find(parsed)
        if found is None:
            raise UnknownReference(name)
        return [(found, parsed)]
    all_tags = sorted(
        ((reference, image_id) for reference, image_id in names.items() if reference.name == parsed.name),
        key=lambda item: str(item[0]),
    )
    if not all_tags:
        return [(_by_prefix(core, name), None)]
    return [(image_id, reference) for reference, image_id in all_tags]


def _by_prefix(core: Core, name: str) -> ImageID:
    matches = ids_with_prefix(core, name)
    if len(matches) != 1:
        raise ImageNotFound(name)
    return matches[0]


def _check_platform(core: Core, name: str, image_id: ImageID, platform: str | None) -> None:
    if platform is None:
        return
    config, wanted = core.images.get(image_id), Platform.parse(platform)
    found = Platform(config.os or "linux", config.architecture, config.variant)
    if found.normalised() != wanted.normalised():
        raise PlatformMismatch(name, found, wanted)


def _keep(core: Core, images: list[SavedImage], leases: ExitStack) -> None:
    """Keep the layers from removal. Raises ImageNotFound for an image that was removed before that."""
    for chain in lease_order(image.config.chain_ids for image in images):
        leases.enter_context(core.layers.lease(chain))
    for image in images:
        # Its config goes before its layers: whoever finds it finds them.
        if image.config.id not in core.images:
            raise ImageNotFound(image.config.id)
