"""Overlay2's own files of a layer, checked one by one, and made anew from what else is known.

``link`` can be had from the short names under ``l/`` and from the children's ``lower``;
``lower`` from the parent; ``committed`` from there being a child. Only ``diff`` cannot be made
up: that is the layer itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from onggi.drivers.flaw import Flaw
from onggi.oci.digest import CacheID, LinkID
from onggi.store.atomic import (
    make_directory,
    read_optional,
    remove_temporary_files,
    sync_directory,
    write_file,
)

__all__ = ["Overlay2Files"]

_LINK = re.compile(r"[A-Z2-7]{26}")


class Overlay2Files:
    """The files of one layer. ``children`` are the layers on top of it, ``used``: something stands on it."""

    def __init__(
        self, home: Path, cache_id: CacheID, parent: CacheID | None, children: list[CacheID], *, used: bool
    ) -> None:
        self._home = home
        self._cache_id = cache_id
        self._base = home / cache_id
        self._parent = parent
        self._children = children
        self._used = used

    def flaws(self) -> Iterator[Flaw]:
        """What is wrong, in the order in which Docker would stumble on it."""
        if not (self._base / "diff").is_dir():
            yield Flaw("overlay2/diff", f"the directory {self._base / 'diff'} is missing", False)
            return
        link = self.link()
        if _text(self._base / "link") != link:
            yield Flaw("overlay2/link", "is missing, empty, or not the short name in use", True)
        if link is None or _readlink(self._home / "l" / link) != self._target:
            yield Flaw(f"overlay2/l/{link or '?'}", f"does not lead to {self._target}", True)
        expected = self._expected_lower()
        if expected is not None and _text(self._base / "lower") != expected:
            yield Flaw("overlay2/lower", "does not name the layers below", True)
        if self._parent is not None and not (self._base / "work").is_dir():
            yield Flaw("overlay2/work", "is missing", True)
        if self._used and not (self._base / "committed").exists():
            yield Flaw("overlay2/committed", "is missing, though something stands on the layer", True)

    def mend(self) -> list[str]:
        """Make anew what is wrong but ``diff``; returns the files. The parent must be mended before."""
        mended = [flaw.file for flaw in self.flaws() if flaw.mendable]
        if not mended:
            return []
        remove_temporary_files(self._base)
        link = self.link() or LinkID.random()
        write_file(self._base / "link", link.encode("ascii"), 0o644)
        self._lead(link)
        lower = self._expected_lower()
        if lower:
            write_file(self._base / "lower", lower.encode("ascii"), 0o644)
        elif lower == "":
            (self._base / "lower").unlink(missing_ok=True)
        if self._parent is not None:
            make_directory(self._base / "work", 0o700)
        if self._used and not (self._base / "committed").exists():
            write_file(self._base / "committed", b"", 0o600)
        sync_directory(self._base)
        return mended

    def _lead(self, link: LinkID) -> None:
        path = self._home / "l" / link
        make_directory(path.parent, 0o700)
        if _readlink(path) != self._target:
            path.unlink(missing_ok=True)
            os.symlink(self._target, path)
            sync_directory(path.parent)

    @property
    def _target(self) -> str:
        return f"../{self._cache_id}/diff"

    def link(self) -> LinkID | None:
        """The short name in use: the file's, if it leads here, else the children's, else one that does."""
        own = _link(_text(self._base / "link"))
        if own is not None and _readlink(self._home / "l" / own) == self._target:
            return own
        by_children = [_link(_first_lower(self._home / child)) for child in self._children]
        candidates = [*by_children, *self._names_leading_here(), own]
        return next((name for name in candidates if name is not None), None)

    def _names_leading_here(self) -> list[LinkID | None]:
        try:
            names = sorted(os.listdir(self._home / "l"))
        except FileNotFoundError:
            return []
        return [_link(name) for name in names if _readlink(self._home / "l" / name) == self._target]

    def _expected_lower(self) -> str | None:
        """None when the parent's own files do not tell."""
        if self._parent is None:
            return ""
        link = _link(_text(self._home / self._parent / "link"))
        if link is None:
            return None
        above = _text(self._home / self._parent / "lower")
        return f"l/{link}:{above}" if above else f"l/{link}"


def _text(path: Path) -> str:
    return (read_optional(path) or b"").decode("ascii", "replace").strip()


def _link(text: str) -> LinkID | None:
    return LinkID(text) if _LINK.fullmatch(text) else None


def _first_lower(directory: Path) -> str:
    return _text(directory / "lower").split(":")[0].removeprefix("l/")


def _readlink(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
