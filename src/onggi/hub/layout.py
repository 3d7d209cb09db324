"""An OCI image layout as a registry's storage (image-spec v1.1, image-layout.md).

::

    LAYOUT/oci-layout               {"imageLayoutVersion": "1.0.0"}
    LAYOUT/index.json               {"manifests": [ descriptor with annotations, … ]}
    LAYOUT/blobs/<alg>/<hex>        indexes, manifests, configs, layers

One layout holds many repositories: the name of a manifest is in its annotations ::

    io.containerd.image.name            docker.io/library/nginx:latest   containerd, BuildKit, docker save
    org.opencontainers.image.ref.name   1.25 | nginx:1.25 | ghcr.io/a/b:1     a tag, or a whole reference

The first one wins. A name's registry host is dropped, since this server is the registry now. A
bare tag, and a manifest without any name, belong to the layout's default repository. Where two
descriptors claim one tag, the later one has it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from stat import S_ISREG
from typing import Any

from onggi.errors import DataLoss, InvalidArgument
from onggi.hub.storage import BlobUnknown, ManifestUnknown, NameUnknown, StoredBlob, StoredManifest, open_blob
from onggi.oci import media_types
from onggi.oci.digest import Digest
from onggi.oci.manifest import MAX_MANIFEST_BYTES
from onggi.oci.reference import Reference

__all__ = ["BrokenLayout", "OCILayout"]

NAME_ANNOTATION = "io.containerd.image.name"
REF_NAME_ANNOTATION = "org.opencontainers.image.ref.name"

# Bytes. index.json is ours to trust, yet a file of gigabytes is not one.
_MAX_INDEX_BYTES = 64 * 1024 * 1024


class BrokenLayout(DataLoss):
    """The directory is no OCI image layout, or not the one its index tells of."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"open OCI layout: {path}: {reason}", hint="it needs oci-layout, index.json and blobs/"
        )
        self.path = path


@dataclass(slots=True)
class _Repository:
    """What index.json says of one repository, and what its manifests name, once read."""

    tags: dict[str, Digest] = field(default_factory=dict)
    types: dict[Digest, str] = field(default_factory=dict)
    """Media type by digest, of the manifests that index.json lists."""
    members: _Members | None = None


@dataclass(frozen=True, slots=True)
class _Members:
    manifests: Mapping[Digest, str]
    """Media type by digest, as told by whoever names the manifest; may be empty."""
    blobs: frozenset[Digest]


