"""Repositories at their registries: manifests, blobs, tags, logins."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.errors import InvalidArgument, NotFound, OnggiError, Unauthorized, Unavailable
from onggi.oci import media_types
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.manifest import MAX_MANIFEST_BYTES
from onggi.oci.reference import Reference
from onggi.registry.auth import Authorizer
from onggi.registry.blob import BlobSource
from onggi.registry.credentials import ANONYMOUS, HUB_SERVER, Credentials, Keychain, server_of
from onggi.registry.endpoints import Endpoint, endpoints
from onggi.registry.errors import (
    AccessDenied,
    BadCredentials,
    BrokenRegistry,
    ManifestMismatch,
    ManifestUnknown,
    NetworkError,
    RateLimited,
    RepositoryUnknown,
    ServerError,
    TlsError,
    error_text,
    is_final,
)
from onggi.registry.transport import Response, Transport

__all__ = ["LoginResult", "RegistryClient", "Repository", "Resolved"]

T = TypeVar("T")

_PING_TIMEOUT_S = 15.0
# Tries of a small request, and the seconds before the second one (doubling): Docker's numbers.
_ATTEMPTS, _FIRST_BACKOFF_S = 5, 0.25
# Longest wait that a Retry-After may impose before we rather report the limit.
_LONGEST_RETRY_AFTER_S = 20.0
_NEXT_LINK = re.compile(r'<([^>]+)>\s*;[^,]*rel="?next"?')


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference is at its registry: the top document as it came."""

    raw: bytes
    media_type: str
    digest: Digest
    endpoint: str


@dataclass(frozen=True, slots=True)
class LoginResult:
    """``warning`` is for the user when the credentials lie unencrypted on disk."""

    status: str
    warning: str


class RegistryClient:
    """Talks to registries; thread-safe, keeps connections, pings and tokens."""

    def __init__(self, config: Config, keychain: Keychain) -> None:
        self._config = config
        self._keychain = keychain
        self._transport = Transport(config)
        self._lock = threading.Lock()
        self._connections: dict[tuple[str, str], Connection] = {}

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def repository(self, reference: Reference) -> Repository:
        """The repository of a reference; nothing is sent yet."""
        return Repository(self, reference)

    def connections(self, domain: str) -> list[Connection]:
        """One connection per endpoint of a registry, in the order to be asked."""
        found = []
        for endpoint in endpoints(self._config, domain):
            key = (endpoint.url, domain)
            with self._lock:
                connection = self._connections.get(key)
                if connection is None:
                    credentials = self._credentials_for(endpoint, domain)
                    connection = Connection(self._transport, endpoint, credentials)
                    self._connections[key] = connection
            found.append(connection)
        return found

    def _credentials_for(self, endpoint: Endpoint, domain: str) -> Credentials:
        """A mirror is another host: it gets its own credentials, never those of the registry it mirrors."""
        return self._keychain.resolve(endpoint.host if endpoint.mirror else domain)

    def login(self, server: str, username: str, password: str) -> LoginResult:
        """Prove the credentials with ``GET /v2/``, then store them. Raises BadCredentials."""
        domain = (
            "docker.io" if server == HUB_SERVER else (urlsplit(server).netloc or server.partition("/")[0])
        )
        if not domain:
            raise InvalidArgument("login: empty registry name")
        credentials = Credentials(username, password)
        error: OnggiError | None = None
        for endpoint in endpoints(self._config, domain, mirrors=False):
            try:
                Connection(self._transport, endpoint, credentials).check_login(CancelToken())
            except NetworkError as failure:
                error = failure
                continue
            warning = self._keychain.store(server_of(domain), credentials)
            self._connections.clear()
            return LoginResult("Login Succeeded", warning)
        raise error or NetworkError(f"login {server}: no endpoint")


