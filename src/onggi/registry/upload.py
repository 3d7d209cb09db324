"""One blob on its way to a registry, through cuts and errors (distribution-spec, "Pushing blobs")::

    POST  /v2/<name>/blobs/uploads/      202  Location
    PATCH <location>  bytes              202  Location, Range: 0-<last byte held>
    PUT   <location>?digest=<digest>     201

A blob that is small, or whose digest and size are known, goes with the PUT alone. After a
failure the registry is asked what it holds (``GET <location>`` → ``Range``): the content is
made once more from its beginning, hashed, and sent from there on. Where the registry has
forgotten the upload it starts over. Nothing is held in memory but a few pieces.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Protocol

from onggi.cancel import CancelToken
from onggi.content.errors import Throttled
from onggi.errors import OnggiError
from onggi.oci.digest import Digest
from onggi.record import record
from onggi.registry.errors import BadCredentials, BlobRefused, NetworkError, ServerError
from onggi.registry.foreign import next_address
from onggi.registry.response import Response

__all__ = ["Content", "Part", "Retries", "Upload", "Uploaded", "Writer", "location_of"]

# Bytes that are gathered before the first request: what is smaller goes in one request.
_SMALL_BYTES = 1 << 20
# Bytes given to the socket at once: the send of one piece must be done within the stall timeout.
_PIECE_BYTES = 64 * 1024
# A failure that came after the registry had taken this much was no failure, only a cut.
_WORTHWHILE_BYTES, _CUT_PAUSE_S = 64 * 1024, 1.0
# Times that an upload is begun anew because the registry says it is wrong or unknown.
_REFUSALS = 2
# Range: 0-<last>, by some with "bytes=" in front
_RANGE = re.compile(r"\s*(?:bytes[= ])?0-(\d{1,18})\s*")


class Content(Protocol):
    """The bytes of a blob, the same ones each time; ``digest`` and ``size`` are None until somebody knows."""

    @property
    def digest(self) -> Digest | None: ...

    @property
    def size(self) -> int | None: ...

    def open(self) -> AbstractContextManager[Iterator[bytes]]:
        """The pieces from the beginning; leaving the context ends whoever makes them."""


@record
class Uploaded:
    """A blob that the registry has taken. ``size`` is bytes."""

    digest: Digest
    size: int


@record
class Retries:
    """Docker's numbers (§2.8): 5 attempts; the pause before each is 5 s longer than the last one."""

    attempts: int = 5
    backoff_s: float = 5.0
    longest_retry_after_s: float = 60.0

    def pause_s(self, error: OnggiError, failures: int) -> float:
        """Seconds until the next attempt, or the error. ``failures`` counts those without progress."""
        if failures >= self.attempts:
            raise error
        if isinstance(error, Throttled):
            if error.retry_after_s is None or error.retry_after_s > self.longest_retry_after_s:
                raise error
            return error.retry_after_s
        passing = isinstance(error, NetworkError) or (isinstance(error, ServerError) and error.status >= 500)
        if not passing:
            raise error
        return failures * self.backoff_s if failures else min(_CUT_PAUSE_S, self.backoff_s)


@record
class Part:
    """A request of an upload. ``length`` is bytes of the body if known, ``start`` its place in the blob."""

    method: str
    url: str
    body: bytes | Iterator[bytes] | None = None
    length: int | None = None
    start: int = 0


class Writer(Protocol):
    """What an upload needs of the repository it goes to."""

    def begin(self, cancel: CancelToken) -> str:
        """Open an upload; its address."""

    def send(self, part: Part, cancel: CancelToken) -> Response:
        """One request: an answer of status 2xx, or the error of another one."""

    def known_size(self, digest: Digest, cancel: CancelToken) -> int | None:
        """The size of a blob that is there already."""


def location_of(response: Response) -> str | None:
    """Where an answer says to go on, absolute and without a password; None when it does not."""
    told = response.headers.get("Location")
    parts = None if told is None else next_address(response.url, told)
    if parts is None:
        return None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


class _Stopped(Exception):
    """The content could not be made; the reason is the body's ``error``."""


