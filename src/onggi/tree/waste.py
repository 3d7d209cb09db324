"""What each layer of a stack adds, changes, removes, and what of the layers below it makes useless.

A file of a layer is *hidden* by the lowest layer above it that has the same name (as a file, or as
a whiteout), an opaque directory around it, or a file or whiteout in place of one of its directories.
Its bytes stay in the image and are of no use: they are wasted. Sizes are Docker's (``lstat`` of
what is no directory, each inode once), so what a layer adds and changes is its ``size``.

Efficiency is dive's: over all paths, the smallest size a path has in any layer by the sum of its
sizes in all of them; a removal makes the smallest size 0, for files below a removed directory
too (dive counts the bytes of such a directory twice on both sides and so overlooks them).

One directory at a time, of all layers at once: memory is that of the listings along one path, and
of files with several names.
"""

from __future__ import annotations

import heapq
import stat
from typing import TYPE_CHECKING, NamedTuple

from onggi.record import field, mutable_record
from onggi.tree.whiteout import is_whiteout

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from onggi.tree.layer_tree import LayerTree

__all__ = ["LayerShare", "Waste", "WastedPath", "measure_waste"]

_NOBODY = 1 << 30
"""Stands for the layer that hides something that nobody hides."""


@mutable_record
class LayerShare:
    """One layer's part: files and bytes. ``removed`` and ``hidden`` are of layers below it.

    ``added_bytes + changed_bytes`` is the size of the layer. ``wasted_bytes`` are those bytes of
    this layer itself that layers above it hide.
    """

    added_files: int = 0
    added_bytes: int = 0
    changed_files: int = 0
    changed_bytes: int = 0
    removed_files: int = 0
    removed_bytes: int = 0
    hidden_bytes: int = 0
    wasted_bytes: int = 0


class WastedPath(NamedTuple):
    """A path with hidden bytes; ``layers`` counts the layers that have or remove it."""

    wasted_bytes: int
    path: bytes
    layers: int


@mutable_record
class Waste:
    """The whole image. ``layers`` begin with the base; ``paths`` with the most wasteful."""

    layers: list[LayerShare]
    paths: list[WastedPath] = field(default_factory=list)
    total_bytes: int = 0
    wasted_bytes: int = 0
    efficiency: float = 1.0


class _Directory(NamedTuple):
    """A path that is a directory in ``layers`` (indexes, ascending); ``hidden[i]``: who hides all of i's."""

    path: bytes
    layers: tuple[int, ...]
    hidden: dict[int, int]
    opaque: frozenset[int]


@mutable_record
class _Links:
    """One inode with several names in a layer: wasted when its last name is hidden."""

    left: int
    size: int


def measure_waste(layers: Sequence[LayerTree], *, paths: int = 20) -> Waste:
    """Measure a stack of layers, base first; they stay the caller's.

    ``paths``: how many of the most wasteful to name. Raises OSError, DataLoss.
    """
    return _Measuring(layers, paths).run()


