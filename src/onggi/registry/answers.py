"""From a registry's answer to an error in Docker's words.

Registries answer ``{"errors": [{"code", "message", "detail"}, …]}``, token servers also
``{"details": "…"}``. Docker shows the first error as ``<code in lower case>: <message>``; an
error that says nothing but its code's usual message shrinks to the code (docker-engine
§2.9; distribution's registry/client/errors.go, registry/api/errcode). For what is not found
we keep the sentence with the name all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Protocol

from onggi.errors import OnggiError
from onggi.record import record
from onggi.registry.challenges import parse_challenges
from onggi.registry.errors import (
    AccessDenied,
    BadCredentials,
    ManifestUnknown,
    RateLimited,
    RegistryError,
    RepositoryUnknown,
    ServerError,
)
from onggi.registry.foreign import one_line

__all__ = ["Answer", "Subject", "failure", "retry_after_s", "token_failure"]

# Code → the message that says no more than the code (distribution's error descriptors).
_USUAL = {
    "UNKNOWN": "unknown error",
    "UNSUPPORTED": "The operation is unsupported.",
    "UNAUTHORIZED": "authentication required",
    "DENIED": "requested access to the resource is denied",
    "UNAVAILABLE": "service unavailable",
    "TOOMANYREQUESTS": "too many requests",
    "DIGEST_INVALID": "provided digest did not match uploaded content",
    "SIZE_INVALID": "provided length did not match content length",
    "NAME_INVALID": "invalid repository name",
    "TAG_INVALID": "manifest tag did not match URI",
    "NAME_UNKNOWN": "repository name not known to registry",
    "MANIFEST_UNKNOWN": "manifest unknown",
    "MANIFEST_INVALID": "manifest invalid",
    "MANIFEST_UNVERIFIED": "manifest failed signature verification",
    "MANIFEST_BLOB_UNKNOWN": "blob unknown to registry",
    "BLOB_UNKNOWN": "blob unknown to registry",
    "BLOB_UPLOAD_UNKNOWN": "blob upload unknown to registry",
    "BLOB_UPLOAD_INVALID": "blob upload invalid",
    "RANGE_INVALID": "invalid content range",
}
# Characters of a body that nobody can parse, shown in an error.
_SHOWN_BODY = 300


class Answer(Protocol):
    """What is needed of a response."""

    status: int
    reason: str
    headers: Mapping[str, str]

    def header_lines(self, name: str) -> list[str]:
        """Every line of a header."""


@record
class Subject:
    """Whom an error is about: familiar reference and name, and the server to log in to.

    ``pushing``: Docker then says less of what may be wrong.
    """

    familiar: str
    name: str
    server: str
    name_only: bool = False
    pushing: bool = False


@record
class _Said:
    """The first error of a body. ``bare``: code and usual message only."""

    code: str
    message: str
    bare: bool = False

    @property
    def full(self) -> str:
        code = self.code.lower().replace("_", " ")
        return f"{code}: {self.message}"

    @property
    def text(self) -> str:
        return self.full.partition(":")[0] if self.bare else self.full


def failure(answer: Answer, body: bytes, subject: Subject) -> OnggiError:
    """The error that an unsuccessful answer stands for."""
    status = answer.status
    if not 400 <= status < 500:
        return ServerError(status, answer.reason)
    said = _said_in_challenges(answer) or _said_in_body(status, body)
    if status == 429 or (said and said.code == "TOOMANYREQUESTS"):
        return _rate_limited(answer, said)
    if said is None:
        return _unreadable(status, body, subject)
    if subject.pushing and said.code not in ("DENIED", "UNAUTHORIZED", "NAME_UNKNOWN"):
        return RegistryError(said.text, status)
    if said.code == "DENIED" and subject.pushing:
        return AccessDenied(said.full, subject.server)
    if said.code == "DENIED":
        return AccessDenied(said.text if said.bare else _denied(subject.name, said.text), subject.server)
    if said.code == "UNAUTHORIZED":
        return BadCredentials(said.text, hint=f"log in: onggi login {subject.server}".rstrip())
    if said.code == "NAME_UNKNOWN":
        return RepositoryUnknown(subject.name, said.full)
    if said.code == "MANIFEST_UNKNOWN":
        return ManifestUnknown(subject.familiar, subject.name, said.full)
    if status == 404 and not subject.name_only:
        return ManifestUnknown(subject.familiar, subject.name, said.full)
    return RegistryError(said.text, status)


def token_failure(answer: Answer, body: bytes, server: str) -> OnggiError:
    """The error of an answer of the token server."""
    status = answer.status
    said = _said_in_body(status, body) if 400 <= status < 500 else None
    if status == 429:
        return _rate_limited(answer, said)
    if said is None:
        return ServerError(status, answer.reason)
    text = said.text
    if status in (400, 401, 403):
        return BadCredentials(text, hint=f"log in again: onggi login {server}".rstrip())
    return RegistryError(text, status)


def retry_after_s(answer: Answer) -> float | None:
    """``Retry-After`` as seconds from now (RFC 9110 §10.2.3), or None."""
    value = answer.headers.get("Retry-After", "").strip()
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None


def _denied(name: str, detail: str) -> str:
    return f"pull access denied for {name}, repository does not exist or may require 'docker login': {detail}"


def _rate_limited(answer: Answer, said: _Said | None) -> RateLimited:
    text = said.text if said is not None else "toomanyrequests: too many requests"
    return RateLimited(text, retry_after_s=retry_after_s(answer))


def _said_in_challenges(answer: Answer) -> _Said | None:
    """OAuth errors of a 401 come first (RFC 6750 §3.1)."""
    if answer.status != 401:
        return None
    for challenge in parse_challenges(answer.header_lines("WWW-Authenticate")):
        if challenge.scheme == "bearer" and challenge["error"] == "insufficient_scope":
            return _Said("DENIED", _USUAL["DENIED"])
        if challenge.scheme == "bearer" and challenge["error"] == "invalid_token":
            return _Said("UNAUTHORIZED", _USUAL["UNAUTHORIZED"])
    return None


def _said_in_body(status: int, body: bytes) -> _Said | None:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        if isinstance(document.get("details"), str) and document["details"]:
            codes = {401: "UNAUTHORIZED", 429: "TOOMANYREQUESTS"}
            return _Said(codes.get(status, "UNKNOWN"), one_line(document["details"]))
        errors = document.get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            return _said(errors[0])
    if status == 401:
        return _Said("UNAUTHORIZED", _USUAL["UNAUTHORIZED"])
    return None


def _said(error: Mapping[str, Any]) -> _Said:
    code = str(error.get("code") or "UNKNOWN").upper()
    if code not in _USUAL:
        code = "UNKNOWN"
    usual = _USUAL[code]
    message = one_line(str(error.get("message") or usual))
    return _Said(code, message, bare=message == usual and error.get("detail") is None)


def _unreadable(status: int, body: bytes, subject: Subject) -> OnggiError:
    text = body.decode("utf-8", "replace").lstrip()
    if status == 404 and not subject.pushing:
        kind = "name unknown" if subject.name_only else "manifest unknown"
        if subject.name_only:
            return RepositoryUnknown(subject.name, kind)
        return ManifestUnknown(subject.familiar, subject.name, f"{kind}: {kind}")
    if not text:
        cause = "unexpected end of JSON input"
    elif text[0] in '{["':
        cause = "no error details found in HTTP response body"
    else:
        cause = f"invalid character {text[0]!r} looking for beginning of value"
    shown = json.dumps(text[:_SHOWN_BODY], ensure_ascii=False)
    message = f"error parsing HTTP {status} response body: {cause}: {shown}"
    if status in (401, 403):
        return AccessDenied(message, subject.server)
    return RegistryError(message, status)
