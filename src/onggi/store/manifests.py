"""Manifests as they came from a registry, or went there: kept byte for byte, by image.

::

    onggi/manifests/<image id hex>/<digest hex>    the raw bytes of a manifest, or of an index
                                                   that leads to one of the image's manifests

Docker has no file for them. With them a push can send the very document that was pulled, so
that its digest stays. A cache: nothing is flushed, what does not hash to its name counts as
absent, and a missing one only means that a push writes a manifest of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from onggi.errors import OnggiError
from onggi.oci.digest import Digest, ImageID
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.store.atomic import make_directory, read_optional, remove_tree

__all__ = ["ManifestDB"]

# Of one image: an index changes whenever an image for any platform does. More than a way down takes.
_MOST_INDEXES = 8


class ManifestDB:
    """The directories under ``onggi/manifests``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, image_id: ImageID, document: Manifest | Index) -> None:
        """Keep a manifest of an image, or an index above it; a known one becomes the newest."""
        directory = self._directory / image_id.hex
        make_directory(self._directory, 0o700)
        make_directory(directory, 0o700)
        path = directory / document.digest.hex
        if read_optional(path) == document.raw:
            os.utime(path)
            return
        # Not beside it: what a killed writer leaves is looked for in one directory.
        staged = self._directory / f".tmp-{document.digest.hex}-{os.urandom(4).hex()}"
        staged.write_bytes(document.raw)
        os.rename(staged, path)
        if isinstance(document, Index):
            for old in self.indexes_of(image_id)[_MOST_INDEXES:]:
                (directory / old.digest.hex).unlink(missing_ok=True)

    def of(self, image_id: ImageID) -> list[Manifest]:
        """The manifests of an image, newest first."""
        documents = self._documents(image_id)
        return [each for each in documents if isinstance(each, Manifest) and _is_of(each, image_id)]

    def indexes_of(self, image_id: ImageID) -> list[Index]:
        """The indexes that the image came by, newest first."""
        return [each for each in self._documents(image_id) if isinstance(each, Index)]

    def image_ids(self) -> list[ImageID]:
        """Every image that has some, sorted."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return [ImageID(f"sha256:{name}") for name in sorted(names) if len(name) == 64]

    def all(self) -> Iterator[Manifest]:
        """Every manifest of every image."""
        for image_id in self.image_ids():
            yield from self.of(image_id)

    def remove(self, image_id: ImageID) -> None:
        """Forget an image's manifests."""
        remove_tree(self._directory / image_id.hex)

    def _documents(self, image_id: ImageID) -> Iterator[Manifest | Index]:
        for _, path in sorted(self._with_times(image_id), reverse=True):
            document = _read(path)
            if document is not None:
                yield document

    def _with_times(self, image_id: ImageID) -> Iterator[tuple[int, Path]]:
        for entry in self._entries(image_id):
            try:
                yield entry.stat().st_mtime_ns, Path(entry.path)
            except FileNotFoundError:
                continue  # forgotten meanwhile

    def _entries(self, image_id: ImageID) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._directory / image_id.hex) as entries:
                return [entry for entry in entries if len(entry.name) == 64]
        except FileNotFoundError:
            return []


def _read(path: Path) -> Manifest | Index | None:
    raw = read_optional(path)
    if raw is None or Digest.of(raw).hex != path.name:
        return None
    try:
        return parse_manifest(raw)
    except OnggiError:
        return None


def _is_of(manifest: Manifest, image_id: ImageID) -> bool:
    return manifest.config.digest.hex == image_id.hex
