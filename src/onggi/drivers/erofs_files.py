"""erofs's own files of a layer, checked one by one, and made anew from what else is known.

``parent`` follows from layerdb. What is derived from the tar (index, checksums) is only looked
at here; whether it fits the tar, verify tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onggi.drivers.erofs_names import DIFF, INDEX, PARENT, SUMS, TAR
from onggi.drivers.flaw import Flaw
from onggi.errors import OnggiError
from onggi.oci.digest import CacheID
from onggi.store.atomic import read_optional, remove_temporary_files, write_file

__all__ = ["ErofsFiles"]


class ErofsFiles:
    """The files of one layer, whose layer right below is ``parent``."""

    def __init__(self, home: Path, cache_id: CacheID, parent: CacheID | None) -> None:
        self._base = home / cache_id
        self._parent = parent

    def flaws(self) -> Iterator[Flaw]:
        """What is wrong, the worst first."""
        if not (self._base / DIFF).is_dir():
            if not (self._base / TAR).is_file():
                yield Flaw(f"erofs/{TAR}", f"the file {self._base / TAR} is missing", False)
                return
            yield from self._index_flaws()
            yield from self._sums_flaws()
        if self._parent_file() != (self._parent or ""):
            yield Flaw(f"erofs/{PARENT}", "does not name the layer below", True)

    def _index_flaws(self) -> Iterator[Flaw]:
        from onggi.archive.erofs.reader import Index

        data = read_optional(self._base / INDEX)
        if data is None:
            yield Flaw(f"erofs/{INDEX}", "is missing", False)
            return
        try:
            Index(data)
        except OnggiError as error:
            yield Flaw(f"erofs/{INDEX}", error.message, False)

    def _sums_flaws(self) -> Iterator[Flaw]:
        from onggi.archive.layer_sums import read_sums

        data = read_optional(self._base / SUMS)
        if data is None:
            yield Flaw(f"erofs/{SUMS}", "is missing", False)
            return
        try:
            read_sums(data)
        except OnggiError as error:
            yield Flaw(f"erofs/{SUMS}", error.message, False)

    def _parent_file(self) -> str:
        return (read_optional(self._base / PARENT) or b"").decode("ascii", "replace").strip()

    def mend(self) -> list[str]:
        """Make anew what is wrong and follows from the store itself; returns the files."""
        mended = [flaw.file for flaw in self.flaws() if flaw.mendable]
        if f"erofs/{PARENT}" in mended:
            remove_temporary_files(self._base)
            if self._parent is None:
                (self._base / PARENT).unlink(missing_ok=True)
            else:
                write_file(self._base / PARENT, self._parent.encode("ascii"), 0o600)
        return mended
