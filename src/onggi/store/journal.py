"""What happened in a data root: an append-only journal that needs no daemon.

``onggi/events/journal.jsonl`` holds one event a line, in Docker's shape::

    {"Type":"image","Action":"pull","Actor":{"ID":"nginx:latest","Attributes":{…}},"time":…,"timeNano":…}

How lines are written and read, and what becomes of a torn one, is in :mod:`json_lines`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from onggi.record import field, record
from onggi.store.json_lines import JsonLines, parse_lines
from onggi.store.locks import LockDirectory

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Event", "Journal"]

_WITH_STATUS = ("container", "image")


@record
class Event:
    """One event. ``time_ns`` is nanoseconds since 1970 (UTC); ``id`` is Docker's Actor.ID."""

    type: str
    action: str
    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    time_ns: int = 0

    def to_json(self) -> dict[str, Any]:
        """Docker's JSON, with the fields of API ≤ 1.51 (status, id) where Docker has them."""
        old = {"status": self.action, "id": self.id} if self.type in _WITH_STATUS else {}
        return {
            **old,
            "Type": self.type,
            "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": dict(self.attributes)},
            "scope": "local",
            "time": self.time_ns // 10**9,
            "timeNano": self.time_ns,
        }


class Journal:
    """Appends events and reads them back; many processes may do both."""

    def __init__(self, directory: Path, locks: LockDirectory) -> None:
        self.directory = directory
        self._lines = JsonLines(directory / "journal.jsonl", locks)

    def append(self, event: Event) -> None:
        """Write one event; not flushed: a power cut may lose the last ones."""
        self._lines.append([event.to_json()])

    def read(self) -> Iterator[Event]:
        """Every event on disk, oldest first."""
        return _events(self._lines.read())

    def follow(self) -> JournalTail:
        """A cursor at the present end of the journal, for events yet to come."""
        return JournalTail(self._lines.path)


class JournalTail:
    """Reads what is appended after it was made; survives rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode, self._offset = _identity(path)
        self._rest = b""

    def read(self) -> list[Event]:
        """Events that have come since the last call; empty when there are none."""
        events: list[Event] = []
        inode, size = _identity(self._path)
        if inode != self._inode:
            self._inode, self._offset, self._rest = inode, 0, b""
        if size > self._offset:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = self._rest + file.read(size - self._offset)
            self._offset = size
            lines = data.split(b"\n")
            self._rest = lines.pop()
            events.extend(_events(parse_lines(lines)))
        return events


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_size


def _events(documents: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    for document in documents:
        try:
            actor = document["Actor"]
            yield Event(
                document["Type"], document["Action"], actor["ID"], actor["Attributes"], document["timeNano"]
            )
        except (KeyError, TypeError):
            continue
