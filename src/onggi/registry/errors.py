"""What a registry, or the way to it, can answer; texts are Docker's (docker-engine §2.9).

::

    NetworkError (Unavailable)         no connection, or it broke
    ├── Unreachable                    there was never one: name, route, port
    ServerError (Unavailable)          5xx
    TlsError (Unavailable)             a certificate is not accepted; not retryable
    RegistryError (Unavailable)        an answer that is no success and says nothing; not retryable
    ManifestUnknown, RepositoryUnknown, BlobUnknown (NotFound)
    AccessDenied (Forbidden)           not for us, or not there: registries do not tell which
    BadCredentials (Unauthorized)      wrong, or missing
    RateLimited (ResourceExhausted)    429
    BrokenRegistry (DataLoss)          the registry breaks the protocol
    ├── ManifestMismatch, ConfigMismatch   bytes that are not the digest's
    ├── BlobRefused                        an upload that the registry does not know or want
    └── ForeignAddress                     an upload is to go where it must not
    TlsFiles, ProxySettings (InvalidArgument)   what the host's own settings say cannot be used
"""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import urlsplit

from onggi.content.errors import Throttled
from onggi.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    Forbidden,
    InvalidArgument,
    NotFound,
    OnggiError,
    Unauthorized,
    Unavailable,
)
from onggi.registry.foreign import one_line

__all__ = [
    "AccessDenied",
    "BadCredentials",
    "BlobUnknown",
    "BlobRefused",
    "BrokenRegistry",
    "ConfigMismatch",
    "ForeignAddress",
    "ManifestMismatch",
    "ManifestUnknown",
    "NetworkError",
    "ProxySettings",
    "RateLimited",
    "RegistryError",
    "RepositoryUnknown",
    "ServerError",
    "TlsError",
    "TlsFiles",
    "Unreachable",
    "prefixed",
]

# Characters of an address of the other side's that an error shows.
_SHOWN_ADDRESS = 200
_OTHER_BYTES = "the registry, or something on the way, served other bytes"


class RegistryError(Unavailable):
    """An answer that is no success, in the registry's words. ``status`` is HTTP's."""

    retryable = False

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint or "ask whoever runs the registry")
        self.status = status


class ServerError(Unavailable):
    """A 5xx, or a status nobody expects here."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(
            f"received unexpected HTTP status: {status} {reason}".rstrip(),
            hint="the registry is in trouble; try again later",
        )
        self.status = status


class BrokenRegistry(DataLoss):
    """The registry breaks the protocol."""


class ManifestMismatch(BrokenRegistry):
    """The manifest's bytes are not those of the digest asked for."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"manifest verification failed for digest {digest}", hint=_OTHER_BYTES)
        self.digest = digest


class ConfigMismatch(BrokenRegistry):
    """The image config's bytes are not those of its digest, or not as many as the manifest says."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"image config verification failed for digest {digest}", hint=_OTHER_BYTES)
        self.digest = digest


class BlobRefused(BrokenRegistry):
    """The registry has forgotten an upload, or found other bytes in it than were sent."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(
            f"push {name}: the registry does not take a blob: {said}",
            hint="the registry, or a proxy before it, is in trouble; try again later",
        )


class ForeignAddress(BrokenRegistry):
    """The registry sends an upload to another host, where it cannot go with our credentials."""

    def __init__(self, registry: str, address: str, reason: str) -> None:
        parts = urlsplit(address)
        where = one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")[:_SHOWN_ADDRESS]
        super().__init__(
            f'"{registry}": uploads are sent to "{where}": refused, since {reason}',
            hint="ask whoever runs the registry; behind a proxy it must know the address it is called by",
        )


class ManifestUnknown(NotFound):
    """No such tag or digest."""

    def __init__(self, familiar: str, name: str, detail: str) -> None:
        super().__init__(
            f"manifest for {familiar} not found: {detail}", hint=f"see its tags: onggi remote ls {name}"
        )
        self.reference = familiar


class RepositoryUnknown(NotFound):
    """No such repository."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"repository {name} not found: {detail}", hint="check the name")
        self.repository = name


class BlobUnknown(NotFound):
    """The registry has the manifest, but not one of its blobs."""

    def __init__(self, digest: str, name: str) -> None:
        super().__init__(
            f"download {digest}: unknown blob in repository {name}",
            hint="the image is incomplete at its registry: push it again",
        )
        self.digest = digest


class AccessDenied(Forbidden):
    """Not for us, or not there: registries do not tell which."""

    def __init__(self, message: str, server: str) -> None:
        super().__init__(message, hint=f"check the name, or log in: onggi login {server}".rstrip())


class BadCredentials(Unauthorized):
    """The registry or its token server refuses the credentials, or there are none."""


class RateLimited(Throttled):
    """429. ``retry_after_s`` is what the registry asked to wait, if it did."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        wait = "wait a while" if retry_after_s is None else f"wait {retry_after_s:.0f} s"
        super().__init__(
            message, hint=hint or f"{wait}, or log in for a higher limit", retry_after_s=retry_after_s
        )


class NetworkError(Unavailable):
    """No connection, or it broke."""


class Unreachable(NetworkError):
    """There was no connection at all: the name, the route or the port does not lead anywhere."""


class TlsError(Unavailable):
    """The other side's certificate, or our client certificate, is not accepted."""

    retryable = False


class TlsFiles(InvalidArgument):
    """``certs.d`` has half of a key pair, or files that cannot be read."""


class ProxySettings(InvalidArgument):
    """The configured proxy cannot be used."""


_E = TypeVar("_E", bound=OnggiError)


def prefixed(prefix: str, error: _E) -> _E:
    """The same error, saying first what was being done; who stops a verb needs no such words."""
    if not isinstance(error, Cancelled | DeadlineExceeded):
        error.message = f"{prefix}: {error.message}"
        error.args = (error.message,)
    return error
