"""The pull side of a registry, with the ways to guard it, as answers for a :class:`Site`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.registry.site import Reply, Request

__all__ = [
    "MANIFEST",
    "FakeRegistry",
    "Fault",
    "TokenService",
    "basic_guard",
    "digest_of",
    "error",
    "token_guard",
]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PATH = re.compile(r"/v2/(.+)/(manifests|blobs|tags)/([^/]+)")

Fault = Callable[[Request], Reply | None]
"""Answers in the registry's place, or lets it answer (None)."""


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def error(
    status: int, code: str, message: str = "", headers: dict[str, str] | None = None, detail: object = None
) -> Reply:
    """An answer as the distribution specification wants errors."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()
    return Reply(status, body, {"Content-Type": "application/json", **(headers or {})})


@dataclass
class FakeRegistry:
    """Serves manifests by tag and digest, blobs with ranges, and lists of tags.

    ``faults`` are asked first, in order: they stand for whatever a test wants to go wrong.
    """

    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add_manifest(self, name: str, tag: str, raw: bytes, media_type: str = MANIFEST) -> str:
        digest = digest_of(raw)
        self.manifests[name, tag] = self.manifests[name, digest] = (media_type, raw)
        self.tags.setdefault(name, []).append(tag)
        return digest

    def add_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        self.blobs[digest] = data
        return digest

    def __call__(self, request: Request) -> Reply:
        for fault in self.faults:
            reply = fault(request)
            if reply is not None:
                return reply
        if request.path == "/v2/":
            return Reply(200, b"{}")
        match = _PATH.fullmatch(request.path)
        if match is None:
            return error(404, "UNSUPPORTED")
        name, kind, what = match.groups()
        if kind == "manifests":
            return self._manifest(name, what)
        return self._blob(what, request) if kind == "blobs" else self._tags(name)

    def _manifest(self, name: str, what: str) -> Reply:
        found = self.manifests.get((name, what))
        if found is None:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown", detail={"Tag": what})
        media_type, raw = found
        return Reply(200, raw, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(raw)})

    def _blob(self, digest: str, request: Request) -> Reply:
        data = self.blobs.get(digest)
        if data is None:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return ranged(data, request)

    def _tags(self, name: str) -> Reply:
        if name not in self.tags:
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        return Reply(200, json.dumps({"name": name, "tags": self.tags[name]}).encode())


def ranged(data: bytes, request: Request) -> Reply:
    """All of ``data``, or the range asked for."""
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers["Range"] or "")
    if wanted is None:
        return Reply(200, data)
    start, end = int(wanted[1]), int(wanted[2] or len(data) - 1) + 1
    if start >= len(data):
        return Reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
    end = min(end, len(data))
    return Reply(206, data[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def basic_guard(user: str, password: str, realm: str = "registry") -> Fault:
    """Lets in who shows this name and password."""

    def guard(request: Request) -> Reply | None:
        if request.authorization == basic(user, password):
            return None
        challenge = {"WWW-Authenticate": f'Basic realm="{realm}"'}
        return error(401, "UNAUTHORIZED", "authentication required", challenge)

    return guard


@dataclass
class TokenService:
    """A token server. ``users`` may ask with their passwords, ``identities`` with refresh tokens.

    Tokens are ``token-<n>``; those in ``valid`` open the registry. ``lifetime_s`` goes into
    ``expires_in``. Anonymous requests get a token as well.
    """

    users: dict[str, str] = field(default_factory=dict)
    identities: set[str] = field(default_factory=set)
    lifetime_s: int | None = None
    valid: dict[str, str] = field(default_factory=dict)
    extra: dict[str, object] = field(default_factory=dict)
    key: str = "token"
    issued: int = 0

    def __call__(self, request: Request) -> Reply:
        if request.method == "POST":
            granted, scope = request.form.get("refresh_token") in self.identities, request.form["scope"]
        else:
            shown = request.authorization
            known = [basic(user, password) for user, password in self.users.items()]
            granted, scope = shown is None or shown in known, dict(request.query).get("scope", "")
        if not granted:
            return error(401, "UNAUTHORIZED", "incorrect username or password")
        self.issued += 1
        token = f"token-{self.issued}"
        self.valid[token] = scope
        document = {self.key: token, **self.extra}
        if self.lifetime_s is not None:
            document["expires_in"] = self.lifetime_s
        return Reply(200, json.dumps(document).encode())


def token_guard(service: TokenService, realm: str, name: str = "registry.test") -> Fault:
    """Lets in who shows a token that the service has given for this repository."""

    def guard(request: Request) -> Reply | None:
        scheme, _, token = (request.authorization or "").partition(" ")
        if scheme == "Bearer" and token in service.valid:
            return None
        challenge = f'Bearer realm="{realm}",service="{name}",scope="repository:another/one:pull,push"'
        return error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})

    return guard
