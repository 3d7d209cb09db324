"""An OCI image layout: ``index.json`` names images, ``blobs/<algorithm>/<hex>`` hold them.

An entry may be an index of one image for several platforms, of which a layout need not have all. Of
those that are loaded, the one for this host (else the first) gets the name: a name means one image here.
The others are called by the name and the digest of their manifest, and their manifests and indexes are
kept, so that a push can put them together again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import new as new_hash

from onggi.cancel import CancelToken
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest, ImageID
from onggi.oci.manifest import MAX_MANIFEST_BYTES, Index, Manifest, parse_manifest
from onggi.oci.media_types import OCI_INDEX
from onggi.oci.platform import NoMatchingPlatform, Platform, select
from onggi.oci.reference import InvalidReference, Reference
from onggi.transfer.archive_files import ArchiveFiles, BrokenArchive, read_member
from onggi.transfer.layers import ConfigMismatch
from onggi.transfer.loadable import (
    MAX_CONFIG_BYTES,
    MAX_IMAGES,
    LayerFile,
    LoadableImage,
    NoImageForPlatform,
    PlatformChoice,
    check_blob,
    check_count,
    parse_config,
    platform_of,
    tagged,
)
from onggi.transfer.platform_search import NESTED_INDEXES, PlatformSearch

__all__ = ["layout_images"]

_IMAGE_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"


def layout_images(
    files: ArchiveFiles, choice: PlatformChoice, compat: str, cancel: CancelToken
) -> list[LoadableImage]:
    """The images that ``choice`` asks for; names of the same image come together.

    Raises NoMatchingPlatform, NoImageForPlatform, BrokenArchive, MissingMember, InvalidManifest,
    InvalidImageConfig, InvalidTag, ForeignImage.
    """
    return _Layout(files, choice, compat, cancel).images()


# A manifest, and the indexes on the way to it, innermost first.
_Found = tuple[Manifest, tuple[Index, ...]]


class _Layout:
    """One layout that is read; also where its manifests come from."""

    def __init__(self, files: ArchiveFiles, choice: PlatformChoice, compat: str, cancel: CancelToken) -> None:
        self._files = files
        self._choice = choice
        self._compat = compat
        self._cancel = cancel
        self._offered: set[Platform] = set()
        self._missed: NoMatchingPlatform | None = None
        self._read_manifests = 0

    def images(self) -> list[LoadableImage]:
        """See :func:`layout_images`."""
        index = parse_manifest(read_member(self._files, "index.json", MAX_MANIFEST_BYTES), OCI_INDEX)
        if not isinstance(index, Index):
            raise BrokenArchive("index.json is not an index")
        found: dict[ImageID, LoadableImage] = {}
        for entry in index.manifests:
            for image in self._entry(entry):
                known = found.setdefault(image.config.id, image)
                found[image.config.id] = _with_names(known, image.references)
        for platform in self._choice.platforms if index.manifests else ():
            if platform.normalised() not in {platform_of(image.config) for image in found.values()}:
                raise self._missed or NoImageForPlatform(platform, self._offered)
        return list(found.values())

    # --- one entry ------------------------------------------------------------------------

    def _entry(self, entry: Descriptor) -> list[LoadableImage]:
        """The images that an entry means, the names shared out among them."""
        wanted = [platform.normalised() for platform in self._choice.platforms]
        images = [self._image(manifest, indexes) for manifest, indexes in self._manifests(entry)]
        self._offered.update(platform_of(image.config) for image in images)
        fitting = [image for image in images if not wanted or platform_of(image.config) in wanted]
        names = self._names(entry)
        if not names or not fitting:
            return fitting
        main = _for_this_host(fitting, self._compat)
        return [
            _with_names(image, names if image is main else _digest_names(image, names)) for image in fitting
        ]

    def _manifests(self, entry: Descriptor) -> list[_Found]:
        document = parse_manifest(*self.manifest(entry, self._cancel))
        if isinstance(document, Manifest):
            return [(document, ())]
        if self._choice.all:
            # Where nothing of it is here, the one for this host says what is missing.
            return list(self._leaves(document, (document,))) or [self._best(document, None)]
        if not self._choice.platforms:
            return [self._best(document, None)]
        found = {}
        for platform in self._choice.platforms:
            try:
                best = self._best(document, platform)
            except NoMatchingPlatform as error:
                self._missed = self._missed or error
            else:
                found[best[0].digest] = best
        return list(found.values())

    def _best(self, index: Index, platform: Platform | None) -> _Found:
        search = PlatformSearch(self, platform, self._compat, self._cancel)
        manifest = search.manifest(index)
        return manifest, tuple(search.indexes)

    def _leaves(self, index: Index, way: tuple[Index, ...]) -> Iterator[_Found]:
        """Every Linux image below an index that is here whole; attestations name no system."""
        if len(way) > NESTED_INDEXES:
            raise ConfigMismatch(f"indexes are nested deeper than {NESTED_INDEXES}")
        for entry in index.manifests:
            if entry.platform is not None and entry.platform.os not in ("", "linux"):
                continue
            if self._files.find(_blob_name(entry.digest)) is None:
                continue
            document = parse_manifest(*self.manifest(entry, self._cancel))
            if isinstance(document, Index):
                yield from self._leaves(document, (document, *way))
            elif all(self._files.find(_blob_name(b.digest)) for b in (document.config, *document.layers)):
                yield document, way

    def _image(self, manifest: Manifest, indexes: tuple[Index, ...]) -> LoadableImage:
        config = parse_config(self._read(manifest.config, MAX_CONFIG_BYTES))
        check_count(len(manifest.layers), config)
        layers = tuple(LayerFile(_blob_name(layer.digest), layer) for layer in manifest.layers)
        return LoadableImage(config, layers, documents=(*indexes, manifest))

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
        return (tagged(str(reference.tagged()), self._compat),) if reference.digest is None else ()

    # --- blobs ----------------------------------------------------------------------------

    def manifest(self, descriptor: Descriptor, cancel: CancelToken) -> tuple[bytes, str]:
        """A manifest or index by its descriptor, verified."""
        cancel.check()
        self._read_manifests += 1
        if self._read_manifests > MAX_IMAGES:
            raise BrokenArchive(f"more than {MAX_IMAGES} manifests")
        return self._read(descriptor, MAX_MANIFEST_BYTES), descriptor.media_type

    def _read(self, descriptor: Descriptor, limit: int) -> bytes:
        raw = read_member(self._files, _blob_name(descriptor.digest), limit)
        check_blob(descriptor, len(raw), new_hash(descriptor.digest.algorithm, raw).hexdigest())
        return raw


def _for_this_host(images: Sequence[LoadableImage], compat: str) -> LoadableImage:
    """The image that a pull would choose, else the first."""
    by_digest = {image.documents[-1].digest: image for image in images}
    entries = [Descriptor("", digest, -1, platform_of(image.config)) for digest, image in by_digest.items()]
    best = select(entries, None, compat)
    return by_digest[best[0].digest] if best else images[0]


def _digest_names(image: LoadableImage, names: Sequence[Reference]) -> tuple[Reference, ...]:
    digest = image.documents[-1].digest
    return tuple(name.without_tag().with_digest(digest) for name in names)


def _with_names(image: LoadableImage, names: Sequence[Reference]) -> LoadableImage:
    """The image with these names too."""
    known = (*image.references, *(name for name in names if name not in image.references))
    return LoadableImage(image.config, image.layers, known, image.parent, image.documents)


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"
