"""Removals that have begun: what a killed ``rmi`` leaves for the next command to finish.

``onggi/removing/<image id>`` is a JSON list of the image's chains, written before the last
name goes and deleted when the last layer has gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from onggi.oci.digest import ChainID, ImageID
from onggi.store.atomic import make_directory, read_optional, write_file

__all__ = ["RemovalIntents"]


class RemovalIntents:
    """One file per image that is being removed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def declare(self, image_id: ImageID, chains: Sequence[ChainID]) -> None:
        """From here on the image is to go, chains and all."""
        make_directory(self._directory, 0o700)
        write_file(self._directory / image_id.hex, json.dumps(list(chains)).encode(), 0o600)

    def settle(self, image_id: ImageID) -> None:
        """It is gone, or it stays."""
        (self._directory / image_id.hex).unlink(missing_ok=True)

    def pending(self) -> Iterator[tuple[ImageID, list[ChainID]]]:
        """Removals that have begun and not ended; unreadable ones count as without layers."""
        try:
            names = sorted(name for name in os.listdir(self._directory) if not name.startswith("."))
        except FileNotFoundError:
            return
        for name in names:
            data = read_optional(self._directory / name)
            try:
                chains = [ChainID(chain) for chain in json.loads(data or b"[]")]
            except (ValueError, TypeError):
                chains = []
            yield ImageID(f"sha256:{name}"), chains
