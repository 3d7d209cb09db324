"""What the registry asks of the place where its content lies.

Glossary
    *repository*   a path such as ``library/nginx``; tags and membership are per repository.
    *manifest*     bytes with a media type: an image manifest or an index, by digest or tag.
    *blob*         a file known by its digest: config or layer.

Every method may block on the disk and is called from a thread of a pool, several at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from onggi.errors import NotFound
from onggi.oci.digest import Digest

__all__ = [
    "BlobUnknown",
    "ManifestUnknown",
    "NameUnknown",
    "Storage",
    "StoredBlob",
    "StoredManifest",
    "open_blob",
]


class NameUnknown(NotFound):
    """No such repository."""

    def __init__(self, repository: str) -> None:
        super().__init__("repository name not known to registry")
        self.repository = repository


class ManifestUnknown(NotFound):
    """The repository has no manifest of this tag or digest."""

    def __init__(self, repository: str, reference: str, reason: str = "manifest unknown") -> None:
        super().__init__(reason)
        self.repository = repository
        self.reference = reference


class BlobUnknown(NotFound):
    """The repository has no such blob; another one may."""

    def __init__(self, repository: str, digest: Digest) -> None:
        super().__init__("blob unknown to registry")
        self.repository = repository
        self.digest = digest


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest or index; ``raw`` hashes to ``digest``."""

    digest: Digest
    media_type: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob's file, and its size in bytes when it was looked up. Blobs never change."""

    digest: Digest
    path: str
    size: int


class Storage(Protocol):
    """Read access to a registry's content."""

    def repositories(self) -> Sequence[str]:
        """All repositories, in order of their bytes."""

    def tags(self, repository: str) -> Sequence[str]:
        """The tags of a repository, in order of their bytes. Raises NameUnknown."""

    def manifest(self, repository: str, reference: str | Digest) -> StoredManifest:
        """By tag or, with a Digest, by digest. Raises NameUnknown, ManifestUnknown, DataLoss."""

    def blob(self, repository: str, digest: Digest) -> StoredBlob:
        """A blob that some manifest of this repository names. Raises NameUnknown, BlobUnknown."""


def open_blob(path: str) -> BinaryIO:
    """Open a blob's file, but no symbolic link in its place: it could lead anywhere. Raises OSError."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
