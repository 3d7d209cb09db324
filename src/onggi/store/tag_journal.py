"""What each name meant, since when, and by which verb: every change of ``repositories.json``.

``onggi/tags/journal.jsonl`` holds one change a line::

    {"time":<ns>,"name":"nginx:latest","before":"sha256:…","after":"sha256:…","by":"pull","digest":"sha256:…"}

``before`` or ``after`` is null where the name did not exist; ``digest`` is that of the
manifest or index a pull resolved. A change is written and flushed *before*
``repositories.json`` is, under the lock of that file: nothing that happened is missing. What
was written and then did not happen (a kill in between) shows by what the next change says
was there before, and so does what somebody else (a dockerd) changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from onggi.oci.digest import ImageID
from onggi.record import record
from onggi.store.atomic import make_directory
from onggi.store.json_lines import JsonLines
from onggi.store.locks import LockDirectory

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["OUTSIDE", "TagChange", "TagJournal"]

# Who made a change that this journal does not hold: dockerd, or an editor.
OUTSIDE = "outside"


@record
class TagChange:
    """A name (familiar form) came to mean another image.

    ``time_ns`` is nanoseconds since 1970, None where nobody noted it. None for an image
    means that the name did not exist.
    """

    name: str
    before: ImageID | None
    after: ImageID | None
    by: str
    digest: str | None = None
    time_ns: int | None = None


class TagJournal:
    """Append-only; read whole, since a store changes names a few times a day."""

    def __init__(self, directory: Path, locks: LockDirectory) -> None:
        self._directory = directory
        self._lines = JsonLines(directory / "journal.jsonl", locks)

    def append(self, changes: Sequence[TagChange]) -> None:
        """Write changes that are about to happen; :meth:`flush` makes them durable, before they do."""
        make_directory(self._directory, 0o700)
        self._lines.append(_to_json(change) for change in changes)
        self._lines.write_back()

    def flush(self) -> None:
        """What was written is durable from here on."""
        self._lines.flush()

    def history(self, name: str, current: ImageID | None) -> list[TagChange]:
        """What became of a name, newest change first; ``current`` is what it means now."""
        return _reconciled(name, list(self._of(name)), current)

    def _of(self, name: str) -> Iterable[TagChange]:
        for document in self._lines.read():
            if document.get("name") == name:
                try:
                    yield _from_json(document)
                except (KeyError, TypeError, ValueError):
                    continue


def _reconciled(name: str, written: list[TagChange], current: ImageID | None) -> list[TagChange]:
    """Drop what did not happen, add what others did, newest first."""
    history = []
    meaning = current
    for change in reversed(written):
        if change.after != meaning:
            if change.before == meaning:
                # Written, then the writer was killed: the name stayed what it was.
                continue
            history.append(TagChange(name, change.after, meaning, OUTSIDE))
        history.append(change)
        meaning = change.before
    if meaning is not None:
        history.append(TagChange(name, None, meaning, OUTSIDE))
    return history


def _to_json(change: TagChange) -> dict[str, Any]:
    document = {
        "time": change.time_ns,
        "name": change.name,
        "before": change.before,
        "after": change.after,
        "by": change.by,
    }
    return document if change.digest is None else {**document, "digest": change.digest}


def _from_json(document: dict[str, Any]) -> TagChange:
    return TagChange(
        str(document["name"]),
        _image_id(document["before"]),
        _image_id(document["after"]),
        str(document["by"]),
        document.get("digest"),
        int(document["time"]),
    )


def _image_id(text: Any) -> ImageID | None:
    return None if text is None else ImageID(text)
