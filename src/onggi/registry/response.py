"""An answer that is still open: read once, given back to its pool or broken off."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from onggi.errors import OnggiError
from onggi.registry.errors import BrokenRegistry
from onggi.registry.foreign import one_line
from onggi.registry.network_errors import translate
from onggi.registry.sockets import Watch

__all__ = ["Response"]

# Bytes of an answer that is read whole: manifests are limited to 4 MiB, token answers are small.
_MAX_BODY_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
# Seconds that a reader waits for more before it passes on what it has: TLS gives 16 KiB at a
# time, and each piece costs a write, a digest and a message to the unpacker.
_GATHER_S = 0.02


class Response:
    """Status, headers, and a body to be read once by one thread."""

    def __init__(
        self,
        raw: BaseHTTPResponse,
        url: str,
        where: str,
        watch: Watch,
        stall_s: float,
        *,
        go_prefix: bool,
    ) -> None:
        self._raw = raw
        self._where = where
        self._watch = watch
        self._stall_s = stall_s
        self._go_prefix = go_prefix
        self._pending: OnggiError | None = None
        self._done = False
        self.url = url
        self.status = raw.status
        self.reason = one_line(raw.reason or "")
        self.headers: Mapping[str, str] = raw.headers

    def header_lines(self, name: str) -> list[str]:
        """Every line of a header, in order."""
        lines: list[str] = self._raw.headers.getlist(name)
        return list(lines)

    @property
    def content_length(self) -> int | None:
        """Bytes of the body as announced."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else None

    def read_into(self, view: memoryview) -> int:
        """The next bytes as they travelled; 0 at the end.

        Returns with less than the view holds when the other side pauses. Raises NetworkError
        when the connection breaks, Cancelled, DeadlineExceeded.
        """
        if self._pending is not None:
            raise self._pending
        count = 0
        gather_until = 0.0
        while count < len(view) and not self._done:
            if count and not self._watch.readable(gather_until - monotonic()):
                break
            try:
                piece = self._next(len(view) - count)
            except OnggiError as error:
                if not count:
                    raise
                self._pending = error
                return count
            view[count : count + len(piece)] = piece
            count += len(piece)
            gather_until = gather_until or monotonic() + _GATHER_S
        return count

    def _next(self, limit_bytes: int) -> bytes:
        try:
            piece = self._raw.read1(limit_bytes, decode_content=False)
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            self._end()
            self._watch.cancel.check()
            raise translate(self._where, self.url, error, self._stall_s, go_prefix=self._go_prefix) from error
        if not piece or self._raw.length_remaining == 0:
            self._end()
            if not piece:
                # A shut-down connection looks like the end of a body of unannounced length.
                self._watch.cancel.check()
        return piece

    def _end(self) -> None:
        self._done = True
        self._watch.end()

    def body(self, limit_bytes: int = _MAX_BODY_BYTES) -> bytes:
        """Everything, at most ``limit_bytes``. Raises BrokenRegistry when there is more."""
        pieces: list[bytes] = []
        room = limit_bytes - (self._raw.length_remaining or 0)
        try:
            if room >= 0:
                room = limit_bytes
                while room >= 0 and not self._done and (piece := self._next(_PIECE_BYTES)):
                    pieces.append(piece)
                    room -= len(piece)
        finally:
            self.close()
        if room < 0:
            raise BrokenRegistry(
                f"{self._where}: the answer is longer than {limit_bytes} bytes",
                hint="no registry has a reason for that",
            )
        return b"".join(pieces)

    def release(self) -> None:
        """Let go of an answer whose body does not matter: a short one is read, so the connection lives on."""
        length = self._raw.length_remaining
        if not self._done and length is not None and length <= _PIECE_BYTES:
            try:
                self.body()
            except OnggiError:
                pass
        self.close()

    def close(self) -> None:
        """End it: a connection that is not at the end of the body is dropped."""
        self._watch.end()
        if not self._done:
            self._done = True
            self._raw.close()
