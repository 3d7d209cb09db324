"""A layer on its way through a driver."""

from __future__ import annotations

from pathlib import Path

from onggi.oci.digest import CacheID, LinkID
from onggi.record import record

__all__ = ["StagedDirectory"]


@record
class StagedDirectory:
    """``directory`` holds what becomes the driver's ``<cache_id>``; ``link`` is its short name to be."""

    cache_id: CacheID
    link: LinkID
    directory: Path

    @property
    def diff(self) -> Path:
        """Where its files are being unpacked."""
        return self.directory / "diff"
