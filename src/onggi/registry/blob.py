"""One blob at its registry, as a download wants it: bytes from an offset on."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from onggi.cancel import CancelToken
from onggi.content.errors import BlobTooLong
from onggi.oci.digest import Digest
from onggi.record import record
from onggi.registry.endpoints import Endpoint
from onggi.registry.errors import BrokenRegistry
from onggi.registry.response import Response
from onggi.registry.session import Session
from onggi.registry.transport import Headers

__all__ = ["BlobBody", "BlobSource", "Places"]

# Content-Range: bytes first-last/(total|*)   RFC 9110 §14.4
_CONTENT_RANGE = re.compile(r"\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*")


@record
class BlobBody:
    """An open answer: ``start`` and ``end`` (exclusive) in the blob, ``total`` the blob's size if told."""

    response: Response
    start: int
    end: int | None
    total: int | None

    def read_into(self, view: memoryview) -> int:
        """The next bytes; 0 at the end. Raises NetworkError when cut, Cancelled."""
        return self.response.read_into(view)

    def close(self) -> None:
        """Give the connection back if the answer is at its end, else drop it."""
        self.response.close()


Open = Callable[[Session, Headers, CancelToken], Response]
# Asks places in order, but not those excluded, with the function given; also how many there are.
Ask = Callable[[Callable[[Session], BlobBody], frozenset[str], CancelToken], BlobBody]


@record
class Places:
    """Where a blob may be: ``ask`` tries them in order, ``urls`` are all of them."""

    ask: Ask
    urls: Callable[[], list[str]]


class BlobSource:
    """Opens a blob at any offset, at the first place that can serve it; thread-safe."""

    def __init__(self, open_blob: Open, places: Places, digest: Digest, size: int) -> None:
        self._open_blob = open_blob
        self._places = places
        self._digest = digest
        self._size = size
        self._lock = threading.Lock()
        self._used: set[Endpoint] = set()
        self._rejected: frozenset[str] = frozenset()

    def open(self, start: int, end: int | None, cancel: CancelToken) -> BlobBody:
        """Bytes from ``start`` on, up to ``end`` (exclusive) where given.

        A registry that answers a range wrongly is asked for the whole blob instead. Raises
        BlobUnknown, BlobTooLong, and the errors of every request.
        """

        def ask(session: Session) -> BlobBody:
            body = self._open_at(session, start, end, cancel)
            with self._lock:
                self._used.add(session.endpoint)
            return body

        return self._places.ask(ask, self._rejected, cancel)

    def _open_at(self, session: Session, start: int, end: int | None, cancel: CancelToken) -> BlobBody:
        if start or end is not None:
            headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
            body = self._body(self._open_blob(session, headers, cancel), start)
            if body is not None:
                return body
        body = self._body(self._open_blob(session, {}, cancel), 0)
        if body is None:
            raise BrokenRegistry(
                f"download {self._digest}: the registry sends a part though the whole was asked for",
                hint="another mirror may do better",
            )
        return body

    def _body(self, response: Response, start: int) -> BlobBody | None:
        """What an answer brings; None when it is another range than the one that begins at ``start``."""
        if response.status == 200:
            length = response.content_length
            body = BlobBody(response, 0, length, length)
        else:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status != 206 or match is None or int(match[1]) != start or int(match[2]) < start:
                response.close()
                return None
            total = None if match[3] == "*" else int(match[3])
            body = BlobBody(response, start, int(match[2]) + 1, total)
        if body.total is not None and 0 <= self._size < body.total:
            response.close()
            raise BlobTooLong(self._digest, self._size, body.total)
        return body

    def reject(self) -> bool:
        """The bytes were not the blob's: never ask there again. False when no other place is left.

        Where several places have brought them a mirror is to blame rather than the registry.
        Where none has since the last time, :meth:`open` has asked every place itself.
        """
        with self._lock:
            if not self._used:
                return False
            mirrors = {endpoint for endpoint in self._used if endpoint.mirror}
            self._rejected |= {endpoint.url for endpoint in mirrors or self._used}
            self._used.clear()
            return any(url not in self._rejected for url in self._places.urls())
