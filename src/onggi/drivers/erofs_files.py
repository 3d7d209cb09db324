"""erofs's own files of a layer, checked one by one, and made anew from what else is known.

``parent`` follows from layerdb. What is derived from the tar (index, checksums) is only looked
at here; whether it fits the tar, verify tells (prove.py), and rederive.py makes it anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from onggi.drivers.erofs_names import DIFF, INDEX, PARENT, SUMS, TAR
from onggi.drivers.flaw import Flaw
from onggi.errors import OnggiError
from onggi.oci.digest import CacheID, DiffID
from onggi.store.atomic import read_optional, remove_temporary_files, write_file

__all__ = ["UUID_DIGITS", "ErofsFiles", "check_request", "derive_request"]

UUID_DIGITS = 32
"""Digits of the cache-id that make the index's uuid: 16 bytes."""


def check_request(
    layer: Path, entry: Path, part: str, diff_id: DiffID | None, *, fast: bool
) -> dict[str, object] | None:
    """What prove.py is asked about the layer in a directory; None when its tar is gone."""
    if not (layer / TAR).is_file():
        return None
    request: dict[str, object] = {
        "job": "prove",
        "part": "fast" if fast else part,
        "directory": str(layer),
        "diff_id": diff_id,
        "uuid": layer.name[:UUID_DIGITS],
    }
    if fast:
        entry_ns = max(os.stat(path).st_ctime_ns for path in (entry, *entry.iterdir()))
        request["entry_ns"] = entry_ns
        # A copy of a data root has new inodes; a directory is the last that a copy touches.
        request["made_ns"] = max(entry_ns, os.stat(layer).st_ctime_ns)
    return request


def derive_request(layer: Path, diff_id: DiffID) -> dict[str, object] | None:
    """What rederive.py is asked; None when the tar is gone."""
    if not (layer / TAR).is_file():
        return None
    return {"job": "derive", "directory": str(layer), "diff_id": diff_id, "uuid": layer.name[:UUID_DIGITS]}


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
            yield from self._derived_flaws()
        if self._parent_file() != (self._parent or ""):
            yield Flaw(f"erofs/{PARENT}", "does not name the layer below", True)

    def _derived_flaws(self) -> Iterator[Flaw]:
        """Of what can be written anew from the tar."""
        from onggi.archive.erofs.reader import Index
        from onggi.archive.layer_sums import read_sums

        readers: tuple[tuple[str, Callable[[bytes], object]], ...] = ((INDEX, Index), (SUMS, read_sums))
        for name, read in readers:
            data = read_optional(self._base / name)
            if data is None:
                yield Flaw(f"erofs/{name}", "is missing", True)
                continue
            try:
                read(data)
            except OnggiError as error:
                yield Flaw(f"erofs/{name}", _cause(error), True)

    def _parent_file(self) -> str:
        return (read_optional(self._base / PARENT) or b"").decode("ascii", "replace").strip()

    def mend(self) -> list[str]:
        """Make anew what is wrong and follows from the store itself; returns the files."""
        mended = [flaw.file for flaw in self.flaws() if flaw.file == f"erofs/{PARENT}"]
        if mended:
            before = os.stat(self._base)
            remove_temporary_files(self._base)
            if self._parent is None:
                (self._base / PARENT).unlink(missing_ok=True)
            else:
                write_file(self._base / PARENT, self._parent.encode("ascii"), 0o600)
            # Its mtime tells 'verify --fast' whether somebody else changed it.
            os.utime(self._base, ns=(before.st_atime_ns, before.st_mtime_ns))
        return mended


def _cause(error: OnggiError) -> str:
    """What is wrong, without the words that name the file again."""
    return error.message.partition(": ")[2]
