"""Manifests and indexes: parsed once, kept as they came.

The digest is that of the raw bytes, so nothing here ever writes them anew. What Docker
refuses is refused with its words; what it lets pass though two readers would see two images
in it is refused too: layers and manifests in one document, a body that contradicts its
Content-Type (CVE-2021-41190), a key given twice.

manifest   = { schemaVersion: 2, mediaType?, config: descriptor, layers: [ descriptor ] }
index      = { schemaVersion: 2, mediaType?, manifests: [ descriptor ] }
descriptor = { mediaType, digest, size, platform?, annotations?, urls? }

Source: OCI image-spec, manifest.md, image-index.md, descriptor.md; docker-engine §2.5.
"""

from __future__ import annotations

from onggi.errors import DataLoss, Unsupported
from onggi.oci import media_types
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest, InvalidDigest
from onggi.oci.json_document import load_object, spelled, spelling
from onggi.oci.platform import Platform
from onggi.oci.quoting import printable, quoted
from onggi.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = [
    "MAX_MANIFEST_BYTES",
    "ForeignLayer",
    "Index",
    "InvalidManifest",
    "Manifest",
    "Schema1",
    "UnsupportedMediaType",
    "parse_manifest",
]

# Bytes; registries and engines agree on this limit (distribution-spec, "Pushing Manifests").
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
# Far above any image: overlay2 mounts 128 layers. They bound the work a hostile document can ask for.
_MAX_LAYERS = 4096
_MAX_ENTRIES = 4096
# Go's int64; no registry holds more bytes.
_MAX_SIZE = 2**63 - 1

_DOCUMENT_KEYS = spelling("schemaVersion", "mediaType", "config", "layers", "manifests")
_DESCRIPTOR_KEYS = spelling("mediaType", "digest", "size", "platform", "annotations", "urls")
_PLATFORM_KEYS = spelling("os", "architecture", "variant", "os.version", "os.features")


class InvalidManifest(DataLoss):
    """The document is not what it must be."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"invalid manifest: {reason}", hint="the image is broken at its registry: tell its maintainer"
        )


class Schema1(Unsupported):
    """A manifest of before 2016."""

    def __init__(self) -> None:
        super().__init__(
            "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed.",
            hint="ask the image's author for the OCI format or manifest v2, schema 2: a push by any tool of "
            "today does it",
        )


class ForeignLayer(Unsupported):
    """A layer that lies elsewhere than in the registry."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(
            f"layer {digest} is not distributed by registries (a foreign layer)",
            hint="only Windows images have such layers; choose a Linux image",
        )
        self.digest = digest


class UnsupportedMediaType(Unsupported):
    """Not an image; the message is Docker's."""

    def __init__(self, reason: str, media_type: str) -> None:
        super().__init__(printable(reason), hint="this is no container image")
        self.media_type = media_type


@record
class Manifest:
    """One platform's image: its config and its layers, base first."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    digest: Digest


@record
class Index:
    """A manifest list or OCI index: one image for many platforms, in its author's order."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    digest: Digest


