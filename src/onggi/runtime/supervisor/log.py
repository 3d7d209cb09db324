"""What a container writes, kept in Docker's json-file form.

line   = { "log": text, "stream": "stdout" | "stderr", "time": RFC 3339 with nanoseconds } newline

An entry ends with the newline of the container's own line; a line longer than 16 KiB becomes
several entries, all but the last without it, all with the time of the first. Files rotate:
``<log>``, ``<log>.1``, ``<log>.2``, the higher the older.

Source: moby ``daemon/logger/copier.go``, ``jsonfilelog``, ``loggerutils/logfile.go``.
"""

from __future__ import annotations

import os
import re
import time
from json.encoder import encode_basestring

__all__ = ["JsonFile", "LineSplitter", "NoLog", "open_log"]

_PIECE_BYTES = 16 * 1024
# Go's escapes where Python has others; pairs are matched so that "\\b" is left alone.
_SHORT = re.compile(r"\\(?:\\|b|f)")
_LONG = {"\\b": "\\u0008", "\\f": "\\u000c"}
_BAD_BYTE = re.compile("[\udc80-\udcff]")
_TAIL_BYTES = 64 * 1024


class LineSplitter:
    """Cuts one stream into pieces: whole lines that came together, or a part of a long one."""

    __slots__ = ("_held", "_held_since")

    def __init__(self) -> None:
        self._held = b""
        self._held_since = 0

    def feed(self, data: bytes, now_ns: int) -> list[tuple[bytes, int]]:
        """Pieces that are complete, each with its time; the rest is held back."""
        pieces: list[tuple[bytes, int]] = []
        if self._held:
            line, newline, data = data.partition(b"\n")
            self._add(line, now_ns, pieces)
            if newline:
                self._end_line(now_ns, pieces)
        end = data.rfind(b"\n") + 1
        if end and _has_short_lines(data, end):
            pieces.append((data[:end], now_ns))
        else:
            for line in data[:end].split(b"\n")[:-1]:
                self._add(line, now_ns, pieces)
                self._end_line(now_ns, pieces)
        self._add(data[end:], now_ns, pieces)
        return pieces

    def _add(self, data: bytes, now_ns: int, pieces: list[tuple[bytes, int]]) -> None:
        """Hold ``data`` after what is held; full pieces of a long line go out without a newline."""
        if not data:
            return
        self._held += data
        self._held_since = self._held_since or now_ns
        while len(self._held) >= _PIECE_BYTES:
            pieces.append((self._held[:_PIECE_BYTES], self._held_since))
            self._held = self._held[_PIECE_BYTES:]

    def _end_line(self, now_ns: int, pieces: list[tuple[bytes, int]]) -> None:
        pieces.append((self._held + b"\n", self._held_since or now_ns))
        self._held, self._held_since = b"", 0

    def end(self, now_ns: int) -> list[tuple[bytes, int]]:
        """What is left at the end of the stream."""
        held, since = self._held, self._held_since or now_ns
        self._held, self._held_since = b"", 0
        return [(held, since)] if held else []


def _has_short_lines(data: bytes, end: int) -> bool:
    """True when no line before ``end`` can be as long as a piece: every half piece has a newline."""
    half = _PIECE_BYTES // 2
    return all(data.find(b"\n", start, start + half) >= 0 for start in range(0, end, half))


class NoLog:
    """The driver ``none``."""

    def write(self, stream: str, pieces: list[tuple[bytes, int]]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""


class JsonFile:
    """The driver ``json-file``. ``max_bytes`` 0 never rotates; ``max_files`` counts the live one."""

    def __init__(self, path: str, *, max_bytes: int, max_files: int, compress: bool = False) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max(1, max_files)
        self._compress = compress
        self._clock = _Clock()
        self._fd = _open(path)
        self._size = _cut_torn_line(self._fd)

    def write(self, stream: str, pieces: list[tuple[bytes, int]]) -> None:
        """Append the pieces of one stream; a full disk loses them, never the container."""
        data = b"".join(self._entries(stream, piece, time_ns) for piece, time_ns in pieces)
        try:
            if not self._max_bytes or self._size + len(data) <= self._max_bytes:
                self._append(data)
            else:
                self._append_by_line(data)
        except OSError:
            return

    def _append(self, data: bytes) -> None:
        self._size += os.write(self._fd, data)

    def _append_by_line(self, data: bytes) -> None:
        """As Docker does: a file that has reached its size is left before the next entry."""
        waiting: list[bytes] = []
        for line in data.splitlines(keepends=True):  # of ours: a newline is the only line end in them
            if self._size + sum(map(len, waiting)) >= self._max_bytes:
                self._append(b"".join(waiting))
                waiting.clear()
                self._rotate()
            waiting.append(line)
        self._append(b"".join(waiting))

    def _entries(self, stream: str, piece: bytes, time_ns: int) -> bytes:
        tail = f'","stream":"{stream}","time":"{self._clock.text(time_ns)}"}}\n'
        if b"\\" in piece:
            *lines, last = piece.split(b"\n")
            entries = [_entry(line + b"\n", tail) for line in lines]
            return b"".join(entries + ([_entry(last, tail)] if last else []))
        return _entry(piece, tail)

    def _rotate(self) -> None:
        try:
            if self._max_files == 1:
                os.ftruncate(self._fd, 0)
                self._size = 0
                return
            self._shift()
            fresh = _open(self._path)
        except OSError:
            return  # a full disk: go on in the old file
        os.close(self._fd)
        self._fd, self._size = fresh, 0
        if self._compress:
            _compress(self._named(1))

    def _shift(self) -> None:
        """Every file gets the next number; the oldest one goes."""
        for number in range(self._max_files - 1, 0, -1):
            newer, older = self._named(number - 1), self._named(number)
            for end in ("", ".gz"):
                if os.path.exists(newer + end):
                    os.rename(newer + end, older + end)
                elif os.path.exists(older + end):
                    os.unlink(older + end)

    def _named(self, number: int) -> str:
        return f"{self._path}.{number}" if number else self._path

    def close(self) -> None:
        """No more writes."""
        os.close(self._fd)


def open_log(settings: dict[str, object]) -> JsonFile | NoLog:
    """The log that instructions describe: ``{"type": …, "path": …, "max_bytes": …, …}``."""
    if settings["type"] == "none":
        return NoLog()
    return JsonFile(
        str(settings["path"]),
        max_bytes=int(str(settings["max_bytes"])),
        max_files=int(str(settings["max_files"])),
        compress=bool(settings["compress"]),
    )


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _compress(path: str) -> None:
    """Best effort: the log is whole without."""
    try:
        _write_compressed(path)
    except OSError:
        return


def _write_compressed(path: str) -> None:
    import zlib  # only who asks for it pays for it

    packer = zlib.compressobj(wbits=31)
    with open(path, "rb") as source, open(f"{path}.gz.tmp", "wb") as target:
        while piece := source.read(256 * 1024):
            target.write(packer.compress(piece))
        target.write(packer.flush())
    os.rename(f"{path}.gz.tmp", f"{path}.gz")
    os.unlink(path)


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
