"""Push: an image of the store becomes a manifest, a config and blobs at a registry (docker-engine §2.10).

For each layer, top first, the cheapest way that works::

    known here   a blob it is known by is at the destination        "Layer already exists"
    known there  another repository of the same registry has it     "Mounted from …"
    kept         a pull has kept the blob                           "Pushed", the same bytes
    made         the layer's tar, put together and compressed       "Pushed"

Then the config, then the manifest. Where every layer is the blob that a kept manifest of the
image lists, that very manifest goes, and its digest stays; else one is written as dockerd
writes it. Of several platforms each goes so, under its digest, and the index (push_index) under
the tag. Nothing in the store changes but what is remembered: where blobs are, the name with the
new digest, the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from onggi.archive.compression import Compression
from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, NotFound
from onggi.oci import media_types
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.oci.reference import Reference
from onggi.progress import ProgressSink
from onggi.record import record, replace
from onggi.registry.client import RegistryClient
from onggi.registry.destination import Destination
from onggi.store.imagedb import ImageDB
from onggi.store.manifests import ManifestDB
from onggi.store.proof import identity_key
from onggi.store.tags import DigestTaken, TagStore
from onggi.transfer.contents import SmallBlob
from onggi.transfer.push_index import HeldPlatforms, Member, OtherPlatform, compose_index, platform_of
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


@record
class Pushed:
    """One tag at its registry. ``digest`` and ``size_bytes`` are those of the manifest, or of the index.

    ``members`` are the manifests of an index, each with its own digest for a reference.
    """

    reference: Reference
    image_id: ImageID
    digest: Digest
    size_bytes: int
    media_type: str
    members: tuple[Pushed, ...] = ()


@record
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
        chosen = [
            (tagged, image_id, self._choose(tagged, image_id, options))
            for tagged, image_id in self._images(reference)
        ]
        destination = self.client.destination(reference)
        destination.connect(cancel)
        job = _Job(self, destination, options, reporter, cancel)
        return [
            job.push_index(tagged, image_id, members)
            if options.as_index
            else job.push_image(tagged, members[0])
            for tagged, image_id, members in chosen
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

    def _choose(self, reference: Reference, image_id: ImageID, options: PushOptions) -> list[Member]:
        if options.all_platforms:
            return self.platforms.members(reference, image_id)
        if options.platforms:
            return self.platforms.choose(reference, image_id, options.platforms)
        return [Member(platform_of(self.images.get(image_id)), image_id)]

    @property
    def platforms(self) -> HeldPlatforms:
        """What is here of each name."""
        return HeldPlatforms(self.images, self.tags, self.manifests)


@record
class _Job:
    """One push on its way to one repository."""

    pusher: Pusher
    destination: Destination
    options: PushOptions
    reporter: Reporter
    cancel: CancelToken

    def push_image(self, reference: Reference, member: Member, *, listed: bool = False) -> Pushed:
        """Layers, config and manifest of one image; ``listed``: under its digest, for an index."""
        pusher = self.pusher
        lock = f"image-{member.image_id.hex}"
        with pusher.stores.locks.acquire(lock, exclusive=False, cancel=self.cancel):
            config = pusher.images.get(member.image_id)
            known = member.manifest or next(iter(pusher.manifests.of(member.image_id)), None)
            layers = self._layers(reference, config, known).send_layers(self.cancel)
            manifest = _manifest(config, layers, known, self.options)
            self._send_config(config)
            if listed:
                reference = reference.without_tag().with_digest(manifest.digest)
            pushed = self._put(reference, member.image_id, manifest, str(member.platform) if listed else "")
            pusher.manifests.add(member.image_id, manifest)
        return pushed

    def _layers(self, reference: Reference, config: ImageConfig, known: Manifest | None) -> LayerPush:
        pusher = self.pusher
        kept = pusher.manifests.all()
        return LayerPush(
            pusher.stores,
            reference,
            config,
            known,
            {layer.digest: layer.media_type for each in kept for layer in each.layers},
            self.destination,
            self.options,
            self.reporter,
            self._key(reference),
        )

    def _key(self, reference: Reference) -> str:
        shown = self.pusher.client.credentials(reference.domain)
        return identity_key(shown.username, shown.password, shown.identity_token, shown.registry_token)

    def _send_config(self, config: ImageConfig) -> None:
        blob = SmallBlob(config.raw)
        if self.destination.known_size(blob.digest, self.cancel) is None:
            self.destination.upload(blob, self.cancel)

    def push_index(self, reference: Reference, image_id: ImageID, members: Sequence[Member]) -> Pushed:
        """Every member, then the index: the kept one where it lists just these manifests."""
        pushed = tuple(self.push_image(reference, member, listed=True) for member in members)
        *inner, index = self._indexes(image_id, members, pushed)
        for document in inner:
            self.destination.put_manifest(document.digest, document.raw, document.media_type, self.cancel)
        whole = self._put(reference, image_id, index)
        return replace(whole, members=pushed)

    def _indexes(
        self, image_id: ImageID, members: Sequence[Member], pushed: Sequence[Pushed]
    ) -> tuple[Index, ...]:
        way, oci = self.pusher.platforms.way(image_id), self.options.oci
        if way and way.leaves.keys() == {each.digest for each in pushed} and way.fits(oci):
            return way.indexes
        entries = [
            Descriptor(each.media_type, each.digest, each.size_bytes, member.platform)
            for member, each in zip(members, pushed, strict=True)
        ]
        return (compose_index(entries, oci=bool(oci)),)

    def _put(
        self, reference: Reference, image_id: ImageID, document: Manifest | Index, shown: str = ""
    ) -> Pushed:
        """Put a document under the tag or digest of ``reference``, and remember the name."""
        name = reference.digest or reference.tag or "latest"
        self.destination.put_manifest(name, document.raw, document.media_type, self.cancel)
        size = len(document.raw)
        self.reporter.message(f"{shown or name}: digest: {document.digest} size: {size}")
        with self.pusher.tags.transaction("push", document.digest) as names:
            try:
                names.set(reference.without_tag().with_digest(document.digest), image_id)
            except DigestTaken:
                # An index, here for another platform already: its digest stays where it is, as in a pull.
                pass
        return Pushed(reference, image_id, document.digest, size, document.media_type)


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