class OCILayout:
    """A layout directory. Thread-safe; a change of index.json is seen at the next call.

    ``default_repository`` is where manifests without a repository of their own belong; the
    directory's name if none is given and that name can be one. Raises BrokenLayout.
    """

    def __init__(self, directory: str | os.PathLike[str], default_repository: str | None = None) -> None:
        self._directory = os.fspath(directory)
        self._default = default_repository or _default_repository(self._directory)
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._repositories: dict[str, _Repository] = {}
        self._check_version()
        self._refresh()

    # --- Storage --------------------------------------------------------------------------

    def repositories(self) -> Sequence[str]:
        """See Storage."""
        return sorted(self._refresh())

    def tags(self, repository: str) -> Sequence[str]:
        """See Storage."""
        return sorted(self._repository(repository).tags)

    def manifest(self, repository: str, reference: str | Digest) -> StoredManifest:
        """See Storage; the bytes are checked against the digest at every call."""
        known = self._repository(repository)
        digest = reference if isinstance(reference, Digest) else known.tags.get(reference)
        if digest is None or digest not in self._members(known).manifests:
            raise ManifestUnknown(repository, reference)
        raw = self._read_manifest(digest)
        if raw is None:
            raise ManifestUnknown(repository, reference)
        kind = _own_media_type(raw) or self._members(known).manifests[digest] or _guess(raw)
        return StoredManifest(digest, kind, raw)

    def blob(self, repository: str, digest: Digest) -> StoredBlob:
        """See Storage. An empty file in place of a blob is what a power cut leaves: no blob."""
        if digest not in self._members(self._repository(repository)).blobs:
            raise BlobUnknown(repository, digest)
        path = self._blob_path(digest)
        try:
            found = os.lstat(path)
        except OSError:
            raise BlobUnknown(repository, digest) from None
        if not S_ISREG(found.st_mode) or (found.st_size == 0 and digest != Digest.of(b"")):
            raise BlobUnknown(repository, digest)
        return StoredBlob(digest, path, found.st_size)

    # --- reading --------------------------------------------------------------------------

    def _repository(self, name: str) -> _Repository:
        try:
            return self._refresh()[name]
        except KeyError:
            raise NameUnknown(name) from None

    def _members(self, repository: _Repository) -> _Members:
        """Everything reachable from index.json's entries; read once, when first asked for."""
        if repository.members is None:
            repository.members = self._walk(repository.types)
        return repository.members

    def _walk(self, roots: Mapping[Digest, str]) -> _Members:
        manifests = dict(roots)
        blobs: set[Digest] = set()
        waiting = list(roots)
        while waiting:
            document = self._document(waiting.pop())
            for digest, media_type in _descriptors(document, "manifests"):
                if digest not in manifests:
                    manifests[digest] = media_type
                    waiting.append(digest)
            for key in ("config", "layers", "blobs"):
                blobs.update(digest for digest, _ in _descriptors(document, key))
        return _Members(manifests, frozenset(blobs))

    def _document(self, digest: Digest) -> Mapping[str, Any]:
        """A manifest's content; empty when missing or damaged, which is told to who asks for it."""
        try:
            return _parse(self._read_manifest(digest) or b"")
        except DataLoss:
            return {}

    def _refresh(self) -> Mapping[str, _Repository]:
        """index.json as it is now; parsed again only when the file is another one."""
        path = os.path.join(self._directory, "index.json")
        try:
            found = os.stat(path)
        except OSError as error:
            raise BrokenLayout(self._directory, f"index.json: {error.strerror}") from error
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        with self._lock:
            if seen != self._seen:
                self._repositories = self._read_index(path)
                self._seen = seen
            return self._repositories

    def _read_index(self, path: str) -> dict[str, _Repository]:
        with open(path, "rb") as file:
            raw = file.read(_MAX_INDEX_BYTES + 1)
        entries = _parse(raw).get("manifests")
        if len(raw) > _MAX_INDEX_BYTES or not isinstance(entries, list):
            raise BrokenLayout(self._directory, "index.json: not an image index")
        repositories: dict[str, _Repository] = {}
        for entry in entries:
            self._enter(repositories, entry)
        return repositories

    def _enter(self, repositories: dict[str, _Repository], entry: object) -> None:
        annotations = entry.get("annotations") if isinstance(entry, dict) else None
        try:
            digest, media_type = next(_descriptors({"it": entry}, "it"))
            name, tag = self._name_of(annotations if isinstance(annotations, dict) else {})
        except (StopIteration, InvalidArgument) as error:
            raise BrokenLayout(self._directory, f"index.json: {error or 'a digest is wrong'}") from error
        repository = repositories.setdefault(name, _Repository())
        repository.types[digest] = media_type
        if tag is not None:
            repository.tags[tag] = digest

    def _name_of(self, annotations: Mapping[str, Any]) -> tuple[str, str | None]:
        """Repository and tag of an entry. Raises InvalidReference."""
        text = annotations.get(NAME_ANNOTATION) or annotations.get(REF_NAME_ANNOTATION)
        if not text:
            return self._default, None
        if NAME_ANNOTATION not in annotations and ":" not in text and "/" not in text:
            return self._default, str(text)
        reference = Reference.parse(str(text)).tagged()
        return reference.path, reference.tag

    def _read_manifest(self, digest: Digest) -> bytes | None:
        """None when there is no such file. Raises DataLoss when its bytes are others."""
        try:
            with open_blob(self._blob_path(digest)) as file:
                raw = file.read(MAX_MANIFEST_BYTES + 1)
        except OSError:
            return None
        if len(raw) > MAX_MANIFEST_BYTES or hashlib.new(digest.algorithm, raw).hexdigest() != digest.hex:
            raise DataLoss(f"read manifest: {digest}: the file holds other bytes")
        return raw

    def _blob_path(self, digest: Digest) -> str:
        # A parsed digest is a known algorithm and hexadecimal digits: it cannot lead elsewhere.
        return os.path.join(self._directory, "blobs", digest.algorithm, digest.hex)

    def _check_version(self) -> None:
        try:
            with open(os.path.join(self._directory, "oci-layout"), "rb") as file:
                version = _parse(file.read(4096)).get("imageLayoutVersion")
        except OSError as error:
            raise BrokenLayout(self._directory, f"oci-layout: {error.strerror}") from error
        if version != "1.0.0":
            raise BrokenLayout(self._directory, f"oci-layout: version {version!r} is not 1.0.0")


def _default_repository(directory: str) -> str:
    name = os.path.basename(os.path.abspath(directory)).lower()
    try:
        return Reference.parse(f"{name}:latest").path.removeprefix("library/")
    except InvalidArgument:
        return "image"


def _parse(raw: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one: a registry serves what it was given, whatever that is."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _descriptors(document: Mapping[str, Any], key: str) -> Iterator[tuple[Digest, str]]:
    """Digest and media type of the descriptors under ``key``, one or a list; bad ones are left out."""
    value = document.get(key)
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict):
            continue
        try:
            digest = Digest.parse(str(entry.get("digest")))
        except InvalidArgument:
            continue
        media_type = entry.get("mediaType")
        yield digest, media_type if isinstance(media_type, str) else ""


def _own_media_type(raw: bytes) -> str:
    media_type = _parse(raw).get("mediaType")
    return media_type if isinstance(media_type, str) else ""


def _guess(raw: bytes) -> str:
    return media_types.OCI_INDEX if "manifests" in _parse(raw) else media_types.OCI_MANIFEST
