"""A stack of layer directories as one tree, read without mounting it: overlayfs's rules, in user space.

A name is looked up from the uppermost layer down::

    character device 0:0            the name is gone; what lies below is not seen
    no directory                    it wins; what lies below is not seen
    directory                       it wins, and the directories of that name below are merged into it,
      with trusted.overlay.opaque=y   … but for those below this one
      down to the first of any other kind

Layers are :class:`~onggi.tree.layer_tree.LayerTree`. Paths inside are resolved component by
component in the merged view, symbolic links too, so that nothing leads out of the image: ``..``
stops at the root and absolute links start there. Source: Linux, Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from onggi.tree.whiteout import is_whiteout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onggi.tree.layer_file import LayerFile
    from onggi.tree.layer_tree import LayerTree

__all__ = ["Entry", "Merged"]

_LINK_LIMIT = 40
"""Symbolic links followed in one lookup: the kernel's own limit."""


class Entry(NamedTuple):
    """A name in the merged tree.

    ``path`` is below the root, without links; the root's is empty. ``layers`` are those it comes
    from, uppermost first: one, or for a directory all those merged into it. ``status`` is that
    of the uppermost.
    """

    path: bytes
    layers: tuple[LayerTree, ...]
    status: os.stat_result

    @property
    def directory(self) -> bytes:
        """The path of the directory it is in; the root is in itself."""
        return self.path.rpartition(b"/")[0]

    @property
    def name(self) -> bytes:
        """The last component."""
        return self.path.rpartition(b"/")[2]

    @property
    def is_directory(self) -> bool:
        """Whether it can have names below it."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


class Merged:
    """The view of ``layers``, uppermost first; they stay the caller's.

    Two views that share layers: an entry with the same ``layers`` in both is the same.
    """

    def __init__(self, layers: Sequence[LayerTree]) -> None:
        self._layers = tuple(layers)

    @property
    def root(self) -> Entry:
        """The top directory: all layers'. Raises OSError ENOENT for a view of no layers."""
        status = self._layers[0].lstat(b"", b"") if self._layers else None
        if status is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), b"")
        return Entry(b"", self._layers, status)

    # --- one name -------------------------------------------------------------------------

    def lookup(self, directory: Entry, name: bytes) -> Entry | None:
        """The entry of that name, links not followed."""
        merged: list[LayerTree] = []
        status: os.stat_result | None = None
        for layer in directory.layers:
            found = layer.lstat(directory.path, name)
            if found is None:
                continue
            if is_whiteout(found):
                break
            if not stat.S_ISDIR(found.st_mode):
                if status is None:
                    return Entry(_join(directory.path, name), (layer,), found)
                break
            merged.append(layer)
            status = status or found
            if layer != directory.layers[-1] and layer.is_opaque(directory.path, name):
                break
        return None if status is None else Entry(_join(directory.path, name), tuple(merged), status)

    def resolve(self, path: bytes, *, follow: bool = True) -> Entry:
        """The entry at ``path``, links on the way followed inside the image; ``follow``: the last too.

        Raises OSError: ENOENT, ENOTDIR, ELOOP with the path as its filename.
        """
        trail = [self.root]
        pending = _steps(path)
        links = 0
        while pending:
            part = pending.pop()
            if not trail[-1].is_directory:
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if part == b"..":
                del trail[max(1, len(trail) - 1) :]
            if part in (b".", b".."):
                continue
            entry = self.lookup(trail[-1], part)
            if entry is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if not entry.is_link or not (pending or follow):
                trail.append(entry)
                continue
            links += 1
            if links > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = self.readlink(entry)
            if target[:1] == b"/":
                del trail[1:]
            pending += _steps(target)
        return trail[-1]

    def place(self, path: bytes) -> bytes:
        """Where ``path`` would be: links of its directories followed as far as they exist, not its own."""
        reached = self.root
        parts = _steps(path)[::-1]
        for index, part in enumerate(parts[:-1]):
            try:
                reached = self.resolve(_join(reached.path, part))
            except OSError:
                return b"/".join([part for part in (reached.path, *parts[index:]) if part])
        return _join(reached.path, parts[-1]) if parts else b""

    def open(self, entry: Entry) -> LayerFile:
        """A regular file, for reading; the caller closes it.

        Raises OSError: EISDIR, EINVAL for what is neither file nor directory.
        """
        if entry.is_directory:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), entry.path)
        return entry.layers[0].open(entry.directory, entry.name)

    def readlink(self, entry: Entry) -> bytes:
        """The target of a symbolic link, verbatim."""
        return entry.layers[0].readlink(entry.directory, entry.name)

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """Its extended attributes, overlayfs's own left out."""
        return entry.layers[0].xattrs(entry.directory, entry.name)

    # --- many names -----------------------------------------------------------------------

    def listing(self, directory: Entry) -> dict[bytes, Entry]:
        """The entries of a directory by name, sorted bytewise."""
        merged: dict[bytes, tuple[list[LayerTree], os.stat_result]] = {}
        decided: set[bytes] = set()
        for layer in directory.layers:
            for name, status in layer.scan(directory.path):
                if name in decided:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    decided.add(name)
                    if name not in merged and not is_whiteout(status):
                        merged[name] = [layer], status
                    continue
                merged.setdefault(name, ([], status))[0].append(layer)
                if layer != directory.layers[-1] and layer.is_opaque(directory.path, name):
                    decided.add(name)
        return {
            name: Entry(_join(directory.path, name), tuple(layers), status)
            for name, (layers, status) in sorted(merged.items())
        }

    def walk(self, top: Entry) -> Iterator[Entry]:
        """``top`` and everything below it: a directory before what it holds, siblings sorted bytewise."""
        pending = [top]
        while pending:
            entry = pending.pop()
            yield entry
            if entry.is_directory:
                pending += reversed(self.listing(entry).values())


def _steps(path: bytes) -> list[bytes]:
    """Components, the last first. A slash at the end is a ``.``: what is before it must be a directory."""
    steps = [part for part in path.split(b"/") if part]
    if path[-1:] == b"/":
        steps.append(b".")
    return steps[::-1]
