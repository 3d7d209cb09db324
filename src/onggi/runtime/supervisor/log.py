"""What a container writes, kept in Docker's json-file form.

line   = { "log": text, "stream": "stdout" | "stderr", [ "attrs": object, ] "time": RFC 3339 } newline

An entry ends with the newline of the container's own line; a line longer than 16 KiB becomes
several entries, all but the last without it, all with the time of the first. Times have nanoseconds.

Source: moby ``daemon/logger/jsonfilelog``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring

from onggi.runtime.supervisor.loop import Loop
from onggi.runtime.supervisor.rotation import RotatingFile
from onggi.runtime.supervisor.sink import Log

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JsonFile", "NoLog", "open_log"]

# Go's escapes where Python has others; pairs are matched so that "\\b" is left alone.
_SHORT = re.compile(r"\\(?:\\|b|f)")
_LONG = {"\\b": "\\u0008", "\\f": "\\u000c"}
_BAD_BYTE = re.compile("[\udc80-\udcff]")
_TAIL_BYTES = 64 * 1024


class NoLog(Log):
    """The driver ``none``."""

    def write(self, stream: str, pieces: list[tuple[bytes, int]]) -> None:
        """Nothing is kept."""


class JsonFile(Log):
    """The driver ``json-file``. ``max_bytes`` 0 never rotates; ``max_files`` counts the live one.

    ``attributes`` are the text of a JSON object that every entry carries, or empty.
    """

    def __init__(
        self, path: str, *, max_bytes: int, max_files: int, compress: bool = False, attributes: str = ""
    ) -> None:
        self._clock = _Clock()
        self._attributes = f',"attrs":{attributes}' if attributes else ""
        self._file = RotatingFile(
            path, _cut_torn_line, max_bytes=max_bytes, max_files=max_files, compress=compress
        )

    def write(self, stream: str, pieces: list[tuple[bytes, int]]) -> None:
        """Append the pieces of one stream; a full disk loses them, never the container."""
        data = b"".join(self._entries(stream, piece, time_ns) for piece, time_ns in pieces)
        try:
            if self._file.has_room(len(data)):
                self._file.append(data)
            else:
                # They are ours: a newline is the only line end in them.
                self._file.append_each(data.splitlines(keepends=True))
        except OSError:
            return

    def _entries(self, stream: str, piece: bytes, time_ns: int) -> bytes:
        tail = f'","stream":"{stream}"{self._attributes},"time":"{self._clock.text(time_ns)}"}}\n'
        if b"\\" in piece:
            *lines, last = piece.split(b"\n")
            entries = [_entry(line + b"\n", tail) for line in lines]
            return b"".join(entries + ([_entry(last, tail)] if last else []))
        return _entry(piece, tail)

    def close(self, done: Callable[[], None] = lambda: None) -> None:
        """No more writes."""
        self._file.close()
        done()


def open_log(settings: dict[str, Any], loop: Loop, drained: Callable[[], None]) -> Log:
    """The log that instructions describe: ``{"type": …, "path": …, …}``. Raises OSError.

    ``drained`` is called when a log that was full is no longer.
    """
    if settings["type"] == "none":
        return NoLog()
    if settings["type"] == "remote":
        from onggi.runtime.supervisor.remote_log import RemoteLog  # before the start, for who asked for it

        return RemoteLog(loop, settings, drained)
    rotation = {name: settings[name] for name in ("max_bytes", "max_files", "compress")}
    if settings["type"] == "local":
        from onggi.runtime.supervisor.local_log import LocalFile  # before the start, for who asked for it

        return LocalFile(settings["path"], **rotation)
    return JsonFile(settings["path"], attributes=settings["attributes"], **rotation)


def _cut_torn_line(fd: int) -> int:
    """Truncate what a crash left of a line; returns the size."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    start = max(0, size - _TAIL_BYTES)
    end = os.pread(fd, size - start, start).rfind(b"\n")
    whole = start + end + 1 if end >= 0 else start
    os.ftruncate(fd, whole)
    return whole


def _entry(piece: bytes, tail: str) -> bytes:
    """The entries of whole lines without a backslash (so that ``\\n`` means newline), or one entry."""
    text = _quoted(piece)
    if text.endswith("\\n"):
        text = text[:-2].replace("\\n", f'\\n{tail}{{"log":"') + "\\n"
    return f'{{"log":"{text}{tail}'.encode()


def _quoted(piece: bytes) -> str:
    """The inside of a JSON string as Go writes it: ``<>&`` escaped, U+FFFD for bytes that are no UTF-8."""
    text = encode_basestring(piece.decode("utf-8", "surrogateescape"))[1:-1]
    if "\\b" in text or "\\f" in text:
        text = _SHORT.sub(lambda match: _LONG.get(match[0], match[0]), text)
    for character in "<>&\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text if text.isascii() else _BAD_BYTE.sub(r"\\ufffd", text)


class _Clock:
    """Nanoseconds since 1970 as RFC 3339 text, the seconds' part made once."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, time_ns: int) -> str:
        """Trailing zeros of the fraction left out, as Go does."""
        second, fraction = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        digits = f".{fraction:09d}".rstrip("0") if fraction else ""
        return f"{self._text}{digits}Z"
