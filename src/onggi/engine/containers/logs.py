"""What containers wrote, read back from log files (log_entries.py).

Rotated files are read first, oldest first. What a crash tore is passed over.

Source: moby ``loggerutils/logfile.go``; docker-engine §4.8.
"""

from __future__ import annotations

import gzip
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.engine.containers.log_drivers import DEFAULT_DRIVER
from onggi.engine.containers.log_entries import Decoder, LogEntry, decode_json, decode_local
from onggi.engine.containers.log_settings import log_driver, log_file
from onggi.engine.core import Core
from onggi.errors import Unsupported
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any, BinaryIO

__all__ = ["UnreadableLog", "container_log", "read_log"]

_POLL_S = 0.1
_BLOCK_BYTES = 64 * 1024


class UnreadableLog(Unsupported):
    """The container's log driver keeps nothing that can be read here."""

    def __init__(self, driver: str) -> None:
        super().__init__("configured logging driver does not support reading", hint=f"it is {driver}")


def container_log(core: Core, stored: StoredContainer, **how: Any) -> Iterator[LogEntry]:
    """:func:`read_log` of a container's log, wherever its driver keeps it. Raises UnreadableLog."""
    kind, _ = log_driver(stored)
    path = log_file(stored, core.containers.path(stored.id))
    if path is None:
        raise UnreadableLog(kind)
    return read_log(path, decode_json if kind == DEFAULT_DRIVER else decode_local, **how)


def read_log(
    path: Path,
    decode: Decoder = decode_json,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    tail: int | None = None,
    follow: Callable[[], bool] | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[LogEntry]:
    """Entries in order. ``tail``: the last ones only; ``follow`` says whether more can still come."""
    reader = _Reader(path, decode)
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

    def __init__(self, path: Path, decode: Decoder) -> None:
        self._path = path
        self._decode = decode
        self._file: BinaryIO | None = None
        self._rest = b""

    def known(self) -> Iterator[LogEntry]:
        """Everything there is. The live file is opened first: what rotates meanwhile is still in it."""
        self._open()
        for path in self._rotated():
            with _open_any(path) as file:
                yield from self._blocks(file, b"")
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
        yield from self._blocks(self._file, self._rest)

    def _blocks(self, file: BinaryIO, rest: bytes) -> Iterator[LogEntry]:
        """Whole entries; what is left of the last one is kept for the live file's next bytes."""
        while block := file.read(_BLOCK_BYTES):
            entries, rest = self._decode(rest + block)
            if file is self._file:
                self._rest = rest
            yield from entries


def _open_any(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