class _Measuring:
    def __init__(self, trees: Sequence[LayerTree], paths: int) -> None:
        self._trees = trees
        self._paths = paths
        self._shares = [LayerShare() for _ in trees]
        self._worst: list[WastedPath] = []
        self._links: dict[tuple[int, int, int], _Links] = {}
        self._least = self._sum = 0

    def run(self) -> Waste:
        everyone = tuple(range(len(self._trees)))
        pending = [_Directory(b"", everyone, dict.fromkeys(everyone, _NOBODY), frozenset())]
        while pending:
            pending += self._visit(pending.pop())
        total = sum(share.added_bytes + share.changed_bytes for share in self._shares)
        return Waste(
            self._shares,
            sorted(self._worst, key=lambda item: (-item.wasted_bytes, item.path)),
            total,
            sum(share.wasted_bytes for share in self._shares),
            self._least / self._sum if self._sum else 1.0,
        )

    def _visit(self, directory: _Directory) -> Iterator[_Directory]:
        names: dict[bytes, dict[int, os.stat_result]] = {}
        for layer in directory.layers:
            for name, status in self._trees[layer].scan(directory.path):
                names.setdefault(name, {})[layer] = status
        for name, found in names.items():
            hidden = {layer: _hidden_by(layer, found, directory) for layer in found}
            path = directory.path + b"/" + name if directory.path else name
            self._count(path, found, hidden)
            inside = tuple(layer for layer in found if stat.S_ISDIR(found[layer].st_mode))
            if inside:
                yield self._directory(path, inside, found, hidden)

    def _directory(
        self,
        path: bytes,
        layers: tuple[int, ...],
        found: dict[int, os.stat_result],
        hidden: dict[int, int],
    ) -> _Directory:
        parent, _, name = path.rpartition(b"/")
        opaque = frozenset(
            layer for layer in layers if layer != min(layers) and self._trees[layer].is_opaque(parent, name)
        )
        return _Directory(path, layers, {layer: hidden[layer] for layer in layers}, opaque)

    # --- one name -------------------------------------------------------------------------

    def _count(self, path: bytes, found: dict[int, os.stat_result], hidden: dict[int, int]) -> None:
        sizes = []
        removed = False
        wasted = 0
        for layer, status in found.items():
            if stat.S_ISDIR(status.st_mode) or is_whiteout(status):
                continue
            size = self._own_size(layer, status)
            sizes.append(size)
            self._add(layer, size, found, hidden)
            above = hidden[layer]
            if above != _NOBODY:
                lost = self._lost(layer, status, size)
                wasted += lost
                removed |= self._hide(layer, above, lost, found)
        if sizes:
            self._sum += sum(sizes)
            self._least += 0 if removed else min(sizes)
        if wasted:
            self._note(WastedPath(wasted, path, len(found)))

    def _own_size(self, layer: int, status: os.stat_result) -> int:
        """Bytes by Docker's rule: 0 for the second name of an inode."""
        if status.st_nlink < 2:
            return status.st_size
        key = layer, status.st_dev, status.st_ino
        if key in self._links:
            return 0
        self._links[key] = _Links(status.st_nlink, status.st_size)
        return status.st_size

    def _add(self, layer: int, size: int, found: dict[int, os.stat_result], hidden: dict[int, int]) -> None:
        """Count a file as added by its layer, or as changed where the layers below show one."""
        share = self._shares[layer]
        shown = any(below < layer <= hidden[below] and not is_whiteout(found[below]) for below in found)
        if shown:
            share.changed_files += 1
            share.changed_bytes += size
        else:
            share.added_files += 1
            share.added_bytes += size

    def _lost(self, layer: int, status: os.stat_result, size: int) -> int:
        """Bytes wasted by hiding one name: none while the inode has another one that is seen."""
        if status.st_nlink < 2:
            return size
        links = self._links[layer, status.st_dev, status.st_ino]
        links.left -= 1
        return 0 if links.left else links.size

    def _hide(self, layer: int, above: int, lost: int, found: dict[int, os.stat_result]) -> bool:
        """Charge ``above`` with what it hides of ``layer``; True if it removes it without a successor."""
        self._shares[layer].wasted_bytes += lost
        self._shares[above].hidden_bytes += lost
        successor = found.get(above)
        if successor is not None and not is_whiteout(successor) and not stat.S_ISDIR(successor.st_mode):
            return False
        self._shares[above].removed_files += 1
        self._shares[above].removed_bytes += lost
        return True

    def _note(self, path: WastedPath) -> None:
        if len(self._worst) < self._paths:
            heapq.heappush(self._worst, path)
        elif self._worst and path > self._worst[0]:
            heapq.heapreplace(self._worst, path)


def _hidden_by(layer: int, found: dict[int, os.stat_result], directory: _Directory) -> int:
    """The lowest layer above ``layer`` that hides its entry, or _NOBODY."""
    is_directory = stat.S_ISDIR(found[layer].st_mode)
    least = directory.hidden[layer]
    for above in directory.layers:
        if not layer < above < least:
            continue
        other = found.get(above)
        if above in directory.opaque or (
            other is not None and not (is_directory and stat.S_ISDIR(other.st_mode))
        ):
            return above
    return least
