"""Push: an image of the store becomes a manifest, a config and blobs at a registry (docker-engine §2.10).

For each layer, top first, the cheapest way that works::

    known here   a blob it is known by is at the destination        "Layer already exists"
    known there  another repository of the same registry has it     "Mounted from …"
    kept         a pull has kept the blob                           "Pushed", the same bytes
    made         the layer's tar, put together and compressed       "Pushed"

Then the config, then the manifest. Where every layer is the blob that a kept manifest of the
image lists, that very manifest goes, and its digest stays; else one is written as dockerd
writes it. Nothing in the store changes but what is remembered: where blobs are, the name
with the new digest, the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from onggi.archive.compression import Compression
from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, NotFound
from onggi.oci import media_types
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Manifest, parse_manifest
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.progress import ProgressSink
from onggi.registry.client import RegistryClient
from onggi.registry.destination import Destination
from onggi.store.imagedb import ImageDB
from onggi.store.manifests import ManifestDB
from onggi.store.proof import identity_key
from onggi.store.tags import TagStore
from onggi.transfer.contents import SmallBlob
from onggi.transfer.push_layers import LayerPush, PushOptions, Stores, compression_of
from onggi.transfer.reporter import Reporter

__all__ = [
    "DigestPush",
    "NothingToPush",
    "OtherPlatform",
    "PushOptions",
    "Pushed",
    "Pusher",
]


class NothingToPush(NotFound):
    """No image here has the name; the message is Docker's."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="'onggi images' lists what is here; 'onggi tag' gives an image a name")


class DigestPush(InvalidArgument):
    """A digest is computed by the registry's side of a push, not given to it."""

    def __init__(self) -> None:
        super().__init__("cannot push a digest reference", hint="name the image by a tag")


class OtherPlatform(InvalidArgument):
    """The image is not for the platform asked for."""

    def __init__(self, reference: str, is_for: Platform, wanted: Platform) -> None:
        super().__init__(
            f"image with reference {reference} was found but its platform ({is_for}) "
            f"does not match the specified platform ({wanted})",
            hint=f"pull it for that platform: onggi pull --platform {wanted} {reference}",
        )


