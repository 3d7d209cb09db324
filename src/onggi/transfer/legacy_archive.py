"""Archives of before Docker 1.10 (2016): an image a layer, each in a directory of its own.

::

    <old id>/json          the old image: { "parent"?: old id, "created", "config", "docker_version", … }
    <old id>/layer.tar     its layer
    repositories           { name: { tag: old id } }, where anything was saved by name

dockerd made them into images of today when it loaded them, up to 28 (29 refuses); so does this, with the
same bytes of the configs and so the same ids (20.10's ``image/v1.MakeConfigFromV1Config``): the old JSON
without what was the old id's, plus the layers' diffIDs and a history of one step a layer. JSON that a Docker
of before 1.8.3 wrote goes through Docker's own struct once more, that of later ones stays as it is. Where
dockerd says nothing, the names are told here as for other archives; and an archive without
``repositories`` (saved by id) is no error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

from onggi.archive.compression import CorruptStream, decompressed
from onggi.cancel import CancelToken
from onggi.oci.digest import DiffID
from onggi.oci.go_json import dump, raw_members
from onggi.oci.image_config import ImageConfig
from onggi.oci.json_document import load_object
from onggi.oci.reference import Reference
from onggi.oci.timestamps import ZERO_TIME, normalise, parse_ns
from onggi.record import record
from onggi.transfer.archive_files import ArchiveFiles, BrokenArchive, Extent, MissingMember, read_member
from onggi.transfer.loadable import (
    MAX_CONFIG_BYTES,
    MAX_IMAGES,
    MAX_INDEX_BYTES,
    LayerFile,
    LoadableImage,
    check_system,
    tagged,
)
from onggi.transfer.v1_image import v1_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["is_legacy", "legacy_images"]

# Images on top of each other: more than any driver can mount. Each knows all layers below it.
_MAX_DEPTH = 256
# What a Docker of before this version wrote goes through Docker's struct.
_KEPT_SINCE = (1, 8, 3)
# What was true of the old image alone.
_OLD_KEYS = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")


def is_legacy(files: ArchiveFiles) -> bool:
    """True when there is an old image."""
    return any(_has(files, name, "json") and _has(files, name, "layer.tar") for name in files.directories())


def legacy_images(files: ArchiveFiles, compat: str, cancel: CancelToken) -> list[LoadableImage]:
    """All images, parents first, else sorted by old id. Layers are read once here, for their diffIDs.

    Raises BrokenArchive, MissingMember, InvalidImageConfig, ForeignImage, InvalidTag.
    """
    names = [name for name in files.directories() if _has(files, name, "json")]
    if len(names) > MAX_IMAGES:
        raise BrokenArchive(f"more than {MAX_IMAGES} images")
    old = {name: _OldImage.read(name, read_member(files, f"{name}/json", MAX_CONFIG_BYTES)) for name in names}
    references = _references(files, old, compat)
    parents = {image.parent for image in old.values()}
    hashes = _Hashes(files, cancel)
    made: dict[str, LoadableImage] = {}
    for name in _parents_first(old):
        below = made.get(old[name].parent)
        config = old[name].config(hashes.diff_id(f"{name}/layer.tar"), below, compat)
        layers = (*(below.layers if below else ()), LayerFile(f"{name}/layer.tar"))
        parent = below.config.id if below else ""
        named = references.get(name, ())
        made[name] = LoadableImage(config, layers, named, parent, told=bool(named) or name not in parents)
    return list(made.values())


def _has(files: ArchiveFiles, directory: str, name: str) -> bool:
    return files.find(f"{directory}/{name}") is not None


def _parents_first(old: Mapping[str, _OldImage]) -> Iterator[str]:
    """Every name after that of its parent. Raises MissingMember, BrokenArchive for a circle."""
    depth: dict[str, int] = {"": 0}
    for name in old:
        way: list[str] = []
        while name not in depth:
            if name not in old:
                raise MissingMember(f"{name}/json")
            if name in way:
                raise BrokenArchive(f"image {name} is its own ancestor")
            way.append(name)
            name = old[name].parent
            if len(way) + depth.get(name, 0) > _MAX_DEPTH:
                raise BrokenArchive(f"image {way[0]} stands on {_MAX_DEPTH} others, or more")
        for below, each in zip([name, *reversed(way)], reversed(way), strict=False):
            depth[each] = depth[below] + 1
            yield each


def _references(
    files: ArchiveFiles, old: Mapping[str, _OldImage], compat: str
) -> dict[str, tuple[Reference, ...]]:
    """The names in ``repositories``, by old id."""
    if files.find("repositories") is None:
        return {}
    try:
        document: Any = load_object(read_member(files, "repositories", MAX_INDEX_BYTES))
    except ValueError as error:
        raise BrokenArchive(f"repositories: {error}") from error
    found: dict[str, tuple[Reference, ...]] = {}
    for name, tags in document.items():
        if not isinstance(tags, dict):
            raise BrokenArchive(f"repositories: {name} is not an object of tags")
        for tag, image in tags.items():
            if image not in old:
                raise BrokenArchive(f"invalid target ID: {image}")
            found[image] = (*found.get(image, ()), tagged(f"{name}:{tag}", compat))
    return found


class _Hashes:
    """DiffIDs of layers: of the uncompressed bytes, each file read once."""

    def __init__(self, files: ArchiveFiles, cancel: CancelToken) -> None:
        self._files = files
        self._cancel = cancel
        self._known: dict[Extent, DiffID] = {}

    def diff_id(self, name: str) -> DiffID:
        """Raises MissingMember, BrokenArchive."""
        place = self._files.find(name)
        if place is None:
            raise MissingMember(name)
        if place not in self._known:
            hashed = sha256()
            try:
                for piece in decompressed(place.pieces()):
                    self._cancel.check()
                    hashed.update(piece)
            except CorruptStream as error:
                raise BrokenArchive(f"{name}: {error}") from error
            self._known[place] = DiffID(f"sha256:{hashed.hexdigest()}")
        return self._known[place]


# --- from the old image to the new one ----------------------------------------------------------


@record
class _OldImage:
    """``checked`` is its JSON read as an image's config, which it is but for layers and history."""

    raw: bytes
    checked: ImageConfig
    parent: str

    @classmethod
    def read(cls, name: str, raw: bytes) -> _OldImage:
        """Raises BrokenArchive, InvalidImageConfig, ForeignImage."""
        try:
            document = load_object(raw)
        except ValueError as error:
            raise BrokenArchive(f"{name}/json: {error}") from error
        checked = ImageConfig.parse(json.dumps({**document, "rootfs": {}, "history": []}).encode())
        check_system(checked.os)
        parent = next((document[key] for key in document if key.lower() == "parent"), "") or ""
        if not isinstance(parent, str):
            raise BrokenArchive(f"{name}/json: parent is not a string")
        if checked.created is not None and parse_ns(checked.created) is None:
            raise BrokenArchive(f"{name}/json: created is not a time")
        return cls(raw, checked, parent)

    def config(self, diff_id: DiffID, below: LoadableImage | None, compat: str) -> ImageConfig:
        """The config of the image on top of ``below``, as Go writes a map: sorted by key."""
        diff_ids = [*(below.config.diff_ids if below else ()), diff_id]
        history = [*(below.config.document["history"] if below else ()), self._step(compat)]
        members = self._members(compat)
        for key in _OLD_KEYS:
            members.pop(key, None)
        members["rootfs"] = dump({"type": "layers", "diff_ids": diff_ids})
        members["history"] = dump(history, compat=compat)
        return ImageConfig.parse(b"{%s}" % b",".join(_pairs(members, compat)))

    def _members(self, compat: str) -> dict[str, bytes]:
        if _version(self.checked.docker_version) >= _KEPT_SINCE:
            return raw_members(self.raw)
        fields = v1_fields(self.checked, compat)
        return {key: dump(value, compat=compat) for key, value in fields.items()}

    def _step(self, compat: str) -> dict[str, Any]:
        """What made the layer, in the order of Docker's struct."""
        created = self.checked.created
        command: Sequence[str] = (self.checked.document.get("container_config") or {}).get("Cmd") or ()
        step = {
            "created": None if created is None and compat != "20.10" else normalise(created) or ZERO_TIME,
            "author": self.checked.author,
            "created_by": " ".join(command),
            "comment": self.checked.comment,
        }
        return {key: value for key, value in step.items() if value}


def _pairs(members: Mapping[str, bytes], compat: str) -> Iterator[bytes]:
    for key, value in sorted(members.items()):
        yield dump(key, compat=compat) + b":" + value


def _version(text: str) -> tuple[int, ...]:
    """``1.9.0-dev`` as numbers; what is none counts as 0, as with Docker."""
    parts = [int(part) if part.isascii() and part.isdecimal() else 0 for part in text[:64].split(".")]
    return tuple([*parts, 0, 0, 0][: max(3, len(parts))])
