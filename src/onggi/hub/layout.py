"""An OCI image layout on disk as a registry's storage.

::

    LAYOUT/oci-layout                     {"imageLayoutVersion": "1.0.0"}
    LAYOUT/index.json                     one descriptor per name, annotated
    LAYOUT/blobs/sha256/<hex>             manifests, indexes, configs, layers

A descriptor's name is ``io.containerd.image.name`` (``docker.io/library/nginx:latest``) or,
failing that, ``org.opencontainers.image.ref.name``, which may be a whole reference or only a
tag (then the repository is the layout's default one). One layout holds many repositories.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onggi.errors import DataLoss, InvalidArgument, NotFound
from onggi.oci.digest import Digest
from onggi.oci.reference import Reference

__all__ = ["BrokenLayout", "OCILayout", "StoredManifest"]

_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
# Bytes; what registries and engines agree on for a manifest.
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024


class BrokenLayout(DataLoss):
    """The directory is no OCI layout, or lacks what its index names."""


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest or index as it lies there."""

    digest: Digest
    media_type: str
    raw: bytes


class OCILayout:
    """Reads a layout; names are read once, blobs when asked for."""

    def __init__(self, directory: Path, default_repository: str = "library/image") -> None:
        self._directory = directory
        self._default = default_repository
        self._tags = self._read_index()

    def _read_index(self) -> dict[str, dict[str, Digest]]:
        try:
            document = json.loads((self._directory / "index.json").read_bytes())
            entries = document["manifests"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BrokenLayout(f"open {self._directory}: no OCI image layout: {error}") from error
        tags: dict[str, dict[str, Digest]] = {}
        for entry in entries:
            repository, tag = self._name_of(entry.get("annotations") or {})
            tags.setdefault(repository, {})[tag] = Digest.parse(str(entry.get("digest")))
        return tags

    def _name_of(self, annotations: Mapping[str, Any]) -> tuple[str, str]:
        text = str(annotations.get(_NAME) or annotations.get(_REF_NAME) or "latest")
        if ":" not in text and "/" not in text:
            return self._default, text
        reference = Reference.parse(text).tagged()
        return reference.path, reference.tag or "latest"

    def repositories(self) -> list[str]:
        """Paths of all repositories, sorted."""
        return sorted(self._tags)

    def tags(self, repository: str) -> list[str]:
        """Tags of a repository, sorted. Raises NotFound."""
        if repository not in self._tags:
            raise NotFound(f"repository {repository} does not exist")
        return sorted(self._tags[repository])

    def manifest(self, repository: str, reference: str) -> StoredManifest:
        """By tag or digest. Raises NotFound, InvalidArgument (digest)."""
        self.tags(repository)
        digest = Digest.parse(reference) if ":" in reference else self._tags[repository].get(reference)
        path = None if digest is None else self.blob_path(digest)
        if digest is None or path is None or path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise NotFound(f"manifest {reference} of {repository} does not exist")
        raw = path.read_bytes()
        return StoredManifest(digest, _media_type(raw), raw)

    def blob_path(self, digest: Digest) -> Path | None:
        """The file of a blob, or None. A digest is hexadecimal, so the path cannot lead elsewhere."""
        path = self._directory / "blobs" / digest.algorithm / digest.hex
        return path if path.is_file() else None


def _media_type(raw: bytes) -> str:
    try:
        document = json.loads(raw)
        kind = document.get("mediaType")
        has_list = "manifests" in document
    except (ValueError, AttributeError) as error:
        raise NotFound("manifest is unreadable") from error
    if kind:
        return str(kind)
    return f"application/vnd.oci.image.{'index' if has_list else 'manifest'}.v1+json"


def parse_digest(text: str) -> Digest:
    """A digest from a URL. Raises InvalidArgument."""
    try:
        return Digest.parse(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid digest {text!r}") from error
