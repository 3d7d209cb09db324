"""What can go wrong with a blob."""

from __future__ import annotations

from onggi.errors import DataLoss, ResourceExhausted
from onggi.oci.digest import Digest

__all__ = ["BlobDiskFull", "BlobMismatch", "BlobTooLong"]


class BlobMismatch(DataLoss):
    """The bytes that came are not those of the digest."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(
            f"filesystem layer verification failed for digest {digest}",
            hint="the registry, or something on the way, served other bytes; try again or another mirror",
        )
        self.digest = digest


class BlobTooLong(DataLoss):
    """The server announces or sends more or fewer bytes than the manifest says."""

    def __init__(self, digest: Digest, expected: int, found: int) -> None:
        super().__init__(
            f"download {digest}: the manifest says {expected} bytes, the registry {found}",
            hint="the image is broken at its registry: tell its maintainer",
        )
        self.digest = digest


class BlobDiskFull(ResourceExhausted):
    """No room for the blob; what is here stays."""

    def __init__(self, path: str, missing_bytes: int) -> None:
        super().__init__(
            f"write {path}: no space left on device ({missing_bytes} more bytes needed)",
            hint="free space on that file system and pull again: it goes on from here",
        )
        self.path = path
        self.missing_bytes = missing_bytes
