"""The pull side of the OCI distribution specification, v1.1, on aiohttp.

================================  =============================================
``GET /v2/``                      end-1: yes, this is a registry
``GET/HEAD …/blobs/<digest>``     end-2: with ranges
``GET/HEAD …/manifests/<ref>``    end-3
``GET …/tags/list?n=&last=``      end-8: in pages, with ``Link``
``GET /v2/_catalog?n=&last=``     Docker's extension
================================  =============================================

Errors are ``{"errors":[{"code","message","detail"}]}``. Whoever writes is told ``UNSUPPORTED``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from aiohttp import web

from onggi.errors import InvalidArgument, NotFound
from onggi.hub.layout import StoredManifest, parse_digest
from onggi.oci.digest import Digest

__all__ = ["Storage", "make_app"]

# Most names of one page, whatever the client asks for (CVE-2023-2253).
_MAX_PAGE = 1000
_REPOSITORY = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_ROUTE = re.compile(rf"/v2/({_REPOSITORY})/(manifests|blobs|tags)/([^/]+)")
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}


class Storage(Protocol):
    """Where a registry's content lies."""

    def repositories(self) -> list[str]:
        """Paths of all repositories, sorted."""

    def tags(self, repository: str) -> list[str]:
        """Tags, sorted. Raises NotFound."""

    def manifest(self, repository: str, reference: str) -> StoredManifest:
        """By tag or digest. Raises NotFound."""

    def blob_path(self, digest: Digest) -> Path | None:
        """The file of a blob, or None."""


def make_app(storage: Storage) -> web.Application:
    """The registry as an aiohttp application."""
    app = web.Application()
    handler = _Handler(storage)
    app.router.add_route("*", "/{tail:.*}", handler.handle)
    return app


class _Handler:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return _error(405, "UNSUPPORTED", "this registry is read-only")
        path = request.raw_path.partition("?")[0]
        if path in ("/v2", "/v2/"):
            return _json({})
        if path == "/v2/_catalog":
            return self._page(request, "repositories", self._storage.repositories(), {})
        match = _ROUTE.fullmatch(path)
        if match is None:
            return _error(404, "NAME_INVALID", "invalid repository name")
        repository, kind, reference = match.groups()
        try:
            return self._answer(request, repository, kind, reference)
        except NotFound as error:
            code = (
                "NAME_UNKNOWN" if error.message.startswith("repository") else f"{kind.upper()[:-1]}_UNKNOWN"
            )
            return _error(404, code, _MESSAGES[code])
        except InvalidArgument as error:
            return _error(400, "DIGEST_INVALID", error.message)

    def _answer(self, request: web.Request, repository: str, kind: str, reference: str) -> web.StreamResponse:
        if kind == "tags":
            if reference != "list":
                return _error(404, "NAME_INVALID", "invalid repository name")
            return self._page(request, "tags", self._storage.tags(repository), {"name": repository})
        if kind == "blobs":
            return self._blob(repository, parse_digest(reference))
        return self._manifest(self._storage.manifest(repository, reference))

    def _manifest(self, manifest: StoredManifest) -> web.Response:
        headers = {**_VERSION, "Docker-Content-Digest": manifest.digest, "ETag": f'"{manifest.digest}"'}
        return web.Response(body=manifest.raw, headers={**headers, "Content-Type": manifest.media_type})

    def _blob(self, repository: str, digest: Digest) -> web.StreamResponse:
        self._storage.tags(repository)
        path = self._storage.blob_path(digest)
        if path is None:
            raise NotFound(f"blob {digest} does not exist")
        # FileResponse does ranges, conditions and sendfile.
        headers = {**_VERSION, "Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        return web.FileResponse(path, headers=headers)

    def _page(self, request: web.Request, key: str, names: list[str], extra: dict[str, str]) -> web.Response:
        try:
            size = int(request.query.get("n", _MAX_PAGE))
        except ValueError:
            size = -1
        if size < 0:
            return _error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
        size = min(size, _MAX_PAGE)
        last = request.query.get("last", "")
        rest = [name for name in names if name > last]
        page = rest[:size]
        response = _json({**extra, key: page})
        if len(rest) > len(page) and page:
            query = urlencode({"last": page[-1], "n": size})
            response.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
        return response


_MESSAGES = {
    "NAME_UNKNOWN": "repository name not known to registry",
    "MANIFEST_UNKNOWN": "manifest unknown",
    "BLOB_UNKNOWN": "blob unknown to registry",
    "TAG_UNKNOWN": "tag unknown",
}


def _json(document: object, status: int = 200) -> web.Response:
    body = json.dumps(document).encode()
    return web.Response(body=body, status=status, headers={**_VERSION, "Content-Type": "application/json"})


def _error(status: int, code: str, message: str) -> web.Response:
    return _json({"errors": [{"code": code, "message": message, "detail": None}]}, status)
