"""Why a layer could not become a directory tree; the texts are Docker's."""

from __future__ import annotations

import errno
import os

from onggi.errors import DataLoss, FailedPrecondition, OnggiError, ResourceExhausted

__all__ = [
    "DiskFull",
    "HostRefuses",
    "InvalidLayer",
    "LayerTooLarge",
    "errno_text",
    "failure",
    "printable",
    "shortened",
]

TEXT_LIMIT = 400
"""Characters of a name in a message; names in an archive can have thousands."""

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_HOST = frozenset(
    (errno.EPERM, errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)


class InvalidLayer(DataLoss):
    """The archive is one, and asks for something that cannot be. ``path`` is the member's, below the root."""

    def __init__(self, message: str, *, path: bytes = b"") -> None:
        super().__init__(message)
        self.path = path


class LayerTooLarge(ResourceExhausted):
    """The layer is beyond a limit of the caller's."""


class DiskFull(ResourceExhausted):
    """No space, no inodes or no quota left for the layer."""

    def __init__(self, message: str, *, path: bytes = b"") -> None:
        super().__init__(message, hint="free some disk space")
        self.path = path


class HostRefuses(FailedPrecondition):
    """The host cannot do what the layer needs: permissions, a read-only or failing disk, descriptors."""

    def __init__(self, message: str, *, path: bytes = b"") -> None:
        super().__init__(message)
        self.path = path


def shortened(data: bytes) -> str:
    """Bytes from an archive for a message: what is no UTF-8 escaped, the middle of a long text left out."""
    text = data.decode("utf-8", "backslashreplace")
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT // 2]}…{text[-TEXT_LIMIT // 2 :]}"


def printable(path: bytes) -> str:
    """A path below the layer's root, from ``/``, for a message."""
    return "/" + shortened(path)


def errno_text(number: int) -> str:
    """The words for an errno as Go prints them: those of the C library, in lower case."""
    text = os.strerror(number)
    return text[:1].lower() + text[1:]


def failure(error: OSError, what: str, path: bytes) -> OnggiError:
    """The error of a system call that failed; ``what`` is all of the message before the errno's words."""
    number = error.errno or errno.EIO
    message = f"{what}: {errno_text(number)}"
    if number in _FULL:
        return DiskFull(message, path=path)
    if number in _HOST:
        return HostRefuses(message, path=path)
    return InvalidLayer(message, path=path)
