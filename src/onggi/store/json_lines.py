"""A file of JSON objects, one a line, that only grows.

A line is written by one ``write`` on an ``O_APPEND`` descriptor, so writers do not mix. A
line torn by a crash is passed over, and never grows together with the next one. Past the
size limit ``<name>.jsonl`` becomes ``<name>.1.jsonl`` and a new one begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from onggi.store.locks import LockDirectory

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JsonLines", "parse_lines"]

# Bytes; two files of this size hold about 60,000 lines.
_ROTATE_AT_BYTES = 8 * 1024 * 1024


class JsonLines:
    """Appends objects and reads them back; many processes may do both."""

    def __init__(self, path: Path, locks: LockDirectory) -> None:
        self.path = path
        self._previous = path.with_suffix(f".1{path.suffix}")
        self._locks = locks

    def append(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Write objects, all or (after a crash) the first of them; not flushed."""
        lines = "".join(_line(document) for document in documents)
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, ("\n" * torn + lines).encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
        if size > _ROTATE_AT_BYTES:
            self._rotate()

    def write_back(self) -> None:
        """Have what was written on its way to the disk; :meth:`flush` finds little to do then."""
        # Imported here: reading needs none of it.
        from onggi.linux.filesystem import write_back

        self._each(write_back)

    def flush(self) -> None:
        """What was appended so far is durable from here on."""
        self._each(os.fdatasync)

    def _each(self, step: Callable[[int], None]) -> None:
        """The file that grows, and the one that a rotation may have made of it just now."""
        for path in (self.path, self._previous):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                step(fd)
            finally:
                os.close(fd)

    def _rotate(self) -> None:
        with self._locks.acquire("journal", exclusive=True):
            if os.stat(self.path).st_size > _ROTATE_AT_BYTES:
                os.rename(self.path, self._previous)

    def read(self) -> Iterator[dict[str, Any]]:
        """Every object on disk, oldest first."""
        for path in (self._previous, self.path):
            try:
                with open(path, "rb") as file:
                    yield from parse_lines(file)
            except FileNotFoundError:
                continue


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"


def parse_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of some lines; what is none is passed over."""
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document
