"""One repository: its manifests, blobs and tags, at the first endpoint that can serve them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from onggi.cancel import CancelToken
from onggi.content.verify import matches
from onggi.errors import FailedPrecondition, InvalidArgument, NotFound, OnggiError
from onggi.oci import media_types
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.manifest import MAX_MANIFEST_BYTES, Schema1
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.registry.answers import Subject, failure
from onggi.registry.blob import BlobBody, BlobSource, Places
from onggi.registry.errors import (
    BlobUnknown,
    BrokenRegistry,
    ConfigMismatch,
    ManifestMismatch,
    NetworkError,
    ServerError,
    TlsError,
)
from onggi.registry.foreign import next_address
from onggi.registry.patience import Patience
from onggi.registry.quota import Quota, quota_of
from onggi.registry.response import Response
from onggi.registry.session import Session
from onggi.registry.transport import Headers

__all__ = ["Repository", "Resolved"]

T = TypeVar("T")

_NEXT_LINK = re.compile(r'<([^<>]{1,4096})>\s*;[^,]*\brel="?next\b')
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# Pages of tags; more is a registry that goes in circles.
_MOST_PAGES = 10_000


@record
class Resolved:
    """What a reference is at its registry: the top document as it came, and who had it.

    ``quota`` is what the registry still lets us pull, where it says so.
    """

    raw: bytes
    media_type: str
    digest: Digest
    endpoint: str
    quota: Quota | None = None


class Repository:
    """Asks its endpoints in order and stays with the first that answers; thread-safe.

    A mirror that fails is passed over for the next endpoint, whatever the reason: what comes
    is verified, so it does not matter who sends it. Of the registry itself every answer counts.
    """

    def __init__(
        self, reference: Reference, sessions: Callable[[], list[Session]], patience: Patience
    ) -> None:
        self._reference = reference.without_tag()
        self._look_up = sessions
        self._patience = patience
        self._scopes = (f"repository:{reference.path}:pull",)
        self._sessions: list[Session] | None = None
        self._chosen: Session | None = None

    @property
    def name(self) -> str:
        """Canonical name."""
        return self._reference.name

    # --- manifests ------------------------------------------------------------------------

    def resolve(self, reference: Reference, cancel: CancelToken) -> Resolved:
        """The document a tag or digest stands for: HEAD, then GET by digest (§2.5).

        Raises ManifestUnknown, RepositoryUnknown, AccessDenied, BadCredentials, RateLimited,
        ServerError, RegistryError, NetworkError, TlsError, BrokenRegistry, Schema1.
        """
        return self._ask(lambda session: self._resolve(session, reference, cancel), cancel)

    def _resolve(self, session: Session, reference: Reference, cancel: CancelToken) -> Resolved:
        url = session.endpoint.url
        if reference.digest is not None:
            raw, media_type, quota = self._get(session, reference.digest, reference, cancel)
            return Resolved(raw, media_type, reference.digest, url, quota)
        tag = reference.tag or "latest"
        digest = self._head(session, tag, cancel)
        try:
            raw, media_type, quota = self._get(session, digest or tag, reference, cancel)
        except NotFound:
            if digest is None:
                raise
            # HEAD knew the tag, but the digest it told leads nowhere: some registries are so.
            raw, media_type, quota = self._get(session, tag, reference, cancel)
            if not matches(raw, digest):
                raise ManifestMismatch(digest) from None
        return Resolved(raw, media_type, digest or Digest.of(raw), url, quota)

    def _head(self, session: Session, tag: str, cancel: CancelToken) -> Digest | None:
        """The digest of a tag, if the registry tells; anything else is left to the GET, whose body speaks."""
        response = self._request_manifest(session, "HEAD", tag, cancel)
        response.release()
        if response.status != 200:
            return None
        try:
            return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
        except InvalidArgument:
            return None

    def _get(
        self, session: Session, name: str, reference: Reference, cancel: CancelToken
    ) -> tuple[bytes, str, Quota | None]:
        """Bytes and media type of a manifest by tag or digest, the latter verified."""

        def ask() -> tuple[Response, bytes]:
            response = self._request_manifest(session, "GET", name, cancel)
            body = response.body(MAX_MANIFEST_BYTES)
            if response.status != 200:
                raise failure(response, body, self._subject(reference))
            return response, body

        response, body = self._patiently(session, ask, cancel)
        media_type = response.headers.get("Content-Type", "")
        if media_types.is_schema1(media_type.partition(";")[0].strip()):
            # Its digest is not that of its bytes, so say what it is before they are compared.
            raise Schema1
        if isinstance(name, Digest) and not matches(body, name):
            raise ManifestMismatch(name)
        return body, media_type, quota_of(response)

    def _request_manifest(self, session: Session, method: str, name: str, cancel: CancelToken) -> Response:
        headers = {"Accept": list(media_types.ACCEPTED_MANIFESTS)}
        path = f"{self._reference.path}/manifests/{name}"
        return session.send(method, path, headers, self._scopes, cancel)

    def manifest(self, descriptor: Descriptor | Digest, cancel: CancelToken) -> tuple[bytes, str]:
        """A manifest by digest: bytes and media type, verified. Raises as :meth:`resolve`."""
        digest = descriptor if isinstance(descriptor, Digest) else descriptor.digest
        reference = self._reference.with_digest(digest)
        raw, media_type, _ = self._ask(lambda session: self._get(session, digest, reference, cancel), cancel)
        return raw, media_type

    # --- blobs ----------------------------------------------------------------------------

    def blob(self, digest: Digest, size: int) -> BlobSource:
        """Where a download gets the blob's bytes; ``size`` is the manifest's word, −1 for unknown."""
        places = Places(self._ask_for_blob, lambda: [session.endpoint.url for session in self._order()])

        def open_blob(session: Session, headers: Headers, cancel: CancelToken) -> Response:
            return self._open_blob(session, digest, headers, cancel)

        return BlobSource(open_blob, places, digest, size)

    def _ask_for_blob(
        self, ask: Callable[[Session], BlobBody], rejected: frozenset[str], cancel: CancelToken
    ) -> BlobBody:
        return self._ask(ask, cancel, rejected)

    def read_blob(self, descriptor: Descriptor, limit_bytes: int, cancel: CancelToken) -> bytes:
        """A small blob whole, verified. Raises ConfigMismatch, BrokenRegistry over the limit."""
        if descriptor.size > limit_bytes:
            raise BrokenRegistry(
                f"blob {descriptor.digest}: {descriptor.size} bytes are more than {limit_bytes}",
                hint="no image config has a reason to be so large",
            )

        def read(session: Session) -> bytes:
            def ask() -> bytes:
                return self._open_blob(session, descriptor.digest, {}, cancel).body(limit_bytes)

            body = self._patiently(session, ask, cancel)
            if not matches(body, descriptor.digest) or 0 <= descriptor.size != len(body):
                raise ConfigMismatch(descriptor.digest)
            return body

        return self._ask(read, cancel)

    def _open_blob(self, session: Session, digest: Digest, headers: Headers, cancel: CancelToken) -> Response:
        """An answer of status 200 or 206, or 416, which leaves the range to be given up."""
        path = f"{self._reference.path}/blobs/{digest}"
        response = session.send("GET", path, headers, self._scopes, cancel)
        if response.status in (200, 206) or (response.status == 416 and headers):
            return response
        if not response.url.startswith(f"{session.endpoint.url}/") and response.status != 404:
            # A blob store: its words may show the signature of the address, a new one may do.
            response.close()
            raise ServerError(response.status, response.reason)
        body = response.body()
        if response.status == 404:
            raise BlobUnknown(digest, self._reference.familiar_name)
        raise failure(response, body, self._subject(self._reference.with_digest(digest)))

    # --- tags -----------------------------------------------------------------------------

    def tags(self, cancel: CancelToken) -> Iterator[str]:
        """Every tag, in the registry's order; the next page is asked for when the last is used up."""
        path: str | None = f"{self._reference.path}/tags/list"
        seen: set[str] = set()
        while path is not None and path not in seen and len(seen) < _MOST_PAGES:
            seen.add(path)
            names, path = self._tag_page(path, cancel)
            yield from names

    def _tag_page(self, path: str, cancel: CancelToken) -> tuple[list[str], str | None]:
        def fetch(session: Session) -> tuple[list[str], str | None]:
            def ask() -> tuple[list[str], str | None]:
                response = session.send("GET", path, {}, self._scopes, cancel)
                body = response.body()
                if response.status != 200:
                    raise failure(response, body, self._subject(self._reference))
                return _parse_tags(body), _next_page(response)

            return self._patiently(session, ask, cancel)

        return self._ask(fetch, cancel)

    # --- endpoints ------------------------------------------------------------------------

    def _order(self) -> list[Session]:
        """The endpoint that answered first, and those after it while it is a mirror."""
        if self._sessions is None:
            self._sessions = self._look_up()
        if self._chosen is None:
            return [session for session in self._sessions if not _is_other_scheme(session, self._sessions)]
        if not self._chosen.endpoint.mirror:
            return [self._chosen]
        return self._sessions[self._sessions.index(self._chosen) :]

    def _ask(
        self, ask: Callable[[Session], T], cancel: CancelToken, rejected: frozenset[str] = frozenset()
    ) -> T:
        """Ask one endpoint after the other; the error of the last one is the one shown."""
        failures: list[tuple[Session, OnggiError]] = []
        for session in self._order():
            if session.endpoint.url in rejected or _is_other_scheme(session, self._order()):
                continue
            try:
                result = ask(session)
            except OnggiError as error:
                cancel.check()
                if not _worth_another(session, error):
                    _add_history(error, failures)
                    raise
                failures.append((session, error))
                continue
            self._settle(session, failures)
            return result
        if not failures:
            raise NetworkError(f"pull {self._reference.name}: no endpoint", hint="check the registry mirrors")
        last = failures.pop()[1]
        _add_history(last, failures)
        raise last

    def _settle(self, session: Session, failures: list[tuple[Session, OnggiError]]) -> None:
        """Stay with who answered; leave a mirror for good only when there was no way to it."""
        gone = any(isinstance(error, NetworkError | TlsError) for _, error in failures)
        if self._chosen is None or gone:
            self._chosen = session

    def _patiently(self, session: Session, ask: Callable[[], T], cancel: CancelToken) -> T:
        """Repeat at the registry itself; from a mirror we rather go on to the next endpoint."""
        session.ping(cancel)
        return ask() if session.endpoint.mirror else self._patience.run(ask, cancel)

    def _subject(self, reference: Reference) -> Subject:
        name = self._reference.familiar_name
        server = "" if self._reference.domain == "docker.io" else self._reference.domain
        return Subject(reference.familiar, name, server, reference.is_name_only)


