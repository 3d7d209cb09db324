"""erofs's own files of a layer, checked one by one, and made anew from what else is known.

``parent`` follows from layerdb. What is derived from the content (index, checksums) is only looked
at here; whether it fits, verify tells (prove.py, prove_aligned.py), and rederive.py makes it anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from onggi.drivers.erofs_names import DATA, DIFF, INDEX, PARENT, SPLIT, SUMS, TAR
from onggi.drivers.flaw import Flaw
from onggi.errors import OnggiError
from onggi.oci.digest import CacheID, DiffID
from onggi.store.atomic import read_optional, remove_temporary_files, write_file

__all__ = [
    "UUID_DIGITS",
    "ErofsFiles",
    "check_request",
    "data_file",
    "derive_request",
    "is_aligned",
    "lost_file",
    "read_size",
]

UUID_DIGITS = 32
"""Digits of the cache-id that make the index's uuid: 16 bytes."""


def is_aligned(layer: Path) -> bool:
    """Whether the layer in a directory is kept as contents and tar-split (aligned.py), not as its tar."""
    return os.path.lexists(layer / SPLIT) or os.path.lexists(layer / DATA)


def data_file(layer: Path) -> Path:
    """The file that the index of a layer points into."""
    return layer / (DATA if is_aligned(layer) else TAR)


def lost_file(layer: Path) -> str:
    """The file without which the content of a layer is lost, where one is not there; else an empty string."""
    if not is_aligned(layer):
        return "" if (layer / TAR).is_file() else TAR
    if not (layer / DATA).is_file():
        return DATA
    return "" if read_size(layer / SPLIT) else SPLIT


def read_size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _job(layer: Path, job: str, diff_id: DiffID | None) -> dict[str, object] | None:
    """A job for the layer in a directory; None when what it is made of is gone."""
    if lost_file(layer):
        return None
    return {
        "job": f"{job}-aligned" if is_aligned(layer) else job,
        "directory": str(layer),
        "diff_id": diff_id,
        "uuid": layer.name[:UUID_DIGITS],
    }


def check_request(
    layer: Path, entry: Path, part: str, diff_id: DiffID | None, *, fast: bool
) -> dict[str, object] | None:
    """What prove.py or prove_aligned.py is asked about a layer; None when its content is gone."""
    request = _job(layer, "prove", diff_id)
    if request is None:
        return None
    request["part"] = "fast" if fast else part
    if fast:
        entry_ns = max(os.stat(path).st_ctime_ns for path in (entry, *entry.iterdir()))
        request["entry_ns"] = entry_ns
        # A copy of a data root has new inodes; a directory is the last that a copy touches.
        request["made_ns"] = max(entry_ns, os.stat(layer).st_ctime_ns)
    return request


def derive_request(layer: Path, diff_id: DiffID) -> dict[str, object] | None:
    """What rederive.py or rederive_aligned.py is asked; None when the content is gone."""
    return _job(layer, "derive", diff_id)


class ErofsFiles:
    """The files of one layer, whose layer right below is ``parent``."""

    def __init__(self, home: Path, cache_id: CacheID, parent: CacheID | None) -> None:
        self._base = home / cache_id
        self._parent = parent

    def flaws(self) -> Iterator[Flaw]:
        """What is wrong, the worst first."""
        if not (self._base / DIFF).is_dir():
            if lost := lost_file(self._base):
                reason = f"the file {self._base / lost} is missing{' or empty' if lost == SPLIT else ''}"
                yield Flaw(f"erofs/{lost}", reason, False)
                return
            yield from self._derived_flaws()
        if self._parent_file() != (self._parent or ""):
            yield Flaw(f"erofs/{PARENT}", "does not name the layer below", True)

    def _derived_flaws(self) -> Iterator[Flaw]:
        """Of what can be written anew from the content."""
        from onggi.archive.erofs.reader import Index
        from onggi.archive.layer_sums import read_sums

        readers: tuple[tuple[str, Callable[[bytes], object]], ...] = ((INDEX, Index), (SUMS, read_sums))
        for name, read in readers[: 1 if is_aligned(self._base) else 2]:
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
