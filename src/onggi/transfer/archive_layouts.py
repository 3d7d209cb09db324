"""What stands in an archive of images: the members, in the order they are written.

Docker 20.10 (``compat="20.10"``)::

    <image id>.json                        the config
    <v1 id>/{VERSION,json,layer.tar}       a layer; layer.tar is a link where its bytes stand elsewhere
    manifest.json, repositories

Docker 28: an OCI image layout, and what older Dockers want to find beside it::

    blobs/sha256/<hex>                     configs, manifests, uncompressed layers, v1 images
    index.json, oci-layout                 OCI's
    manifest.json, repositories            Docker's

Order is that of a walk, names of a directory bytewise (docker-engine §8.8). Where Docker takes
images in the random order of a Go map, here they stand in the order they were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

from onggi.oci.digest import ChainID, DiffID, ImageID
from onggi.oci.go_json import dump
from onggi.oci.image_config import ImageConfig
from onggi.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from onggi.oci.reference import Reference
from onggi.oci.timestamps import to_unix
from onggi.record import record
from onggi.transfer.v1_image import v1_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Content(Protocol):
        """A member's content, made when it is asked for."""

        @property
        def size_bytes(self) -> int:
            """How many bytes :meth:`pieces` gives."""

        def pieces(self) -> Iterator[bytes]:
            """The bytes."""


__all__ = ["Blob", "Entry", "SavedImage", "docker_entries", "legacy_entries", "oci_entries"]

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_IMAGE_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"


@record
class SavedImage:
    """One image to save, with the names that go along; ``parent`` is the one it was built on."""

    config: ImageConfig
    references: tuple[Reference, ...]
    parent: ImageID | None = None

    @property
    def created_s(self) -> int:
        """Seconds since 1970, 0 when unknown or before: what Docker sets files' times to."""
        return max(0, int(to_unix(self.config.created) or 0))


@record
class Blob:
    """A layer as it stands in an OCI layout: ``digest`` is of the bytes as they are stored."""

    digest: str
    media_type: str
    content: Content


@record
class Entry:
    """One member: a directory (``name`` ends in a slash), a symbolic link, or a file."""

    name: str
    mtime_s: int = 0
    content: bytes | Content = b""
    link: str = ""


LayerContent = Callable[[ChainID, DiffID], "Content"]
LayerBlob = Callable[[ChainID, DiffID], Blob]


def legacy_entries(images: Sequence[SavedImage], layer: LayerContent, compat: str) -> list[Entry]:
    """The layout of Docker up to 24."""
    entries: dict[str, Entry] = {}
    places: dict[DiffID, str] = {}
    tops: dict[ImageID, str] = {}
    manifest = []
    for image in images:
        paths = []
        for v1, diff_id, chain in zip(
            v1_images(image.config, compat), image.config.diff_ids, image.config.chain_ids, strict=True
        ):
            paths.append(f"{v1.id}/layer.tar")
            tops[image.config.id] = v1.id
            if f"{v1.id}/" not in entries:
                for entry in _v1_directory(image, v1.id, v1.json, places.get(diff_id), layer(chain, diff_id)):
                    entries[entry.name] = entry
                places.setdefault(diff_id, v1.id)
        name = f"{image.config.id.hex}.json"
        entries[name] = Entry(name, image.created_s, image.config.raw)
        manifest.append(_manifest_item(image, images, name, paths))
    return _in_order([*entries.values(), *_index_files(images, manifest, tops)])


def _v1_directory(image: SavedImage, v1: str, json: bytes, place: str | None, layer: Content) -> list[Entry]:
    when = image.created_s
    entries = [
        Entry(f"{v1}/", when),
        Entry(f"{v1}/VERSION", when, b"1.0"),
        Entry(f"{v1}/json", when, json),
    ]
    if place is None:
        return [*entries, Entry(f"{v1}/layer.tar", when, layer)]
    return [*entries, Entry(f"{v1}/layer.tar", when, link=f"../{place}/layer.tar")]


