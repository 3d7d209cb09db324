"""What an archive of images says: its images, checked as far as they can be without unpacking.

``manifest.json`` makes it a docker archive, of either generation (paths are free-form)::

    [ { "Config": path, "RepoTags": [ name:tag ] | null, "Layers": [ path ], "Parent"?: image id } ]

Without it, ``index.json`` makes it an OCI image layout. Ids are computed from the bytes, never
read from names (CVE-2014-9358); digests are checked before they become a name (CVE-2024-3727).
"""

from __future__ import annotations

import json
from hashlib import new as new_hash

from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, NotFound, Unsupported
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.json_document import spelled, spelling
from onggi.oci.manifest import MAX_MANIFEST_BYTES, Index, Manifest, parse_manifest
from onggi.oci.media_types import OCI_INDEX
from onggi.oci.platform import NoMatchingPlatform, Platform
from onggi.oci.quoting import printable, quoted
from onggi.oci.reference import InvalidReference, Reference
from onggi.record import record
from onggi.store.tags import AmbiguousName
from onggi.transfer.archive_files import ArchiveFiles, BrokenArchive, read_member
from onggi.transfer.platform_search import PlatformSearch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ForeignImage", "LayerFile", "LoadableImage", "NoImageArchive", "check_blob", "read_plan"]

# Bytes. A manifest.json has about 10 kB an image of 125 layers.
_MAX_INDEX_BYTES = 16 * 1024 * 1024
_MAX_CONFIG_BYTES = 8 * 1024 * 1024
_MAX_IMAGES = 4096
_ITEM = spelling("Config", "RepoTags", "Layers", "Parent", "LayerSources")
_IMAGE_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"


class NoImageArchive(InvalidArgument):
    """Readable, but not what ``save`` writes."""

    def __init__(self) -> None:
        super().__init__(
            "no image archive: it has neither manifest.json nor index.json",
            hint="is it whole? The tarball of a root file system is for 'onggi import'",
        )


class ForeignImage(Unsupported):
    """An image of another operating system; Docker's words."""

    def __init__(self, system: str) -> None:
        super().__init__(
            f"cannot load {printable(system)} image on linux", hint="only Linux images can be loaded"
        )


class NoImageForPlatform(NotFound):
    """The archive has images, none of them for the platform."""

    def __init__(self, wanted: Platform) -> None:
        super().__init__(
            f"no image in the archive is for {wanted}", hint="leave --platform out to load what it has"
        )


class InvalidTag(InvalidArgument):
    """A name in the archive that is none; Docker's words."""

    def __init__(self, text: str) -> None:
        super().__init__(f"invalid tag {quoted(text)}", hint="the archive is not what an image tool writes")


@record
class LayerFile:
    """A layer's bytes by name; ``blob`` is what an OCI layout says they are."""

    name: str
    blob: Descriptor | None = None


@record
class LoadableImage:
    """One image of the archive. ``parent`` is what the archive claims it was built on."""

    config: ImageConfig
    layers: tuple[LayerFile, ...]
    references: tuple[Reference, ...] = ()
    parent: str = ""


def read_plan(
    files: ArchiveFiles, platform: Platform | None, compat: str, cancel: CancelToken
) -> list[LoadableImage]:
    """The images, in the archive's order; with ``platform``, only those for it.

    Raises NoImageArchive, BrokenArchive, MissingMember, InvalidManifest, InvalidImageConfig,
    InvalidTag, ForeignImage, NoMatchingPlatform, NoImageForPlatform.
    """
    if files.find("manifest.json") is not None:
        return _docker_images(files, platform, compat)
    if files.find("index.json") is not None:
        return _Layout(files, platform, compat, cancel).images()
    raise NoImageArchive


# --- docker archives --------------------------------------------------------------------------


def _docker_images(files: ArchiveFiles, platform: Platform | None, compat: str) -> list[LoadableImage]:
    items = _items(read_member(files, "manifest.json", _MAX_INDEX_BYTES))
    images = [_docker_image(files, item, compat) for item in items]
    if platform is None or not images:
        return images
    fitting = [image for image in images if _platform(image.config) == platform.normalised()]
    if not fitting:
        raise NoImageForPlatform(platform)
    return fitting


