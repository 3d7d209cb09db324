"""When an image or a layer was last used: pulled, mounted, saved, pushed.

``onggi/last-use/<hex>`` is an empty file, named by an image id or a chainID; its time of
modification is the moment. Noting a use costs one ``utimensat`` an object and is never an
error: a store that cannot be written is used all the same. A power cut may lose the last
few uses, no more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.oci.digest import ChainID, ImageID

__all__ = ["LastUse"]


class LastUse:
    """One empty file an object."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def note(self, ids: Iterable[ImageID | ChainID]) -> None:
        """They are used now."""
        for id in ids:
            try:
                self._touch(self.path(id))
            except OSError:
                # Read-only, no room, not ours: no reason to fail what the use is for.
                return

    def _touch(self, path: Path) -> None:
        try:
            os.utime(path)
        except FileNotFoundError:
            if self._directory.parent.is_dir():
                self._directory.mkdir(0o700, exist_ok=True)
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def of(self, id: ImageID | ChainID) -> float | None:
        """Seconds since 1970, or None when no use is on record."""
        try:
            return self.path(id).stat().st_mtime
        except (FileNotFoundError, PermissionError):
            return None

    def forget(self, id: ImageID | ChainID) -> None:
        """The object is gone."""
        self.path(id).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """The hexadecimal ids on record, sorted."""
        try:
            return sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []

    def path(self, id: ImageID | ChainID) -> Path:
        """The file of an object."""
        return self._directory / id.hex
