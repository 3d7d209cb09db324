"""Images that stay until somebody says otherwise: no prune takes them, ``rmi`` only with force.

``onggi/pins/<image id>`` is an empty file; its time of modification is when it was pinned.
"""

from __future__ import annotations

import os
from pathlib import Path

from onggi.oci.digest import ImageID
from onggi.store.atomic import make_directory, sync_directory

__all__ = ["Pins"]


class Pins:
    """One empty file a pinned image."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, image_id: ImageID) -> bool:
        """Pin; False when it was pinned already. Durable when this returns."""
        make_directory(self._directory, 0o700)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(self.path(image_id), flags, 0o600))
        except FileExistsError:
            return False
        sync_directory(self._directory)
        return True

    def remove(self, image_id: ImageID) -> bool:
        """Unpin; False when it was not pinned."""
        try:
            os.unlink(self.path(image_id))
        except FileNotFoundError:
            return False
        return True

    def __contains__(self, image_id: ImageID) -> bool:
        return self.path(image_id).exists()

    def ids(self) -> list[ImageID]:
        """Every pinned image, sorted; it need not exist any more."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return sorted(ImageID(f"sha256:{name}") for name in names if len(name) == 64)

    def path(self, image_id: ImageID) -> Path:
        """The file of a pin."""
        return self._directory / image_id.hex
