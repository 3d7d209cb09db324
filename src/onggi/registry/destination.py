"""The writing side of a repository: blobs and manifests on their way there (docker-engine §2.10)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urlencode

from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, OnggiError
from onggi.oci.digest import Digest
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.registry.answers import Subject, failure
from onggi.registry.auth import Scopes
from onggi.registry.errors import (
    BadCredentials,
    BlobRefused,
    BrokenRegistry,
    ManifestMismatch,
    NetworkError,
    RegistryError,
    TlsError,
)
from onggi.registry.patience import Patience
from onggi.registry.response import Response
from onggi.registry.session import Session
from onggi.registry.upload import Content, Part, Retries, Upload, Uploaded, location_of

__all__ = ["Destination", "Mounted"]

_OCTETS = {"Content-Type": "application/octet-stream"}
# Seconds: registries answer the end of an upload when they have moved and hashed all of it.
_LONGEST_ANSWER_S = 900.0


@record
class Mounted:
    """What became of a mount: the blob's ``size``, or an open upload's ``location``, or neither."""

    size: int | None = None
    location: str | None = None


class Destination:
    """A repository to write to; thread-safe. The first endpoint that answers is the one."""

    def __init__(
        self,
        reference: Reference,
        sessions: Callable[[], list[Session]],
        patience: Patience,
        retries: Retries,
    ) -> None:
        self._reference = reference.without_tag()
        self._look_up = sessions
        self._patience = patience
        self._retries = retries
        self._scopes: Scopes = (f"repository:{reference.path}:pull,push",)
        self._lock = threading.Lock()
        self._chosen: Session | None = None

    @property
    def name(self) -> str:
        """Canonical name."""
        return self._reference.name

    def connect(self, cancel: CancelToken) -> None:
        """Find the endpoint to write to. Raises NetworkError, TlsError."""
        self._session(cancel)

    # --- blobs ----------------------------------------------------------------------------

    def known_size(self, digest: Digest, cancel: CancelToken) -> int | None:
        """The size of a blob that the repository has; None when it has not, or does not tell.

        Raises RateLimited, ServerError, NetworkError, TlsError, BadCredentials.
        """
        url = self._url(f"blobs/{digest}", cancel)

        def ask() -> Response:
            response = self._session(cancel).write("HEAD", url, {}, self._scopes, cancel)
            response.release()
            if response.status == 429 or response.status >= 500:
                raise failure(response, b"", self._subject(self._reference))
            return response

        response = self._patience.run(ask, cancel)
        return response.content_length if response.status == 200 else None

    def mount(self, digest: Digest, source: str, cancel: CancelToken) -> Mounted:
        """Let the registry take a blob over from ``source``, the path of another repository of it.

        A registry that cannot opens an upload instead; one that must not show us the source
        may refuse. Raises as :meth:`known_size`.
        """
        query = urlencode({"from": source, "mount": digest})
        url = self._url(f"blobs/uploads/?{query}", cancel)
        scopes = (*self._scopes, f"repository:{source}:pull")

        def ask() -> Response:
            response = self._session(cancel).write("POST", url, {}, scopes, cancel, body=b"")
            response.release()
            if response.status == 429 or response.status >= 500:
                raise failure(response, b"", self._subject(self._reference))
            return response

        try:
            response = self._patience.run(ask, cancel)
        except BadCredentials:
            return Mounted()
        if response.status == 201:
            return Mounted(size=self.known_size(digest, cancel))
        return Mounted(location=location_of(response) if response.status == 202 else None)

    def upload(
        self,
        content: Content,
        cancel: CancelToken,
        *,
        location: str | None = None,
        on_retry: Callable[[int], None] = lambda seconds: None,
    ) -> Uploaded:
        """Bring a blob; ``location`` is an upload that a mount has opened. Raises as :meth:`Upload.run`."""
        return Upload(self, content, self._retries, cancel, on_retry, location).run()

    def begin(self, cancel: CancelToken) -> str:
        """Open an upload; its address. Raises AccessDenied, BadCredentials and as :meth:`known_size`."""
        url = self._url("blobs/uploads/", cancel)

        def ask() -> str:
            response = self._session(cancel).write("POST", url, {}, self._scopes, cancel, body=b"")
            body = response.body()
            if response.status not in (200, 201, 202):
                raise failure(response, body, self._subject(self._reference))
            location = location_of(response)
            if location is None:
                raise BrokenRegistry(
                    "the registry opens an upload, but does not say where",
                    hint="ask whoever runs the registry",
                )
            return location

        return self._patience.run(ask, cancel)

    def send(self, part: Part, cancel: CancelToken) -> Response:
        """A request to an upload's address; errors as answers of the registry, BlobRefused among them."""
        headers: dict[str, str | list[str]] = {} if part.body is None else dict(_OCTETS)
        if part.length is not None:
            headers["Content-Length"] = str(part.length)
        if part.start and part.length:
            headers["Content-Range"] = f"{part.start}-{part.start + part.length - 1}"
        response = self._session(cancel).write(
            part.method,
            part.url,
            headers,
            self._scopes,
            cancel,
            body=part.body,
            answer_s=_LONGEST_ANSWER_S,
        )
        if 200 <= response.status < 300:
            return response
        error = failure(response, response.body(), self._subject(self._reference))
        if isinstance(error, RegistryError) and response.status in (400, 404, 416):
            raise BlobRefused(self._reference.familiar_name, error.message)
        raise error

    # --- manifests ------------------------------------------------------------------------

    def put_manifest(self, name: str, raw: bytes, media_type: str, cancel: CancelToken) -> Digest:
        """Store a manifest under a tag or digest. Raises RegistryError and as :meth:`begin`."""
        url = self._url(f"manifests/{name}", cancel)
        headers = {"Content-Type": media_type}
        reference = self._reference if ":" in name else self._reference.with_tag(name)

        def ask() -> Response:
            response = self._session(cancel).write(
                "PUT", url, headers, self._scopes, cancel, body=raw, answer_s=_LONGEST_ANSWER_S
            )
            body = response.body()
            if not 200 <= response.status < 300:
                raise failure(response, body, self._subject(reference))
            return response

        told = self._patience.run(ask, cancel).headers.get("Docker-Content-Digest")
        digest = Digest.of(raw)
        if told is not None and told != digest:
            raise ManifestMismatch(digest)
        return digest

    # --- the endpoint ---------------------------------------------------------------------

    def _url(self, path: str, cancel: CancelToken) -> str:
        return f"{self._session(cancel).endpoint.url}/v2/{self._reference.path}/{path}"

    def _session(self, cancel: CancelToken) -> Session:
        with self._lock:
            if self._chosen is None:
                self._chosen = self._choose(cancel)
            return self._chosen

    def _choose(self, cancel: CancelToken) -> Session:
        last: OnggiError | None = None
        sessions = self._look_up()
        for session in sessions:
            try:
                self._patience.run(lambda session=session: session.ping(cancel), cancel)  # type: ignore[misc]
            except (NetworkError, TlsError) as error:
                cancel.check()
                last = error
                continue
            if session.answered or session is sessions[-1]:
                return session
        if last is None:
            raise InvalidArgument(f"push {self.name}: this name leads to no registry")
        raise last

    def _subject(self, reference: Reference) -> Subject:
        server = "" if self._reference.domain == "docker.io" else self._reference.domain
        return Subject(reference.familiar, self._reference.familiar_name, server, pushing=True)