@dataclass(frozen=True, slots=True)
class Pushed:
    """One tag at its registry. ``digest`` and ``size_bytes`` are the manifest's."""

    reference: Reference
    image_id: ImageID
    digest: Digest
    size_bytes: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Pusher:
    """Everything a push needs; stateless, so any number of pushes may run at once."""

    client: RegistryClient
    stores: Stores
    images: ImageDB
    tags: TagStore
    manifests: ManifestDB

    def push(
        self, reference: Reference, options: PushOptions, sink: ProgressSink, cancel: CancelToken
    ) -> list[Pushed]:
        """Push the tag of a reference or, where it has none, every tag of its repository.

        Raises NothingToPush, DigestPush, OtherPlatform, LayerChanged, CorruptLayer, and the
        registry's errors.
        """
        if reference.digest is not None:
            raise DigestPush
        reporter = Reporter(sink)
        reporter.message(f"The push refers to repository [{reference.name}]")
        images = self._images(reference)
        for tagged, image_id in images:
            if options.platform is not None:
                self._check_platform(tagged, image_id, options.platform)
        destination = self.client.destination(reference)
        destination.connect(cancel)
        return [
            self._push_tag(tagged, image_id, destination, options, reporter, cancel)
            for tagged, image_id in images
        ]

    def _images(self, reference: Reference) -> list[tuple[Reference, ImageID]]:
        names = [item for item in self.tags.snapshot().items() if item[0].name == reference.name]
        if not names:
            raise NothingToPush(f"An image does not exist locally with the tag: {reference.familiar_name}")
        tagged = sorted((item for item in names if item[0].digest is None), key=lambda item: str(item[0]))
        if reference.tag is None:
            if not tagged:
                raise NothingToPush(f"no tags to push for {reference.familiar_name}")
            return tagged
        found = [item for item in tagged if item[0].tag == reference.tag]
        if not found:
            raise NothingToPush(f"tag does not exist: {reference.familiar}")
        return found

    def _check_platform(self, reference: Reference, image_id: ImageID, wanted: Platform) -> None:
        config = self.images.get(image_id)
        is_for = Platform(config.os or "linux", config.architecture, config.variant)
        if is_for.normalised() != wanted.normalised():
            raise OtherPlatform(reference.familiar, is_for, wanted)

    def _push_tag(
        self,
        reference: Reference,
        image_id: ImageID,
        destination: Destination,
        options: PushOptions,
        reporter: Reporter,
        cancel: CancelToken,
    ) -> Pushed:
        with self.stores.locks.acquire(f"image-{image_id.hex}", exclusive=False, cancel=cancel):
            config = self.images.get(image_id)
            known = next(iter(self.manifests.of(image_id)), None)
            types = {layer.digest: layer.media_type for each in self.manifests.all() for layer in each.layers}
            job = LayerPush(
                self.stores,
                reference,
                config,
                known,
                types,
                destination,
                options,
                reporter,
                self._key(reference),
            )
            manifest = _manifest(config, job.send_layers(cancel), known, options)
            self._send_config(config, destination, cancel)
            return self._put(reference, image_id, manifest, destination, reporter, cancel)

    def _send_config(self, config: ImageConfig, destination: Destination, cancel: CancelToken) -> None:
        blob = SmallBlob(config.raw)
        if destination.known_size(blob.digest, cancel) is None:
            destination.upload(blob, cancel)

    def _put(
        self,
        reference: Reference,
        image_id: ImageID,
        manifest: Manifest,
        destination: Destination,
        reporter: Reporter,
        cancel: CancelToken,
    ) -> Pushed:
        """Put the manifest, and remember it."""
        tag = reference.tag or "latest"
        destination.put_manifest(tag, manifest.raw, manifest.media_type, cancel)
        size = len(manifest.raw)
        reporter.message(f"{tag}: digest: {manifest.digest} size: {size}")
        self.manifests.add(image_id, manifest)
        with self.tags.transaction("push", manifest.digest) as names:
            names.set(reference.without_tag().with_digest(manifest.digest), image_id)
        return Pushed(reference, image_id, manifest.digest, size, manifest.media_type)

    def _key(self, reference: Reference) -> str:
        shown = self.client.credentials(reference.domain)
        return identity_key(shown.username, shown.password, shown.identity_token, shown.registry_token)


# --- the manifest -----------------------------------------------------------------------------


def _manifest(
    config: ImageConfig, layers: Sequence[Descriptor], known: Manifest | None, options: PushOptions
) -> Manifest:
    """The kept manifest when it lists these very blobs, else a new one in Docker's or OCI's words."""
    zstd = any(compression_of(layer.media_type) is Compression.ZSTD for layer in layers)
    came_as_oci = known is not None and known.media_type == media_types.OCI_MANIFEST
    oci = (came_as_oci if options.oci is None else options.oci) or zstd
    if known is not None and oci == came_as_oci and _same_blobs(known.layers, layers):
        return known
    raw = _document(config, layers, oci=oci)
    manifest = parse_manifest(raw)
    assert isinstance(manifest, Manifest)
    return manifest


def _same_blobs(these: Sequence[Descriptor], those: Sequence[Descriptor]) -> bool:
    return [layer.digest for layer in these] == [layer.digest for layer in those]


def _document(config: ImageConfig, layers: Sequence[Descriptor], *, oci: bool) -> bytes:
    """Docker's bytes: keys in this order, three spaces deep (§2.10); OCI's in the same form."""
    raw = config.raw
    kinds = (media_types.OCI_MANIFEST, media_types.OCI_CONFIG)
    manifest_type, config_type = kinds if oci else (media_types.DOCKER_MANIFEST, media_types.DOCKER_CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": _entry(config_type, len(raw), Digest.of(raw)),
        "layers": [
            _entry(_layer_type(layer.media_type, oci=oci), layer.size, layer.digest) for layer in layers
        ],
    }
    return json.dumps(document, indent=3).encode()


def _entry(media_type: str, size: int, digest: Digest) -> dict[str, object]:
    return {"mediaType": media_type, "size": size, "digest": digest}


def _layer_type(media_type: str, *, oci: bool) -> str:
    if not oci:
        return media_types.DOCKER_LAYER_GZIP
    compression = compression_of(media_type).value
    return f"{media_types.OCI_LAYER}+{compression}" if compression else media_types.OCI_LAYER
