"""What can go wrong with a blob."""

from __future__ import annotations

import errno

from onggi.errors import DataLoss, FailedPrecondition, OnggiError, ResourceExhausted, Unavailable
from onggi.oci.digest import Digest

__all__ = [
    "BlobDirectoryUnusable",
    "BlobDiskFull",
    "BlobMismatch",
    "BlobTooLong",
    "RangesIgnored",
    "ShortBody",
    "Throttled",
    "translate_os_error",
]


class BlobMismatch(DataLoss):
    """The bytes that came are not those of the digest."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(
            f"filesystem layer verification failed for digest {digest}",
            hint="the registry, or something on the way, served other bytes; try again, or another mirror",
        )
        self.digest = digest


class BlobTooLong(DataLoss):
    """The server has more bytes than the manifest says."""

    def __init__(self, digest: Digest, expected: int, found: int) -> None:
        super().__init__(
            f"download {digest}: the manifest says {expected} bytes, the registry sends {found} or more",
            hint="the image is broken at its registry: tell its maintainer",
        )
        self.digest = digest
        self.expected_bytes = expected
        self.found_bytes = found


class ShortBody(Unavailable):
    """The answer ended, or says that it will end, before the blob does."""

    def __init__(self, digest: Digest, position: int, size: int) -> None:
        super().__init__(
            f"download {digest}: unexpected EOF after {position} of {size} bytes",
            hint="pull again: it goes on from there",
        )
        self.digest = digest
        self.position = position


class RangesIgnored(Unavailable):
    """The server sends the whole blob whatever range is asked for: no use for a second connection."""

    retryable = False

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"download {digest}: the registry does not serve ranges")
        self.digest = digest


class Throttled(ResourceExhausted):
    """The source asks for patience. ``retry_after_s`` is how long, if it said."""

    retryable = True

    def __init__(self, message: str, *, hint: str, retry_after_s: float | None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class BlobDiskFull(ResourceExhausted):
    """No room for the blob; what is here stays."""

    def __init__(self, path: str, missing_bytes: int) -> None:
        super().__init__(
            f"write {path}: no space left on device ({missing_bytes} more bytes needed)",
            hint="free space on that file system and pull again: it goes on from here",
        )
        self.path = path
        self.missing_bytes = missing_bytes


class BlobDirectoryUnusable(FailedPrecondition):
    """The file system does not let us write (or read) blobs."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"write {path}: {reason.lower()}",
            hint="look after that file system, or choose another --data-root",
        )
        self.path = path


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def translate_os_error(error: OSError, path: str, missing_bytes: int) -> OnggiError:
    """The error of ours that an ``OSError`` of the blob directory stands for."""
    if error.errno in _NO_ROOM:
        return BlobDiskFull(path, missing_bytes)
    return BlobDirectoryUnusable(path, error.strerror or str(error))
