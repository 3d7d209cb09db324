"""The pull side of the OCI distribution specification, v1.1, as an aiohttp application.

======================================  =====================================================
``GET /v2/``                            end-1: this is a registry
``GET|HEAD /v2/<name>/blobs/<digest>``  end-2: whole, or a range of it
``GET|HEAD /v2/<name>/manifests/<ref>`` end-3: by tag or digest
``GET /v2/<name>/tags/list``            end-8: pages by ``n`` and ``last``, next one in ``Link``
``GET /v2/_catalog``                    Docker's extension, in the same pages
======================================  =====================================================

Errors are ``{"errors": [{"code", "message", "detail"}]}`` with the specification's codes.
Everything that writes is answered with UNSUPPORTED.
"""

from __future__ import annotations

import asyncio
import json
import re
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from urllib.parse import urlencode

from aiohttp import web

from onggi.errors import DataLoss, InvalidArgument, NotFound, OnggiError, Unsupported
from onggi.hub.blobs import send_blob
from onggi.hub.negotiation import accepts
from onggi.hub.storage import BlobUnknown, ManifestUnknown, NameUnknown, Storage
from onggi.oci.digest import Digest, InvalidDigest

__all__ = ["Handler", "make_app"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Names of one page, whatever is asked for: a page is made in memory (CVE-2023-2253).
_MAX_PAGE = 1000
# Characters of a repository name, as Docker limits it.
_MAX_NAME = 255

_ELEMENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_ELEMENT}(?:/{_ELEMENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

_VERSION_HEADER = {"Docker-Distribution-Api-Version": "registry/2.0"}
# A digest's bytes are the same for ever; a tag's are not.
_IMMUTABLE = {"Cache-Control": "max-age=31536000, immutable"}

_STORAGE: web.AppKey[Storage] = web.AppKey("storage")


class InvalidName(InvalidArgument):
    """The path names no repository."""

    def __init__(self, name: str) -> None:
        super().__init__("invalid repository name")
        self.name = name


class InvalidTag(InvalidArgument):
    """Neither tag nor digest."""

    def __init__(self, text: str) -> None:
        super().__init__("manifest tag did not match URI")
        self.text = text


class InvalidPage(InvalidArgument):
    """``n`` is no number of names."""

    def __init__(self) -> None:
        super().__init__("invalid number of results requested")


class ReadOnly(Unsupported):
    """Somebody wants to write."""

    def __init__(self) -> None:
        super().__init__("The operation is unsupported: this registry is read-only.")


# The one table from errors to the specification's codes; the first that fits counts.
_CODES: tuple[tuple[type[OnggiError], int, str], ...] = (
    (NameUnknown, 404, "NAME_UNKNOWN"),
    (ManifestUnknown, 404, "MANIFEST_UNKNOWN"),
    (BlobUnknown, 404, "BLOB_UNKNOWN"),
    (InvalidName, 400, "NAME_INVALID"),
    (InvalidTag, 400, "TAG_INVALID"),
    (InvalidDigest, 400, "DIGEST_INVALID"),
    (InvalidPage, 400, "PAGINATION_NUMBER_INVALID"),
    (ReadOnly, 405, "UNSUPPORTED"),
    (NotFound, 404, "UNKNOWN"),
    (DataLoss, 500, "UNKNOWN"),
)


def make_app(storage: Storage, middlewares: Iterable[object] = ()) -> web.Application:
    """The registry over ``storage``.

    ``middlewares`` are aiohttp's and see every request before the registry does, and every
    answer after it: authentication, logs, and in tests faults.
    """
    app = web.Application(middlewares=[*middlewares, _translate])  # type: ignore[list-item]
    app[_STORAGE] = storage
    for path in ("/v2", "/v2/"):
        app.router.add_get(path, _version)
    app.router.add_get("/v2/_catalog", _catalog)
    app.router.add_get("/v2/{name:.+}/tags/list", _tags)
    app.router.add_get("/v2/{name:.+}/manifests/{reference:[^/]+}", _manifest)
    app.router.add_get("/v2/{name:.+}/blobs/{digest:[^/]+}", _blob)
    return app


@web.middleware
async def _translate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give errors the specification's form."""
    try:
        return await handler(request)
    except OnggiError as error:
        return _error_response(error)
    except web.HTTPMethodNotAllowed as refusal:
        response = _error_response(ReadOnly())
        response.headers["Allow"] = refusal.headers["Allow"]
        return response
    except web.HTTPNotFound:
        return _errors(404, "UNKNOWN", "no such endpoint of the distribution specification")


# --- endpoints --------------------------------------------------------------------------------


async def _version(request: web.Request) -> web.Response:
    return _json({})


async def _catalog(request: web.Request) -> web.Response:
    return _page(request, "repositories", await asyncio.to_thread(request.app[_STORAGE].repositories))


async def _tags(request: web.Request) -> web.Response:
    name = _name(request)
    return _page(request, "tags", await asyncio.to_thread(request.app[_STORAGE].tags, name), name=name)


async def _manifest(request: web.Request) -> web.Response:
    name, reference = _name(request), _reference(request.match_info["reference"])
    manifest = await asyncio.to_thread(request.app[_STORAGE].manifest, name, reference)
    by_tag = not isinstance(reference, Digest)
    # A digest says which bytes, so there is nothing to negotiate.
    if by_tag and not accepts(request.headers.getall("Accept", ()), manifest.media_type):
        raise ManifestUnknown(
            name, reference, f"{manifest.media_type} found, but accept header does not support it"
        )
    headers = _content_headers(manifest.digest, manifest.media_type)
    if not by_tag:
        headers |= _IMMUTABLE
    if _is_held(request, manifest.digest):
        return web.Response(status=304, headers=headers)
    return web.Response(body=manifest.raw, headers=headers)


async def _blob(request: web.Request) -> web.StreamResponse:
    name, digest = _name(request), Digest.parse(request.match_info["digest"])
    blob = await asyncio.to_thread(request.app[_STORAGE].blob, name, digest)
    headers = _content_headers(digest, "application/octet-stream") | _IMMUTABLE
    if _is_held(request, digest):
        return web.Response(status=304, headers=headers)
    return await send_blob(request, blob, headers | {"Accept-Ranges": "bytes"})


# --- what a request says ----------------------------------------------------------------------


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidName(name)
    return name


def _reference(text: str) -> str | Digest:
    if ":" in text:
        return Digest.parse(text)
    if not _TAG.fullmatch(text):
        raise InvalidTag(text)
    return text


def _is_held(request: web.Request, digest: Digest) -> bool:
    """True when If-None-Match says that the client has these bytes."""
    held = request.headers.get("If-None-Match", "").split(",")
    return any(tag.strip().removeprefix("W/") in (f'"{digest}"', "*") for tag in held)


def _page_size(request: web.Request) -> int:
    text = request.query.get("n", str(_MAX_PAGE))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InvalidPage
    return min(int(text), _MAX_PAGE)


# --- answers ----------------------------------------------------------------------------------


def _content_headers(digest: Digest, media_type: str) -> dict[str, str]:
    return {
        **_VERSION_HEADER,
        "Content-Type": media_type,
        "Docker-Content-Digest": str(digest),
        "ETag": f'"{digest}"',
        "X-Content-Type-Options": "nosniff",
    }


def _page(request: web.Request, key: str, names: Sequence[str], **facts: str) -> web.Response:
    """The names after ``last``; ``names`` are in order."""
    size = _page_size(request)
    first = bisect_right(names, request.query.get("last", ""))
    page = list(names[first : first + size])
    response = _json({**facts, key: page})
    if page and first + size < len(names):
        query = urlencode({"last": page[-1], "n": size})
        response.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    return response


def _error_response(error: OnggiError) -> web.Response:
    for kind, status, code in _CODES:
        if isinstance(error, kind):
            return _errors(status, code, error.message, _facts(error))
    return _errors(500, "UNKNOWN", error.message)


def _facts(error: OnggiError) -> Mapping[str, str]:
    """The error's fields: what it is about."""
    names = ("repository", "reference", "digest", "name", "text")
    return {name: str(getattr(error, name)) for name in names if hasattr(error, name)}


def _errors(status: int, code: str, message: str, detail: Mapping[str, str] | None = None) -> web.Response:
    return _json({"errors": [{"code": code, "message": message, "detail": detail or None}]}, status)


def _json(document: object, status: int = 200) -> web.Response:
    body = json.dumps(document, separators=(",", ":")).encode()
    headers = {**_VERSION_HEADER, "Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=body, status=status, headers=headers)