class Connection:
    """One endpoint with its credentials: pings once, then sends authorized requests."""

    def __init__(self, transport: Transport, endpoint: Endpoint, credentials: Credentials) -> None:
        self._transport = transport
        self.endpoint = endpoint
        self._auth = Authorizer(transport, endpoint, credentials or ANONYMOUS)
        self._pinged = False
        self._lock = threading.Lock()

    def ping(self, cancel: CancelToken) -> None:
        """Learn how this endpoint wants to be addressed. Raises NetworkError, TlsError."""
        with self._lock:
            if self._pinged:
                return
            url = f"{self.endpoint.url}/v2/"
            response = self._transport.request(
                "GET", url, {}, self.endpoint, cancel, timeout_s=_PING_TIMEOUT_S
            )
            if response.status == 401:
                self._auth.learn(response)
            response.body()
            self._pinged = True

    def check_login(self, cancel: CancelToken) -> None:
        """Raises BadCredentials with Docker's text."""
        self.ping(cancel)
        url = f"{self.endpoint.url}/v2/"
        response = self._request("GET", url, {}, (), cancel)
        response.body()
        if response.status != 200:
            raise BadCredentials(
                f"login attempt to {url} failed with status: {response.status} {response.reason}",
                hint="check the user name and the password",
            )

    def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str | list[str]],
        scopes: tuple[str, ...],
        cancel: CancelToken,
    ) -> Response:
        """A request below ``/v2/``; a token that has expired is renewed, and the request repeated, once."""
        self.ping(cancel)
        url = path if "://" in path else f"{self.endpoint.url}/v2/{path}"
        response = self._request(method, url, headers, scopes, cancel)
        if response.status == 401 and response.url == url:
            self._auth.learn(response)
            self._auth.forget(scopes)
            response.release()
            response = self._request(method, url, headers, scopes, cancel)
        return response

    def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str | list[str]],
        scopes: tuple[str, ...],
        cancel: CancelToken,
    ) -> Response:
        try:
            authorization = self._auth.header(scopes, cancel)
        except BadCredentials as error:
            error.message = f'{method.capitalize()} "{url}": {error.message}'
            raise
        sent = dict(headers)
        if authorization is not None:
            sent["Authorization"] = authorization
        return self._transport.request(method, url, sent, self.endpoint, cancel)


