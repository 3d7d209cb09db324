"""Manifests and indexes: parsed once, kept as they came.

The digest is that of the raw bytes, so nothing here ever writes them anew. What Docker
refuses is refused with its words; what it lets pass though it is dangerous (layers and
manifests in one document, a body that contradicts its Content-Type: CVE-2021-41190) is
refused too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onggi.errors import DataLoss, InvalidArgument, Unsupported
from onggi.oci import media_types
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.platform import Platform

__all__ = [
    "ForeignLayer",
    "Index",
    "InvalidManifest",
    "Manifest",
    "Schema1",
    "UnsupportedMediaType",
    "parse_manifest",
]

# Bytes; registries and engines agree on this limit (distribution-spec).
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
# More layers than any engine mounts; more entries than any image has platforms.
_MAX_LAYERS = 4096
_MAX_ENTRIES = 4096


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
            "Docker image format v1 and Docker Image manifest version 2, schema 1 are not supported",
            hint="push the image again with a current tool, or ask its author to",
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
    """Not an image."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One platform's image: its config and its layers, base first."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    digest: Digest


@dataclass(frozen=True, slots=True)
class Index:
    """A manifest list or OCI index: one image for many platforms."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    digest: Digest


def parse_manifest(raw: bytes, media_type: str | None = None) -> Manifest | Index:
    """Parse what a registry served; ``media_type`` is its Content-Type, if known.

    Raises InvalidManifest, Schema1, ForeignLayer, UnsupportedMediaType.
    """
    document = _load(raw)
    own_type = document.get("mediaType")
    served = (media_type or "").partition(";")[0].strip()
    if media_types.is_schema1(served) or document.get("schemaVersion") == 1:
        raise Schema1
    if document.get("schemaVersion") != 2:
        raise InvalidManifest("schemaVersion is not 2")
    if own_type is not None and not isinstance(own_type, str):
        raise InvalidManifest("mediaType is not a string")
    _check_types(own_type, served)
    if "layers" in document and "manifests" in document:
        raise InvalidManifest("it has both layers and manifests")
    kind = (
        own_type
        or _known(served)
        or (media_types.OCI_INDEX if "manifests" in document else media_types.OCI_MANIFEST)
    )
    if media_types.is_index(kind):
        return _index(raw, kind, document)
    return _manifest(raw, kind, document)


def _load(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"{len(raw)} bytes are more than {MAX_MANIFEST_BYTES}")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidManifest("not a JSON object")
    return document


def _known(media_type: str) -> str:
    manifests = (media_types.DOCKER_MANIFEST, media_types.OCI_MANIFEST)
    return media_type if media_types.is_index(media_type) or media_type in manifests else ""


def _check_types(own: str | None, served: str) -> None:
    if own is not None and not _known(own):
        raise UnsupportedMediaType(
            f"unsupported manifest media type {own}", hint="this is no container image"
        )
    if own and _known(served) and own != served:
        raise InvalidManifest(f"its mediaType {own} contradicts the Content-Type {served}")


def _index(raw: bytes, media_type: str, document: Mapping[str, Any]) -> Index:
    if "config" in document:
        raise InvalidManifest("an index has no config")
    entries = _list(document, "manifests", _MAX_ENTRIES)
    manifests = tuple(_descriptor(entry, "manifests") for entry in entries)
    return Index(raw, media_type, manifests, Digest.of(raw))


def _manifest(raw: bytes, media_type: str, document: Mapping[str, Any]) -> Manifest:
    if "manifests" in document:
        raise InvalidManifest("a manifest has no manifests")
    config = _descriptor(document.get("config"), "config")
    layers = tuple(_descriptor(entry, "layers") for entry in _list(document, "layers", _MAX_LAYERS))
    if not media_types.is_config(config.media_type):
        kind = "plugin" if ".plugin.v1+json" in config.media_type else "unknown"
        raise UnsupportedMediaType(
            f'Encountered remote "{config.media_type}"({kind}) when fetching',
            hint="this is no container image",
        )
    for layer in layers:
        if layer.urls or media_types.is_foreign_layer(layer.media_type):
            raise ForeignLayer(layer.digest)
        if not media_types.is_layer(layer.media_type):
            raise UnsupportedMediaType(
                f"unsupported media type {layer.media_type}", hint="this is no container image"
            )
    return Manifest(raw, media_type, config, layers, Digest.of(raw))


def _list(document: Mapping[str, Any], key: str, limit: int) -> list[Any]:
    entries = document.get(key)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise InvalidManifest(f"{key} is not a list")
    if len(entries) > limit:
        raise InvalidManifest(f"{len(entries)} {key} are more than {limit}")
    return entries


def _descriptor(entry: Any, where: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise InvalidManifest(f"{where}: a descriptor is missing")
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidManifest(f"{where}: size {size!r} is not a number of bytes")
    try:
        digest = Digest.parse(str(entry.get("digest")))
    except InvalidArgument as error:
        raise InvalidManifest(f"{where}: {error}") from error
    return Descriptor(
        _text(entry.get("mediaType")),
        digest,
        size,
        _platform(entry.get("platform")),
        {str(key): str(value) for key, value in _object(entry.get("annotations")).items()},
        tuple(str(url) for url in entry.get("urls") or ()),
    )


def _platform(value: Any) -> Platform | None:
    if not isinstance(value, dict):
        return None
    features = value.get("os.features")
    return Platform(
        _text(value.get("os")),
        _text(value.get("architecture")),
        _text(value.get("variant")),
        _text(value.get("os.version")),
        tuple(str(feature) for feature in features) if isinstance(features, list) else (),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