def parse_manifest(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """Parse what a registry served; ``media_type`` is its Content-Type, if known.

    Raises InvalidManifest, Schema1, ForeignLayer, UnsupportedMediaType.
    """
    served = (media_type or "").partition(";")[0].strip()
    document = _load(raw)
    kind = _kind(document, served)
    if media_types.is_index(kind):
        entries = _list(document, "manifests", _MAX_ENTRIES)
        manifests = tuple(_descriptor(entry, "manifests") for entry in entries)
        return Index(raw, kind, manifests, Digest.of(raw))
    config = _descriptor(document.get("config"), "config")
    _check_config_type(config.media_type)
    layers = tuple(_layer(entry) for entry in _list(document, "layers", _MAX_LAYERS))
    return Manifest(raw, kind, config, layers, Digest.of(raw))


def _load(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"{len(raw)} bytes are more than {MAX_MANIFEST_BYTES}")
    try:
        return spelled(load_object(raw, unique_keys=True), _DOCUMENT_KEYS)
    except ValueError as error:
        raise InvalidManifest(f"JSON: {error}") from error


def _kind(document: Mapping[str, Any], served: str) -> str:
    """The media type of the document, once it, its Content-Type and its content agree."""
    version = document.get("schemaVersion")
    if media_types.is_schema1(served) or (version == 1 and version is not True):
        raise Schema1
    if version != 2 or isinstance(version, float):
        raise InvalidManifest("schemaVersion is not 2")
    own = document.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise InvalidManifest("mediaType is not a string")
    if own and not _is_known(own):
        raise UnsupportedMediaType(f"unsupported manifest media type {own}", own)
    if own and _is_known(served) and own != served:
        raise InvalidManifest(f"its mediaType {own} contradicts the Content-Type {served}")
    kind = own or (served if _is_known(served) else _guess(document))
    _check_content(document, kind)
    return kind


def _is_known(media_type: str) -> bool:
    return media_types.is_index(media_type) or media_types.is_manifest(media_type)


def _guess(document: Mapping[str, Any]) -> str:
    """OCI lets a document go without mediaType; then its content tells."""
    return media_types.OCI_INDEX if "manifests" in document else media_types.OCI_MANIFEST


def _check_content(document: Mapping[str, Any], kind: str) -> None:
    if "layers" in document and "manifests" in document:
        raise InvalidManifest("it has both layers and manifests")
    alien = ("config", "layers") if media_types.is_index(kind) else ("manifests",)
    for key in alien:
        if key in document:
            raise InvalidManifest(f"it is {kind} and has {key}")


def _check_config_type(media_type: str) -> None:
    if media_types.is_model(media_type):
        reason = 'AI models are not supported by the Engine yet, did you mean to use "docker model pull/run"'
        raise UnsupportedMediaType(f"{reason} instead?", media_type)
    if not media_types.is_config(media_type):
        kind = media_types.config_class(media_type)
        raise UnsupportedMediaType(
            f"Encountered remote {quoted(media_type)}({kind}) when fetching", media_type
        )


def _layer(entry: Any) -> Descriptor:
    layer = _descriptor(entry, "layers")
    if layer.urls or media_types.is_foreign_layer(layer.media_type):
        raise ForeignLayer(layer.digest)
    if media_types.is_model(layer.media_type) or not media_types.is_layer(layer.media_type):
        raise UnsupportedMediaType(f"unsupported media type {layer.media_type}", layer.media_type)
    return layer


def _list(document: Mapping[str, Any], key: str, limit: int) -> list[Any]:
    entries = document.get(key)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise InvalidManifest(f"{key} is not a list")
    if len(entries) > limit:
        raise InvalidManifest(f"{len(entries)} {key} are more than {limit}")
    return entries


# --- descriptors ------------------------------------------------------------------------------


def _descriptor(value: Any, where: str) -> Descriptor:
    if value is None:
        raise InvalidManifest(f"{where}: a descriptor is missing")
    entry = _object(value, where, _DESCRIPTOR_KEYS)
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise InvalidManifest(f"{where}: size is not a number of bytes")
    try:
        digest = Digest.parse(_text(entry, "digest", where))
    except InvalidDigest as error:
        raise InvalidManifest(f"{where}: {error}") from error
    return Descriptor(
        _text(entry, "mediaType", where),
        digest,
        size,
        _platform(entry.get("platform"), where),
        _annotations(entry.get("annotations"), where),
        _strings(entry.get("urls"), f"{where}: urls"),
    )


def _platform(value: Any, where: str) -> Platform | None:
    """None also for an empty object, as with Docker."""
    if value is None:
        return None
    where = f"{where}: platform"
    entry = _object(value, where, _PLATFORM_KEYS)
    platform = Platform(
        _text(entry, "os", where),
        _text(entry, "architecture", where),
        _text(entry, "variant", where),
        _text(entry, "os.version", where),
        _strings(entry.get("os.features"), f"{where}: os.features"),
    )
    return None if platform == Platform("", "") else platform


def _annotations(value: Any, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidManifest(f"{where}: annotations is not an object of strings")
    return value


def _object(value: Any, where: str, names: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidManifest(f"{where}: not an object")
    try:
        return spelled(value, names)
    except ValueError as error:
        raise InvalidManifest(f"{where}: {error}") from error


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidManifest(f"{where}: {key} is not a string")
    return value or ""


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidManifest(f"{where} is not a list of strings")
    return tuple(value)
