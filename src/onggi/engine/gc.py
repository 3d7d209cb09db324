"""``gc``: remove what nothing refers to, and tell of everything why it goes or stays.

Mark (:mod:`marks`), then sweep (:mod:`sweep`), one kind of thing after the other. Images are
never removed here, named or not: that is ``image prune`` and ``system prune``, since a user
may know an image by its id alone. What goes is what no user could reach: layers no image
uses, directories no layer names, what killed processes and crashed Dockers left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from onggi.engine.core import Core
from onggi.record import record

__all__ = ["GcItem", "GcReport", "collect"]

KEEP, REMOVE, BUSY = "keep", "remove", "busy"


@record
class GcItem:
    """One thing looked at: what, called what, ``keep``, ``remove`` or ``busy``, and why.

    ``size_bytes`` are blocks on disk: what removing it frees.
    """

    kind: str
    name: str
    verdict: str
    reason: str
    size_bytes: int
    path: str = ""


@record
class GcReport:
    """``items``: what was removed or is in use; with ``explain`` what stays as well."""

    items: tuple[GcItem, ...]
    dry_run: bool

    @property
    def removed(self) -> list[GcItem]:
        """What went (in a dry run: what would go)."""
        return [item for item in self.items if item.verdict == REMOVE]

    @property
    def reclaimed_bytes(self) -> int:
        """Σ blocks of what went."""
        return sum(item.size_bytes for item in self.removed)


@record
class Found:
    """A thing before anything is done: ``remove`` is None when it stays.

    ``remove`` returns False when somebody uses the thing after all. ``size_bytes`` is asked
    before that, and only of what is reported.
    """

    kind: str
    name: str
    reason: str
    size_bytes: Callable[[], int]
    remove: Callable[[], bool] | None = None
    path: str = ""
    busy: bool = False


def stays(kind: str, name: str, path: Path, reason: str, *, busy: bool = False) -> Found:
    """A file or directory that is left alone."""
    return Found(kind, name, reason, partial(_usage, path), None, str(path), busy)


def goes(kind: str, name: str, path: Path, reason: str, remove: Callable[[], bool]) -> Found:
    """A file or directory that is to be removed."""
    return Found(kind, name, reason, partial(_usage, path), remove, str(path))


def discard(core: Core, path: Path) -> bool:
    """Delete what nobody can hold a lease on."""
    core.trash.discard(path)
    return True


def _usage(path: Path) -> int:
    from onggi.tree.size import disk_usage

    return disk_usage(path)


def collect(core: Core, *, explain: bool, dry_run: bool) -> GcReport:
    """Mark and sweep; a dry run changes nothing and needs no right to."""
    if dry_run:
        return GcReport(tuple(_sweep(core, explain=explain, dry_run=True)), dry_run=True)
    with core.writing():
        return GcReport(tuple(_sweep(core, explain=explain, dry_run=False)), dry_run=False)


def _sweep(core: Core, *, explain: bool, dry_run: bool) -> Iterator[GcItem]:
    from onggi.engine.marks import mark
    from onggi.engine.sweep import everything

    for found in everything(core, mark(core)):
        if found.remove is None:
            if explain or found.busy:
                yield _item(found, BUSY if found.busy else KEEP, found.size_bytes())
            continue
        size_bytes = found.size_bytes()
        if dry_run or found.remove():
            yield _item(found, REMOVE, size_bytes)
        else:
            yield _item(found, BUSY, size_bytes)


def _item(found: Found, verdict: str, size_bytes: int) -> GcItem:
    return GcItem(found.kind, found.name, verdict, found.reason, size_bytes, found.path)
