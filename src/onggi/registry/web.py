"""A file from the web, by the way that registries are spoken to: proxies, TLS, redirects, patience."""

from __future__ import annotations

from collections.abc import Iterator

from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, Unavailable
from onggi.registry.endpoints import Endpoint
from onggi.registry.foreign import http_address
from onggi.registry.response import Response
from onggi.registry.transport import Transport

__all__ = ["HttpRefusal", "InvalidAddress", "fetch"]

_PIECE_BYTES = 256 * 1024
_FIRST_ERROR = 400


class InvalidAddress(InvalidArgument):
    """Not an address of the web."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"download {url!r}: no http address", hint="it should look like https://host/file.tar"
        )


class HttpRefusal(Unavailable):
    """The server answered with an error; Docker's words."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        super().__init__(
            f"Got HTTP status code >= 400: {status} {reason}".rstrip(),
            hint=f"look at {url} with a browser or curl",
            retryable=status >= 500,
        )
        self.status = status


def fetch(transport: Transport, url: str, cancel: CancelToken) -> Iterator[bytes]:
    """The body in pieces; the request is made at once.

    Raises InvalidAddress, HttpRefusal, NetworkError, TlsError, Cancelled; the latter while iterating too.
    """
    address = http_address(url)
    if address is None:
        raise InvalidAddress(url)
    host = address.netloc.rpartition("@")[2]
    response = transport.request("GET", url, {}, Endpoint(f"{address.scheme}://{host}"), cancel)
    if response.status >= _FIRST_ERROR:
        response.release()
        raise HttpRefusal(url, response.status, response.reason)
    return _pieces(response)


def _pieces(response: Response) -> Iterator[bytes]:
    buffer = memoryview(bytearray(_PIECE_BYTES))
    try:
        while count := response.read_into(buffer):
            yield bytes(buffer[:count])
    finally:
        response.close()