def docker_entries(images: Sequence[SavedImage], blob: LayerBlob, compat: str) -> list[Entry]:
    """The layout of Docker from 25 on: OCI's, and Docker's own index files beside it."""
    old: list[Entry] = []
    manifest = []
    for image in images:
        old += [
            Entry(_blob_path(_digest(v1.json)), image.created_s, v1.json)
            for v1 in v1_images(image.config, compat)
        ]
        layers = _blobs(image, blob)
        item = _manifest_item(
            image,
            images,
            _blob_path(image.config.id),
            [_blob_path(layers[diff_id].digest) for diff_id in image.config.diff_ids],
        )
        item["LayerSources"] = {diff_id: _source(layers[diff_id]) for diff_id in sorted(layers)}
        manifest.append(item)
    tops = {image.config.id: image.config.diff_ids[-1].hex for image in images}
    return _in_order([*oci_entries(images, blob), *old, *_index_files(images, manifest, tops)])


def oci_entries(images: Sequence[SavedImage], blob: LayerBlob) -> list[Entry]:
    """An OCI image layout; every image is in its index, also one without a name."""
    entries = [Entry("blobs/"), Entry("blobs/sha256/")]
    descriptors = []
    for image in images:
        layers = _blobs(image, blob)
        entries += [
            Entry(_blob_path(layer.digest), image.created_s, layer.content) for layer in layers.values()
        ]
        manifest = dump(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {
                    "mediaType": OCI_CONFIG,
                    "digest": image.config.id,
                    "size": len(image.config.raw),
                },
                "layers": [_descriptor(layers[diff_id]) for diff_id in image.config.diff_ids],
            }
        )
        entries.append(Entry(_blob_path(image.config.id), image.created_s, image.config.raw))
        entries.append(Entry(_blob_path(_digest(manifest)), 0, manifest))
        descriptors += _index_entries(image, manifest)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
    return _in_order([*entries, Entry("index.json", 0, dump(index)), Entry("oci-layout", 0, _LAYOUT)])


def _index_entries(image: SavedImage, manifest: bytes) -> list[dict[str, Any]]:
    descriptor = {"mediaType": OCI_MANIFEST, "digest": _digest(manifest), "size": len(manifest)}
    named = [
        {**descriptor, "annotations": {_IMAGE_NAME: str(reference), _REF_NAME: reference.tag}}
        for reference in image.references
    ]
    return named or [descriptor]


def _blobs(image: SavedImage, blob: LayerBlob) -> dict[DiffID, Blob]:
    pairs = zip(image.config.chain_ids, image.config.diff_ids, strict=True)
    return {diff_id: blob(chain, diff_id) for chain, diff_id in pairs}


def _descriptor(blob: Blob) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.content.size_bytes}


def _source(blob: Blob) -> dict[str, Any]:
    """The same in the order of Docker's own struct."""
    return {"mediaType": blob.media_type, "size": blob.content.size_bytes, "digest": blob.digest}


def _manifest_item(
    image: SavedImage, images: Sequence[SavedImage], config: str, layers: list[str]
) -> dict[str, Any]:
    item: dict[str, Any] = {
        "Config": config,
        "RepoTags": [reference.familiar for reference in image.references] or None,
        "Layers": layers,
    }
    ids = {other.config.id for other in images}
    if image.parent in ids and image.parent != image.config.id:
        item["Parent"] = image.parent
    return item


def _index_files(
    images: Sequence[SavedImage], manifest: list[dict[str, Any]], tops: dict[ImageID, str]
) -> list[Entry]:
    repositories: dict[str, dict[str, str]] = {}
    for image in images:
        for reference in image.references:
            tags = repositories.setdefault(reference.familiar_name, {})
            tags[reference.tag or ""] = tops[image.config.id]
    entries = [Entry("manifest.json", 0, dump(manifest) + b"\n")]
    if repositories:
        ordered = {name: dict(sorted(tags.items())) for name, tags in sorted(repositories.items())}
        entries.append(Entry("repositories", 0, dump(ordered) + b"\n"))
    return entries


def _in_order(entries: Sequence[Entry]) -> list[Entry]:
    """As a walk finds them; of members with the same name the first stays."""
    unique: dict[str, Entry] = {}
    for entry in entries:
        unique.setdefault(entry.name, entry)
    return sorted(unique.values(), key=lambda entry: entry.name.rstrip("/").encode().split(b"/"))


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _digest(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"