class Repository:
    """One repository: asks its endpoints in order, stays with the one that answered."""

    def __init__(self, client: RegistryClient, reference: Reference) -> None:
        self._client = client
        self._reference = reference.without_tag()
        self._scopes = (f"repository:{reference.path}:pull",)
        self._chosen: Connection | None = None

    @property
    def name(self) -> str:
        """Canonical name."""
        return self._reference.name

    # --- manifests ------------------------------------------------------------------------

    def resolve(self, reference: Reference, cancel: CancelToken) -> Resolved:
        """The document a tag or digest stands for: HEAD, then GET by digest (§2.5).

        Raises ManifestUnknown, AccessDenied, BadCredentials, RateLimited, ServerError,
        NetworkError, TlsError, ManifestMismatch.
        """
        return self._try_endpoints(lambda connection: self._resolve(connection, reference, cancel), cancel)

    def _resolve(self, connection: Connection, reference: Reference, cancel: CancelToken) -> Resolved:
        if reference.digest is not None:
            raw, media_type = self._get(connection, reference.digest, reference, cancel)
            return Resolved(raw, media_type, reference.digest, connection.endpoint.url)
        tag = reference.tag or "latest"
        digest = self._head(connection, tag, reference, cancel)
        raw, media_type = self._get(connection, digest or tag, reference, cancel)
        return Resolved(raw, media_type, digest or Digest.of(raw), connection.endpoint.url)

    def _head(
        self, connection: Connection, tag: str, reference: Reference, cancel: CancelToken
    ) -> Digest | None:
        response = self._manifest_request(connection, "HEAD", tag, cancel)
        response.body()
        if response.status == 429:
            raise self._failure(response, b"", reference)
        if response.status != 200:
            return None
        try:
            return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
        except InvalidArgument:
            return None

    def _get(
        self, connection: Connection, name: str, reference: Reference, cancel: CancelToken
    ) -> tuple[bytes, str]:
        response = self._manifest_request(connection, "GET", name, cancel)
        body = response.body(MAX_MANIFEST_BYTES)
        if response.status != 200:
            raise self._failure(response, body, reference)
        if ":" in name and Digest.of(body) != name and not _matches(body, Digest.parse(name)):
            raise ManifestMismatch(name)
        return body, response.headers.get("Content-Type", "")

    def _manifest_request(
        self, connection: Connection, method: str, name: str, cancel: CancelToken
    ) -> Response:
        headers: dict[str, str | list[str]] = {"Accept": list(media_types.ACCEPTED_MANIFESTS)}
        path = f"{self._reference.path}/manifests/{name}"
        connection.ping(cancel)
        return self._patient(lambda: connection.send(method, path, headers, self._scopes, cancel), cancel)

    def manifest(self, descriptor: Descriptor | Digest, cancel: CancelToken) -> tuple[bytes, str]:
        """A manifest by digest: bytes and media type, verified."""
        digest = descriptor if isinstance(descriptor, Digest) else descriptor.digest
        reference = self._reference.with_digest(digest)
        return self._try_endpoints(
            lambda connection: self._get(connection, digest, reference, cancel), cancel
        )

    # --- blobs ----------------------------------------------------------------------------

    def blob(self, digest: Digest, size: int) -> BlobSource:
        """Where a download gets the blob's bytes."""
        return BlobSource(self._open_blob, digest)

    def read_blob(self, descriptor: Descriptor, limit_bytes: int, cancel: CancelToken) -> bytes:
        """A small blob whole, verified. Raises BrokenRegistry over the limit, ManifestMismatch when wrong."""
        if descriptor.size > limit_bytes:
            raise BrokenRegistry(
                f"blob {descriptor.digest}: {descriptor.size} bytes are more than {limit_bytes}"
            )

        def read() -> bytes:
            return self._open_blob(descriptor.digest, {}, cancel).body(limit_bytes)

        body = self._patient(read, cancel)
        if not _matches(body, descriptor.digest):
            raise BrokenRegistry(
                f"image config verification failed for digest {descriptor.digest}",
                hint="the registry, or something on the way, served other bytes",
            )
        return body

    def _open_blob(
        self, digest: Digest, headers: dict[str, str | list[str]], cancel: CancelToken
    ) -> Response:
        return self._try_endpoints(
            lambda connection: self._open_blob_at(connection, digest, headers, cancel), cancel
        )

    def _open_blob_at(
        self,
        connection: Connection,
        digest: Digest,
        headers: dict[str, str | list[str]],
        cancel: CancelToken,
    ) -> Response:
        path = f"{self._reference.path}/blobs/{digest}"
        response = connection.send("GET", path, headers, self._scopes, cancel)
        if response.status not in (200, 206):
            raise self._failure(response, response.body(), self._reference.with_digest(digest))
        return response

    # --- tags -----------------------------------------------------------------------------

    def tags(self, cancel: CancelToken) -> Iterator[str]:
        """Every tag, in the registry's order, page by page."""
        path: str | None = f"{self._reference.path}/tags/list"
        seen: set[str] = set()
        while path is not None and path not in seen:
            seen.add(path)
            names, path = self._tag_page(path, cancel)
            yield from names

    def _tag_page(self, path: str, cancel: CancelToken) -> tuple[list[str], str | None]:
        def fetch(connection: Connection) -> tuple[list[str], str | None]:
            response = connection.send("GET", path, {}, self._scopes, cancel)
            body = response.body()
            if response.status != 200:
                raise self._failure(response, body, self._reference)
            return _parse_tags(body), _next_page(response)

        return self._try_endpoints(fetch, cancel)

    # --- endpoints and errors -------------------------------------------------------------

    def _try_endpoints(self, ask: Callable[[Connection], T], cancel: CancelToken) -> T:
        """Ask one endpoint after the other; the error of the last one is the one shown."""
        if self._chosen is not None:
            return ask(self._chosen)
        last: OnggiError | None = None
        answered: set[str] = set()
        for connection in self._client.connections(self._reference.domain):
            endpoint = connection.endpoint
            if endpoint.url.startswith("http://") and endpoint.host in answered:
                continue
            try:
                result = ask(connection)
            except (Unavailable, NotFound, Unauthorized, AccessDenied, RateLimited, BrokenRegistry) as error:
                if not isinstance(error, NetworkError | TlsError):
                    answered.add(endpoint.host)
                if not endpoint.mirror and (is_final(error) or endpoint.host in answered):
                    raise
                if last is not None:
                    error.hint = f"before that: {last.message}"
                last = error
                cancel.check()
                continue
            self._chosen = connection
            return result
        raise last or NetworkError(f"pull {self._reference.name}: no endpoint")

    def _patient(self, ask: Callable[[], T], cancel: CancelToken) -> T:
        """Repeat a small request through 5xx and broken connections, with growing pauses."""
        wait_s = _FIRST_BACKOFF_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                result = ask()
            except NetworkError as error:
                if attempt == _ATTEMPTS or "refused" in error.message or "no such host" in error.message:
                    raise
            else:
                if not isinstance(result, Response) or attempt == _ATTEMPTS:
                    return result
                pause_s = _pause(result)
                if pause_s is None:
                    return result
                result.release()
                wait_s = max(wait_s, pause_s)
            cancel.sleep(wait_s)
            wait_s *= 2
        raise AssertionError("unreachable")

    def _failure(self, response: Response, body: bytes, reference: Reference) -> OnggiError:
        """The error an answer stands for, in Docker's words (§2.9)."""
        code, message = error_text(body)
        detail = f"{code}: {message}" if code else ""
        name = self._reference.familiar_name
        if response.status == 429:
            return RateLimited(message or "rate limit exceeded", _retry_after_s(response))
        if response.status == 404:
            if code == "name unknown" and reference.is_name_only:
                return RepositoryUnknown(name, detail)
            return ManifestUnknown(reference.familiar, name, detail or "manifest unknown: manifest unknown")
        if response.status in (401, 403):
            if code == "denied" or response.status == 401:
                return AccessDenied(name, detail or f"{response.status} {response.reason}".lower())
            return AccessDenied(name, detail or "denied")
        return ServerError(response.status, response.reason)


def _matches(body: bytes, digest: Digest) -> bool:
    import hashlib

    return hashlib.new(digest.algorithm, body).hexdigest() == digest.hex


def _pause(response: Response) -> float | None:
    """Seconds to wait before asking again; None when the answer is to be taken as it is."""
    if response.status == 429:
        asked = _retry_after_s(response)
        return asked if asked is not None and asked <= _LONGEST_RETRY_AFTER_S else None
    return 0.0 if response.status in (500, 502, 503, 504) else None


def _retry_after_s(response: Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError):
        return None


def _parse_tags(body: bytes) -> list[str]:
    import json

    try:
        tags = json.loads(body).get("tags") or []
        return [str(tag) for tag in tags]
    except (ValueError, AttributeError, TypeError) as error:
        raise BrokenRegistry("the registry's list of tags cannot be read") from error


def _next_page(response: Response) -> str | None:
    match = _NEXT_LINK.search(response.headers.get("Link", ""))
    if match is None:
        return None
    url: str = urljoin(response.url, match[1])
    if urlsplit(url)[:2] != urlsplit(response.url)[:2]:
        raise BrokenRegistry(f"the registry's next page is on another host: {urlsplit(url).netloc}")
    return url