def _items(raw: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise BrokenArchive(f"manifest.json: not JSON: {error}") from error
    if document is None:
        raise BrokenArchive("invalid manifest, manifest cannot be null (but can be [])")
    if not isinstance(document, list) or len(document) > _MAX_IMAGES:
        raise BrokenArchive(f"manifest.json: not a list of at most {_MAX_IMAGES} images")
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
    config = _config(read_member(files, item.get("Config") or "", _MAX_CONFIG_BYTES))
    layers = item.get("Layers") or []
    _check_count(len(layers), config)
    references = tuple(_tagged(text, compat) for text in item.get("RepoTags") or [])
    return LoadableImage(
        config, tuple(LayerFile(name) for name in layers), references, item.get("Parent") or ""
    )


def _config(raw: bytes) -> ImageConfig:
    config = ImageConfig.parse(raw)
    if config.os not in ("", "linux"):
        raise ForeignImage(config.os)
    return config


def _check_count(layers: int, config: ImageConfig) -> None:
    if layers != len(config.diff_ids):
        raise BrokenArchive(
            f"invalid manifest, layers length mismatch: expected {layers}, got {len(config.diff_ids)}"
        )


def _tagged(text: str, compat: str) -> Reference:
    reference = Reference.parse(text, compat)
    if reference.tag is None or reference.digest is not None:
        raise InvalidTag(text)
    if reference.familiar_name == "sha256":
        raise AmbiguousName
    return reference


def _platform(config: ImageConfig) -> Platform:
    return Platform(config.os or "linux", config.architecture, config.variant).normalised()


# --- OCI layouts ------------------------------------------------------------------------------


class _Layout:
    """An OCI image layout; also where its manifests come from."""

    def __init__(
        self, files: ArchiveFiles, platform: Platform | None, compat: str, cancel: CancelToken
    ) -> None:
        self._files = files
        self._search = PlatformSearch(self, platform, compat, cancel)
        self._platform = platform
        self._compat = compat
        self._cancel = cancel

    def images(self) -> list[LoadableImage]:
        """One image for each manifest of the index; names of the same image come together."""
        index = parse_manifest(read_member(self._files, "index.json", MAX_MANIFEST_BYTES), OCI_INDEX)
        if not isinstance(index, Index):
            raise BrokenArchive("index.json is not an index")
        found: dict[ImageID, LoadableImage] = {}
        for entry in index.manifests:
            image = self._image(entry)
            known = found.setdefault(image.config.id, image)
            more = [name for name in image.references if name not in known.references]
            if more:
                found[image.config.id] = LoadableImage(
                    known.config, known.layers, (*known.references, *more), known.parent
                )
        return list(found.values())

    def _image(self, entry: Descriptor) -> LoadableImage:
        raw, media_type = self.manifest(entry, self._cancel)
        self._search.fetched = 0
        manifest = self._search.manifest(parse_manifest(raw, media_type))
        config = _config(self._read(manifest.config, _MAX_CONFIG_BYTES))
        _check_count(len(manifest.layers), config)
        if self._platform is not None and _platform(config) != self._platform.normalised():
            raise NoMatchingPlatform(self._platform, [str(_platform(config))])
        return LoadableImage(config, _layer_files(manifest), self._names(entry))

    def manifest(self, descriptor: Descriptor, cancel: CancelToken) -> tuple[bytes, str]:
        """A manifest or index by its descriptor, verified."""
        cancel.check()
        return self._read(descriptor, MAX_MANIFEST_BYTES), descriptor.media_type

    def _read(self, descriptor: Descriptor, limit: int) -> bytes:
        name = _blob_name(descriptor.digest)
        raw = read_member(self._files, name, limit)
        check_blob(descriptor, len(raw), new_hash(descriptor.digest.algorithm, raw).hexdigest())
        return raw

    def _names(self, entry: Descriptor) -> tuple[Reference, ...]:
        """The name in the annotations; a bare tag (as of umoci) names nothing here."""
        full = entry.annotations.get(_IMAGE_NAME)
        text = full or entry.annotations.get(_REF_NAME, "")
        if not full and ":" not in text and "/" not in text:
            return ()
        try:
            reference = Reference.parse(text, self._compat)
        except InvalidReference:
            if full:
                raise
            return ()
        return (_tagged(str(reference.tagged()), self._compat),) if reference.digest is None else ()


def check_blob(descriptor: Descriptor, size: int, digits: str) -> None:
    """Raises BrokenArchive when a blob is not what its descriptor says."""
    if size != descriptor.size:
        raise BrokenArchive(f"blob {descriptor.digest}: {size} bytes, not {descriptor.size}")
    if digits != descriptor.digest.hex:
        raise BrokenArchive(f"blob {descriptor.digest}: its bytes have the digest {digits}")


def _layer_files(manifest: Manifest) -> tuple[LayerFile, ...]:
    return tuple(LayerFile(_blob_name(layer.digest), layer) for layer in manifest.layers)


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"
