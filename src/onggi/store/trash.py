"""Deleting whole trees so that a kill leaves none by halves.

What goes is renamed to ``onggi/trash/<random>`` first: from there on it is in nobody's way
and has no meaning. The next changing command deletes what a killed one left there.
"""

from __future__ import annotations

import os
from pathlib import Path

from onggi.oci.digest import random_id
from onggi.store.atomic import make_directory, remove_tree

__all__ = ["Trash"]


class Trash:
    """The directory of what is being deleted; on one file system with the rest of the data root."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def discard(self, path: Path) -> None:
        """Delete a file or directory; what is gone already is no error."""
        make_directory(self._directory, 0o700)
        target = self._directory / random_id()
        try:
            os.rename(path, target)
        except FileNotFoundError:
            return
        _delete(target)

    def empty(self) -> int:
        """Delete what killed processes left; returns how many things."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return 0
        for name in names:
            _delete(self._directory / name)
        return len(names)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
