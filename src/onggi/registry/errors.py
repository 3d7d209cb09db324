"""What a registry, or the way to it, can answer; texts are Docker's (docker-engine §2.9)."""

from __future__ import annotations

import json
from typing import Any

from onggi.errors import (
    DataLoss,
    Forbidden,
    InvalidArgument,
    NotFound,
    OnggiError,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
)

__all__ = [
    "AccessDenied",
    "BadCredentials",
    "BrokenRegistry",
    "ManifestMismatch",
    "ManifestUnknown",
    "NetworkError",
    "RateLimited",
    "RegistryError",
    "RepositoryUnknown",
    "ServerError",
    "TlsError",
    "TlsFiles",
    "error_text",
]


class RegistryError(Unavailable):
    """An answer that nobody can make sense of."""

    retryable = False


class ServerError(Unavailable):
    """A 5xx, or another status nobody expects here."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(
            f"received unexpected HTTP status: {status} {reason}",
            hint="the registry is in trouble; try again later",
        )
        self.status = status


class BrokenRegistry(DataLoss):
    """The registry breaks the protocol."""


class ManifestUnknown(NotFound):
    """No such tag or digest."""

    def __init__(self, familiar: str, name: str, detail: str) -> None:
        super().__init__(
            f"manifest for {familiar} not found: {detail}", hint=f"see its tags: onggi remote ls {name}"
        )


class RepositoryUnknown(NotFound):
    """No such repository."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"repository {name} not found: {detail}", hint="check the name")


class AccessDenied(Forbidden):
    """Not for us, or not there: registries do not tell which."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(
            f"pull access denied for {name}, repository does not exist "
            f"or may require 'docker login': {detail}",
            hint="check the name, or log in: onggi login",
        )


class BadCredentials(Unauthorized):
    """The registry or its token server refuses the credentials, or there are none."""


class RateLimited(ResourceExhausted):
    """429. ``retry_after_s`` is what the registry asked to wait, if it did."""

    def __init__(self, detail: str, retry_after_s: float | None) -> None:
        wait = f"wait {retry_after_s:.0f} s" if retry_after_s else "wait a while"
        super().__init__(
            f"toomanyrequests: {detail}", hint=f"{wait}, or log in for a higher limit", retryable=True
        )
        self.retry_after_s = retry_after_s


class ManifestMismatch(DataLoss):
    """The manifest's bytes are not those of the digest asked for."""

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"manifest verification failed for digest {digest}",
            hint="the registry, or something on the way, served other bytes",
        )


class NetworkError(Unavailable):
    """No connection, or it broke."""


class TlsError(Unavailable):
    """The other side's certificate, or our client certificate, is not accepted."""

    retryable = False


class TlsFiles(InvalidArgument):
    """``certs.d`` has half of a key pair."""


def error_text(body: bytes) -> tuple[str, str]:
    """Code (lower case, spaces) and message of the first error in a registry's error body.

    ``("", "")`` when the body is none. Registries put code, message and detail into
    ``{"errors": […]}``; token servers also answer ``{"details": …}``.
    """
    try:
        document: Any = json.loads(body)
        first = document["errors"][0]
        code = str(first.get("code", "")).lower().replace("_", " ")
        return code, str(first.get("message") or code)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        pass
    try:
        detail = json.loads(body).get("details") or json.loads(body).get("message")
        return ("unauthorized", str(detail)) if detail else ("", "")
    except (ValueError, AttributeError):
        return "", ""


def is_final(error: OnggiError) -> bool:
    """True when asking another endpoint cannot help."""
    return isinstance(error, DataLoss)
