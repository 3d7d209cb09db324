"""One blob at its registry, as a download wants it: bytes from an offset on."""

from __future__ import annotations

import re
from collections.abc import Callable

from onggi.cancel import CancelToken
from onggi.oci.digest import Digest
from onggi.registry.errors import BrokenRegistry
from onggi.registry.transport import Response

__all__ = ["BlobBody", "BlobSource"]

# Content-Range: bytes first-last/(total|*)   RFC 9110 §14.4
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Open = Callable[[Digest, dict[str, "str | list[str]"], CancelToken], Response]


class BlobBody:
    """An open answer; ``start`` is the offset of its first byte, ``total`` the blob's size if told."""

    def __init__(self, response: Response, start: int, total: int | None) -> None:
        self._response = response
        self.start = start
        self.total = total

    def read(self, limit_bytes: int) -> bytes:
        """The next bytes; empty at the end. Raises NetworkError when cut."""
        return self._response.read(limit_bytes)

    def close(self) -> None:
        """Give the connection back if the answer is complete, else drop it."""
        self._response.close()


class BlobSource:
    """Opens a blob at any offset."""

    def __init__(self, open_blob: Open, digest: Digest) -> None:
        self._open_blob = open_blob
        self._digest = digest

    def open(self, start: int, end: int | None, cancel: CancelToken) -> BlobBody:
        """Bytes from ``start`` on, up to ``end`` (exclusive). Raises BrokenRegistry for a wrong range."""
        headers: dict[str, str | list[str]] = {}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        response = self._open_blob(self._digest, headers, cancel)
        if response.status == 200:
            length = response.headers.get("Content-Length", "")
            return BlobBody(response, 0, int(length) if length.isdecimal() else None)
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            response.close()
            raise BrokenRegistry(
                f"download {self._digest}: asked from byte {start}, "
                f"got {response.headers.get('Content-Range')!r}",
                hint="the registry answers range requests wrongly; another mirror may not",
            )
        return BlobBody(response, start, None if match[3] == "*" else int(match[3]))