def _is_other_scheme(session: Session, sessions: list[Session]) -> bool:
    """True for the https or http address of a host that has answered at the other one."""
    return not session.answered and any(
        other.answered and other.endpoint.host == session.endpoint.host for other in sessions
    )


def _worth_another(session: Session, error: OnggiError) -> bool:
    """Whether the next endpoint may do better: not when it is our own settings that are wrong."""
    if isinstance(error, InvalidArgument | FailedPrecondition):
        return False
    return session.endpoint.mirror or isinstance(error, NetworkError | TlsError)


def _add_history(error: OnggiError, failures: list[tuple[Session, OnggiError]]) -> None:
    """Let an error's hint tell what the mirrors said before."""
    before = [
        f"{session.endpoint.url}: {other.message}" for session, other in failures if session.endpoint.mirror
    ]
    if before:
        error.hint = "; ".join([*([error.hint] if error.hint else []), f"before that {', '.join(before)}"])


def _parse_tags(body: bytes) -> list[str]:
    """The tags; what cannot be one is passed over, since nobody can pull it."""
    try:
        tags = json.loads(body).get("tags") or []
        return [tag for tag in tags if isinstance(tag, str) and _TAG.fullmatch(tag)]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BrokenRegistry(
            "the registry's list of tags cannot be read", hint="ask whoever runs the registry"
        ) from error


def _next_page(response: Response) -> str | None:
    """Path and query of the next page, below ``/v2/`` of the same endpoint.

    Only these count: a registry behind a proxy tells a host that we cannot reach, and our
    credentials go to no other anyway.
    """
    match = _NEXT_LINK.search(response.headers.get("Link", ""))
    if match is None:
        return None
    parts = next_address(response.url, match[1])
    if parts is None:
        return None
    path = parts.path.partition("/v2/")[2]
    return f"{path}?{parts.query}" if path and parts.query else path or None
