"""What containers wrote, read back from Docker's json-file logs.

Rotated files are read first, oldest first. A line torn by a crash is passed over.

Source: moby ``daemon/logger/jsonfilelog``, ``loggerutils/logfile.go``; docker-engine §4.8.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.errors import InvalidArgument, Unsupported
from onggi.oci.timestamps import parse_ns
from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any, BinaryIO

__all__ = ["LogEntry", "UnreadableLog", "log_settings", "read_log"]

# Docker never rotates unless told to; a disk filled by one container is nobody's wish.
_DEFAULT_MAX_BYTES, _DEFAULT_MAX_FILES = 100 * 1024 * 1024, 5
_POLL_S = 0.1
_BLOCK_BYTES = 64 * 1024
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_KNOWN_OPTIONS = frozenset(
    {
        "max-size",
        "max-file",
        "compress",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "tag",
        "mode",
        "max-buffer-size",
    }
)


class UnreadableLog(Unsupported):
    """The container's log driver keeps nothing that can be read here."""

    def __init__(self, driver: str) -> None:
        super().__init__("configured logging driver does not support reading", hint=f"it is {driver}")


@record
class LogEntry:
    """One entry. ``stream`` is stdout or stderr, ``data`` has the newline that the container wrote."""

    stream: str
    data: bytes
    time_ns: int


# --- settings -----------------------------------------------------------------------------------


def log_settings(host_config: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What a supervisor is told about the log. Raises InvalidArgument, Unsupported."""
    given = host_config.get("LogConfig") or {}
    kind, options = given.get("Type") or "json-file", given.get("Config") or {}
    if kind == "none":
        return {"type": "none"}
    if kind != "json-file":
        raise Unsupported(f"logger: no log driver named '{kind}' is registered", hint="use json-file or none")
    for name in options:
        if name not in _KNOWN_OPTIONS:
            raise InvalidArgument(f"unknown log opt '{name}' for json-file log driver")
    max_bytes = _size(options.get("max-size"))
    max_files = _count(options.get("max-file"), default=1 if "max-size" in options else _DEFAULT_MAX_FILES)
    return {
        "type": kind,
        "path": path,
        "max_bytes": max_bytes,
        "max_files": max_files,
        "compress": options.get("compress", "false").lower() in ("1", "t", "true"),
    }


def _size(text: str | None) -> int:
    """Bytes; 0 for no limit (``-1``)."""
    if text is None:
        return _DEFAULT_MAX_BYTES
    if text == "-1":
        return 0
    lower = text.lower().removesuffix("ib").removesuffix("b") or text
    digits, unit = (lower[:-1], lower[-1]) if lower[-1:].isalpha() else (lower, "")
    try:
        size = int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError):
        raise InvalidArgument(f"invalid size: '{text}'", hint="like 10m: --log-opt max-size=10m") from None
    if size <= 0:
        raise InvalidArgument("max-size must be a positive number")
    return size


def _count(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isdigit() or int(text) < 1:
        raise InvalidArgument("max-file cannot be less than 1", hint="a number: --log-opt max-file=3")
    return int(text)


# --- reading ------------------------------------------------------------------------------------


def read_log(
    path: Path,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    tail: int | None = None,
    follow: Callable[[], bool] | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[LogEntry]:
    """Entries in order. ``tail``: the last ones only; ``follow`` says whether more can still come."""
    reader = _Reader(path)
    # Asked before reading: what comes until the answer was no is then on disk.
    more = follow is not None and follow()
    known: Iterator[LogEntry] = reader.known()
    if tail is not None:
        known = iter(deque(known, maxlen=tail) if tail else _drained(known))
    yield from _within(known, since_ns, until_ns)
    token = cancel or CancelToken()
    while follow is not None:
        if until_ns is not None and time.time_ns() >= until_ns:
            return
        fresh = list(_within(reader.fresh(), since_ns, until_ns))
        yield from fresh
        if not more and not fresh:
            return
        if more and not fresh:
            token.sleep(_POLL_S)
        more = follow()


def _drained(entries: Iterator[LogEntry]) -> list[LogEntry]:
    """Nothing of what is there, but read past it."""
    for _ in entries:
        pass
    return []


def _within(entries: Iterator[LogEntry], since_ns: int | None, until_ns: int | None) -> Iterator[LogEntry]:
    for entry in entries:
        if since_ns is not None and entry.time_ns < since_ns:
            continue
        if until_ns is not None and entry.time_ns > until_ns:
            return
        yield entry


class _Reader:
    """Reads a log and its rotated files, and goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def known(self) -> Iterator[LogEntry]:
        """Everything there is. The live file is opened first: what rotates meanwhile is still in it."""
        self._open()
        for path in self._rotated():
            with _open_any(path) as file:
                yield from _entries(file)
        yield from self._read()

    def fresh(self) -> Iterator[LogEntry]:
        """What has come since, across a rotation."""
        yield from self._read()
        if self._moved():
            yield from self._read()
            self._close()
            self._open()
            yield from self._read()

    def _open(self) -> None:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            self._file = None

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._rest = b""

    def _rotated(self) -> list[Path]:
        """Oldest first."""
        numbers: dict[int, Path] = {}
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            number = path.name.removeprefix(f"{self._path.name}.").removesuffix(".gz")
            if number.isdigit():
                numbers[int(number)] = path
        return [numbers[number] for number in sorted(numbers, reverse=True)]

    def _moved(self) -> bool:
        try:
            current = os.stat(self._path).st_ino
        except FileNotFoundError:
            return False
        return self._file is None or os.fstat(self._file.fileno()).st_ino != current

    def _read(self) -> Iterator[LogEntry]:
        if self._file is None:
            return
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)  # one file only: it began anew
            self._rest = b""
        while block := self._file.read(_BLOCK_BYTES):
            *lines, self._rest = (self._rest + block).split(b"\n")
            for line in lines:
                entry = _entry(line)
                if entry is not None:
                    yield entry


def _open_any(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _entries(lines: Iterator[bytes]) -> Iterator[LogEntry]:
    for line in lines:
        entry = _entry(line)
        if entry is not None:
            yield entry


def _entry(line: bytes) -> LogEntry | None:
    try:
        document = json.loads(line)
        time_ns = parse_ns(document["time"])
        data = document["log"].encode("utf-8", "surrogateescape")
        return None if time_ns is None else LogEntry(document["stream"], data, time_ns)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
