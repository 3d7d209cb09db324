"""Blobs over HTTP: byte ranges (RFC 9110, section 14) and sendfile.

::

    Range       = "bytes=" spec                 several specs: the whole blob is sent, as 14.2 allows
    spec        = first "-" [ last ] | "-" suffix-length
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import cast

from aiohttp import web

from onggi.hub.storage import StoredBlob, open_blob

__all__ = ["RangeNotSatisfiable", "parse_range", "send_blob"]

_log = logging.getLogger(__name__)
_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.ASCII)
# Digits of a position; more could only be meant to keep the server busy (CVE-2020-10735's class).
_MAX_DIGITS = 19


class RangeNotSatisfiable(Exception):
    """The range begins behind the last byte."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and length of what ``header`` asks of ``size`` bytes; None: all of it.

    A header that is no single byte range is ignored, as the RFC wants. Raises
    RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", "") or max(map(len, match.groups())) > _MAX_DIGITS:
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable
    return start, end - start


async def send_blob(request: web.Request, blob: StoredBlob, headers: dict[str, str]) -> web.StreamResponse:
    """Answer with the blob or the part of it that is asked for; nothing is read into memory."""
    wanted = request.headers.get("Range") if _range_holds(request, blob) else None
    try:
        part = parse_range(wanted, blob.size)
    except RangeNotSatisfiable:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{blob.size}"})
    start, length = part or (0, blob.size)
    response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
    response.content_length = length
    if part is not None:
        response.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{blob.size}"
    if request.method == "HEAD" or length == 0:
        await response.prepare(request)
        return response
    return await _send_file(request, response, blob, start, length)


def _range_holds(request: web.Request, blob: StoredBlob) -> bool:
    condition = request.headers.get("If-Range")
    return condition is None or condition.strip() == f'"{blob.digest}"'


async def _send_file(
    request: web.Request, response: web.StreamResponse, blob: StoredBlob, start: int, length: int
) -> web.StreamResponse:
    loop = asyncio.get_running_loop()
    file = await loop.run_in_executor(None, open_blob, blob.path)
    with file:
        try:
            await response.prepare(request)
            transport = _open_transport(request)
            if await loop.sendfile(transport, file, start, length) < length:
                _log.error("blob %s is shorter than it was a moment ago", blob.digest)
                transport.abort()  # the client must not take this for the end
        except ConnectionError:
            _log.debug("the client of %s has gone", request.path)
            if request.transport is not None:
                request.transport.abort()
    return response


def _open_transport(request: web.Request) -> asyncio.WriteTransport:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    return cast("asyncio.WriteTransport", transport)
