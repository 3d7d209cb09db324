"""What an archive of images says: its images, checked as far as they can be without unpacking.

``manifest.json`` makes it a docker archive, of either generation (paths are free-form)::

    [ { "Config": path, "RepoTags": [ name:tag ] | null, "Layers": [ path ], "Parent"?: image id } ]

Without it, ``index.json`` makes it an OCI image layout (oci_layout), and a directory with ``json`` and
``layer.tar`` an archive of before Docker 1.10 (legacy_archive). With both, ``manifest.json`` counts, and
the layout tells of the platforms that it leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument
from onggi.oci.json_document import spelled, spelling
from onggi.oci.platform import Platform
from onggi.transfer.archive_files import ArchiveFiles, BrokenArchive, read_member
from onggi.transfer.legacy_archive import is_legacy, legacy_images
from onggi.transfer.loadable import (
    MAX_CONFIG_BYTES,
    MAX_IMAGES,
    MAX_INDEX_BYTES,
    LayerFile,
    LoadableImage,
    NoImageForPlatform,
    PlatformChoice,
    check_count,
    parse_config,
    platform_of,
    tagged,
)
from onggi.transfer.oci_layout import layout_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NoImageArchive", "read_plan"]

_ITEM = spelling("Config", "RepoTags", "Layers", "Parent", "LayerSources")


class NoImageArchive(InvalidArgument):
    """Readable, but not what ``save`` writes."""

    def __init__(self) -> None:
        super().__init__(
            "no image archive: it has neither manifest.json nor index.json",
            hint="is it whole? The tarball of a root file system is for 'onggi import'",
        )


def read_plan(
    files: ArchiveFiles, choice: PlatformChoice, compat: str, cancel: CancelToken
) -> list[LoadableImage]:
    """The images that ``choice`` asks for, in the archive's order.

    Raises NoImageArchive, BrokenArchive, MissingMember, InvalidManifest, InvalidImageConfig,
    InvalidTag, ForeignImage, NoMatchingPlatform, NoImageForPlatform.
    """
    is_layout = files.find("index.json") is not None
    if files.find("manifest.json") is not None:
        images = _docker_images(files, compat)
    elif is_layout:
        return layout_images(files, choice, compat, cancel)
    elif is_legacy(files):
        images = legacy_images(files, compat, cancel)
    else:
        raise NoImageArchive
    if choice.all and is_layout:
        return _joined(images, layout_images(files, choice, compat, cancel))
    fitting, missing = _chosen(images, choice)
    if not missing:
        return fitting
    if is_layout:
        others = PlatformChoice(missing)
        return _joined(fitting, layout_images(files, others, compat, cancel))
    raise NoImageForPlatform(missing[0], [platform_of(image.config) for image in images])


def _chosen(
    images: list[LoadableImage], choice: PlatformChoice
) -> tuple[list[LoadableImage], tuple[Platform, ...]]:
    """The images for the platforms asked for, and the platforms that none is for."""
    if not choice.platforms or not images:
        return images, ()
    wanted = [platform.normalised() for platform in choice.platforms]
    held = {platform_of(image.config) for image in images}
    return (
        [image for image in images if platform_of(image.config) in wanted],
        tuple(platform for platform in choice.platforms if platform.normalised() not in held),
    )


def _joined(images: Iterable[LoadableImage], more: Iterable[LoadableImage]) -> list[LoadableImage]:
    """Both, each image once; a name that is taken becomes that of the manifest's digest."""
    found = {image.config.id: image for image in images}
    taken = {reference for image in found.values() for reference in image.references}
    for image in more:
        if image.config.id not in found:
            digest = image.documents[-1].digest
            names = (
                name.without_tag().with_digest(digest) if name in taken else name for name in image.references
            )
            found[image.config.id] = LoadableImage(
                image.config, image.layers, tuple(names), image.parent, image.documents
            )
    return list(found.values())


# --- docker archives --------------------------------------------------------------------------


def _docker_images(files: ArchiveFiles, compat: str) -> list[LoadableImage]:
    items = _items(read_member(files, "manifest.json", MAX_INDEX_BYTES))
    return [_docker_image(files, item, compat) for item in items]


def _items(raw: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise BrokenArchive(f"manifest.json: not JSON: {error}") from error
    if document is None:
        raise BrokenArchive("invalid manifest, manifest cannot be null (but can be [])")
    if not isinstance(document, list) or len(document) > MAX_IMAGES:
        raise BrokenArchive(f"manifest.json: not a list of at most {MAX_IMAGES} images")
    return [_item(entry) for entry in document]


def _item(entry: object) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise BrokenArchive("manifest.json: an image is not an object")
    try:
        item = spelled(entry, _ITEM)
    except ValueError as error:
        raise BrokenArchive(f"manifest.json: {error}") from error
    for key in ("Config", "Parent"):
        if not isinstance(item.get(key) or "", str):
            raise BrokenArchive(f"manifest.json: {key} is not a string")
    for key in ("RepoTags", "Layers"):
        value = item.get(key) or []
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise BrokenArchive(f"manifest.json: {key} is not a list of strings")
    return item


def _docker_image(files: ArchiveFiles, item: dict[str, Any], compat: str) -> LoadableImage:
    config = parse_config(read_member(files, item.get("Config") or "", MAX_CONFIG_BYTES))
    layers = item.get("Layers") or []
    check_count(len(layers), config)
    references = tuple(tagged(text, compat) for text in item.get("RepoTags") or [])
    return LoadableImage(
        config, tuple(LayerFile(name) for name in layers), references, item.get("Parent") or ""
    )
