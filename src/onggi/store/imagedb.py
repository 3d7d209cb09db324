"""Image configs by id, and the little Docker keeps beside them.

``content/sha256/<id>`` is the config byte for byte: its sha256 is the image id, checked on
every read. ``metadata/sha256/<id>/parent`` names the image it was built on (local builds
only), ``lastUpdated`` the time of the last tag operation (docker-engine §4.3).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from onggi.errors import DataLoss, InvalidArgument, NotFound
from onggi.oci.digest import ImageID
from onggi.oci.image_config import ImageConfig
from onggi.store.atomic import make_directory, read_optional, remove_tree, sync_directory, write_file

__all__ = ["CorruptImage", "ImageDB", "UnknownImage"]

_HEX = frozenset("0123456789abcdef")


class UnknownImage(NotFound):
    """No image has this id."""

    def __init__(self, image_id: ImageID) -> None:
        super().__init__(f"No such image: {image_id}", hint="'onggi images' lists what is here")
        self.image_id = image_id


class CorruptImage(DataLoss):
    """A stored config no longer hashes to its name."""

    def __init__(self, image_id: ImageID, path: Path) -> None:
        super().__init__(
            f"failed to verify: {image_id}: {path} has other bytes than its name says",
            hint=f"remove that file and pull the image again, e.g. rm {path}",
        )
        self.image_id = image_id
        self.path = path


class ImageDB:
    """The image configs of a store. Parsed configs are kept: their bytes cannot change."""

    def __init__(self, directory: Path) -> None:
        self._content = directory / "content" / "sha256"
        self._metadata = directory / "metadata" / "sha256"
        self._parsed: dict[ImageID, ImageConfig] = {}

    def path(self, image_id: ImageID) -> Path:
        """The file that holds the config."""
        return self._content / image_id.hex

    def ids(self) -> list[ImageID]:
        """Every image id with a content file, sorted."""
        try:
            names = os.listdir(self._content)
        except FileNotFoundError:
            return []
        return sorted(
            ImageID(f"sha256:{name}") for name in names if len(name) == 64 and _HEX.issuperset(name)
        )

    def __contains__(self, image_id: ImageID) -> bool:
        return self.path(image_id).exists()

    def get(self, image_id: ImageID) -> ImageConfig:
        """The config. Raises UnknownImage, CorruptImage, or InvalidImageConfig."""
        known = self._parsed.get(image_id)
        if known is not None and image_id in self:
            return known
        raw = read_optional(self.path(image_id))
        if raw is None:
            raise UnknownImage(image_id)
        if ImageID.of(raw) != image_id:
            raise CorruptImage(image_id, self.path(image_id))
        self._parsed[image_id] = config = ImageConfig.parse(raw)
        return config

    def remembered(self, image_id: ImageID) -> ImageConfig:
        """The config of an image that was read or added here; somebody may have removed it since.

        Raises as :meth:`get` for another one.
        """
        known = self._parsed.get(image_id)
        return self.get(image_id) if known is None else known

    def images(self) -> Iterator[tuple[ImageID, ImageConfig]]:
        """Every readable image; broken ones are passed over as dockerd does at start."""
        for image_id in self.ids():
            try:
                yield image_id, self.get(image_id)
            except (DataLoss, InvalidArgument, NotFound):
                continue

    def broken(self) -> list[tuple[ImageID, str]]:
        """Images that cannot be read, with the reason: what ``doctor`` shows."""
        found = []
        for image_id in self.ids():
            try:
                self.get(image_id)
            except NotFound:
                continue  # removed meanwhile
            except (DataLoss, InvalidArgument) as error:
                found.append((image_id, str(error)))
        return found

    def add(self, config: ImageConfig, *, durable_name: bool = True) -> None:
        """Store the config's own bytes under its id; without ``durable_name`` :meth:`sync` is to follow."""
        path = self.path(config.id)
        if read_optional(path) != config.raw:
            write_file(path, config.raw, 0o600, durable_name=durable_name)
        self._parsed[config.id] = config

    def sync(self) -> None:
        """Every image that was added is durable from here on."""
        sync_directory(self._content)

    def remove(self, image_id: ImageID) -> None:
        """Forget an image: metadata first, then content; children lose their ``parent`` file."""
        for child in self.children(image_id):
            self._forget(child, "parent")
        remove_tree(self._metadata / image_id.hex)
        try:
            os.unlink(self.path(image_id))
        except FileNotFoundError:
            return
        sync_directory(self._content)

    def parent(self, image_id: ImageID) -> ImageID | None:
        """The image this one was built on here, if it is known."""
        text = self._read(image_id, "parent")
        if text is None:
            return None
        try:
            return ImageID.parse(text.strip())
        except InvalidArgument:
            return None

    def set_parent(self, image_id: ImageID, parent: ImageID) -> None:
        """Note the image that ``image_id`` was built on."""
        directory = self._metadata / image_id.hex
        make_directory(directory, 0o700)
        write_file(directory / "parent", parent.encode(), 0o600)

    def children(self, image_id: ImageID) -> list[ImageID]:
        """Images whose ``parent`` file names this one."""
        try:
            names = os.listdir(self._metadata)
        except FileNotFoundError:
            return []
        ids = (ImageID(f"sha256:{name}") for name in sorted(names))
        return [child for child in ids if self.parent(child) == image_id]

    def last_updated(self, image_id: ImageID) -> str | None:
        """RFC 3339 time of the last tag operation, as written."""
        return self._read(image_id, "lastUpdated")

    def set_last_updated(self, image_id: ImageID, when: str) -> None:
        """Note a tag operation at ``when`` (RFC 3339, nanoseconds)."""
        directory = self._metadata / image_id.hex
        make_directory(directory, 0o700)
        write_file(directory / "lastUpdated", when.encode(), 0o600)

    def mark_built(self, image_id: ImageID) -> None:
        """Note that the image was made here, as Docker 25 and later do: its builder may use it again."""
        directory = self._metadata / image_id.hex
        make_directory(directory, 0o700)
        write_file(directory / "builtLocally", b"\x01", 0o600)

    def _read(self, image_id: ImageID, name: str) -> str | None:
        data = read_optional(self._metadata / image_id.hex / name)
        return None if data is None else data.decode("utf-8", "replace")

    def _forget(self, image_id: ImageID, name: str) -> None:
        try:
            os.unlink(self._metadata / image_id.hex / name)
        except FileNotFoundError:
            return