class _Body:
    """Content on its way: hashed from the beginning, given from ``skip`` on; iterable once."""

    def __init__(self, pieces: Iterator[bytes], skip: int) -> None:
        self._pieces = pieces
        self._skip = skip
        self._hash = sha256()
        self._gathered: list[bytes] = []
        self.size = 0
        self.complete = False
        self.error: BaseException | None = None

    def gather(self, limit_bytes: int) -> bytes | None:
        """The whole content where it is at most so long; else it is still to be iterated."""
        while self.size <= limit_bytes:
            piece = self._next()
            if piece is None:
                return b"".join(self._gathered)
            self._gathered.append(piece)
        return None

    def __iter__(self) -> Iterator[bytes]:
        begun = self._skip
        position = 0
        for piece in self._all():
            view = memoryview(piece)[max(0, begun - position) :]
            position += len(piece)
            for start in range(0, len(view), _PIECE_BYTES):
                yield bytes(view[start : start + _PIECE_BYTES])

    def _all(self) -> Iterator[bytes]:
        while self._gathered:
            yield self._gathered.pop(0)
        try:
            while (piece := self._next()) is not None:
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise _Stopped from error

    def _next(self) -> bytes | None:
        piece = next(self._pieces, None)
        if piece is None:
            self.complete = True
            return None
        self._hash.update(piece)
        self.size += len(piece)
        return piece

    @property
    def digest(self) -> Digest:
        """Of everything up to here."""
        return Digest(f"sha256:{self._hash.hexdigest()}")


class Upload:
    """One blob's way; used once. ``location`` is an upload that is open already, if there is one."""

    def __init__(
        self,
        writer: Writer,
        content: Content,
        retries: Retries,
        cancel: CancelToken,
        on_retry: Callable[[int], None],
        location: str | None = None,
    ) -> None:
        self._writer = writer
        self._content = content
        self._retries = retries
        self._cancel = cancel
        self._on_retry = on_retry
        self._location = location
        self._held = 0
        self._unsure = False
        self._known: Uploaded | None = None
        self._done: Uploaded | None = None

    def run(self) -> Uploaded:
        """Send it. Raises what making the content raises, BlobRefused, and every request's errors."""
        failures = refusals = 0
        renewed = False
        while True:
            held = self._held
            try:
                return self._attempt()
            except BlobRefused:
                self._cancel.check()
                refusals += 1
                if refusals > _REFUSALS:
                    raise
            except BadCredentials:
                # A token that had ended while the last blob was sent: the next one is new.
                if renewed or not self._unsure:
                    raise
                renewed = True
            except OnggiError as error:
                self._cancel.check()
                gained = self._held - held >= _WORTHWHILE_BYTES
                failures = 0 if gained else failures + 1
                self._wait(self._retries.pause_s(error, failures))

    def _wait(self, seconds: float) -> None:
        for left in range(math.ceil(seconds), 0, -1):
            self._on_retry(left)
            self._cancel.sleep(min(1.0, seconds))
            seconds -= 1.0

    def _attempt(self) -> Uploaded:
        if self._unsure:
            self._find_out()
        if self._done is not None:
            return self._done
        if self._location is None:
            self._location, self._held = self._writer.begin(self._cancel), 0
        self._unsure = True
        with self._content.open() as pieces:
            body = _Body(pieces, self._held)
            try:
                return self._send(body)
            except _Stopped:
                assert body.error is not None
                raise body.error from None
            finally:
                if body.complete:
                    self._known = self._named(body)

    def _send(self, body: _Body) -> Uploaded:
        small = body.gather(_SMALL_BYTES) if not self._held else None
        digest, size = self._content.digest, self._content.size
        if small is not None:
            self._put(digest or body.digest, small, len(small))
        elif digest is not None and size is not None and not self._held:
            self._put(digest, iter(body), size)
        else:
            self._patch(body, size if self._known is None else self._known.size)
            self._put(digest or body.digest, b"", 0)
        return self._named(body)

    def _named(self, body: _Body) -> Uploaded:
        return Uploaded(self._content.digest or body.digest, body.size)

    def _patch(self, body: _Body, size: int | None) -> None:
        assert self._location is not None
        length = None if size is None else size - self._held
        part = Part("PATCH", self._location, iter(body), length, self._held)
        response = self._writer.send(part, self._cancel)
        response.release()
        self._location = location_of(response) or self._location
        self._held = body.size

    def _put(self, digest: Digest, body: bytes | Iterator[bytes], length: int) -> None:
        assert self._location is not None
        separator = "&" if "?" in self._location else "?"
        url = f"{self._location}{separator}digest={digest.replace(':', '%3A')}"
        self._writer.send(Part("PUT", url, body, length), self._cancel).release()

    def _find_out(self) -> None:
        """After a failure: is the blob there after all, and else, how much of it is held?"""
        if self._known is not None and self._writer.known_size(self._known.digest, self._cancel) is not None:
            self._done = self._known
        elif self._location is not None:
            self._location = self._ask(self._location)
        self._unsure = False

    def _ask(self, location: str) -> str | None:
        """The address to go on at, or None when the registry has forgotten the upload."""
        try:
            response = self._writer.send(Part("GET", location), self._cancel)
        except (BlobRefused, ServerError):
            return None
        response.release()
        match = _RANGE.fullmatch(response.headers.get("Range", ""))
        last = int(match[1]) if match is not None else 0
        # "0-0" is what registries say of an upload that holds nothing.
        self._held = last + 1 if last else 0
        return location_of(response) or location
