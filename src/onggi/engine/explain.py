"""``explain``: from any id, prefix, name or path to what it is.

One thing has many names here, and one name can mean many things. Every kind is searched:

===========  ==========================================  ====================================
kind         sha256 of                                   where it lives
===========  ==========================================  ====================================
image        the config's bytes                          imagedb/content
manifest     the manifest's or index's bytes             repositories.json, as name@digest
blob         the compressed layer as it travelled        distribution/diffid-by-digest
diffID       the uncompressed tar, every byte            the config's rootfs; layerdb ``diff``
chainID      "<parent chainID> <diffID>" (text)          the layerdb directory's name
cache-id     nothing: 32 random bytes                    the driver's directory
link         nothing: 17 random bytes                    overlay2/l
===========  ==========================================  ====================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onggi.engine.core import Core
from onggi.engine.image import Image
from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.oci.digest import ChainID, DiffID, ImageID
from onggi.oci.reference import Reference
from onggi.store.distribution import BlobSource
from onggi.store.layerdb import LayerRecord

__all__ = ["Ambiguous", "Explanation", "NothingKnown", "explain", "explain_all"]

_HEX_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{2,64}")
_LINK = re.compile(r"[A-Z2-7]{26}")


class NothingKnown(NotFound):
    """No id, name or path of this store looks like that."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"explain {text}: nothing in this store is called so",
            hint="give an image name, at least two digits of any id, or a path in the data root",
        )


class Ambiguous(InvalidArgument):
    """Several things begin like that."""

    def __init__(self, text: str, found: Sequence[Explanation]) -> None:
        names = ", ".join(f"{item.kind} {item.id[:19]}" for item in found[:6])
        super().__init__(f"explain {text}: {len(found)} things begin so: {names}", hint="give more digits")
        self.found = list(found)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One thing: its ``kind`` and full ``id``, what it is, how the id came about, who uses it."""

    kind: str
    id: str
    title: str
    how: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    used_by: list[str] = field(default_factory=list)


def explain(core: Core, text: str) -> Explanation:
    """The one thing ``text`` means. Raises NothingKnown or Ambiguous."""
    found = explain_all(core, text)
    if not found:
        raise NothingKnown(text)
    if len(found) > 1:
        raise Ambiguous(text, found)
    return found[0]


def explain_all(core: Core, text: str) -> list[Explanation]:
    """Everything ``text`` can mean, most telling first; a base layer is a diffID and a chainID."""
    image, mark, inside = text.partition(":/")
    if image and mark:
        from onggi.engine.explain_path import explain_image_path

        return [explain_image_path(core, image, f"/{inside}")]
    search = _Search(core)
    if "/" in text and (path := _inside(core, text)) is not None:
        return search.path(path)
    found = list(search.name(text))
    if _LINK.fullmatch(text):
        found += search.link(text)
    if _HEX_PREFIX.fullmatch(text):
        found += search.ids(text.removeprefix("sha256:"))
    return _unique(found)


def _unique(found: list[Explanation]) -> list[Explanation]:
    seen: dict[tuple[str, str], Explanation] = {}
    for item in found:
        seen.setdefault((item.kind, item.id), item)
    return list(seen.values())


def _inside(core: Core, text: str) -> Path | None:
    """The path relative to the data root, or None if it lies elsewhere."""
    root = os.path.realpath(core.layout.root)
    path = os.path.abspath(text)
    for base in (str(core.layout.root.absolute()), root):
        if path == base or path.startswith(base + os.sep):
            return Path(os.path.relpath(path, base))
    return None


class _Search:
    """Looks a text up among every kind of name."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._records = {record.chain_id: record for record in core.layers.db.records()}
        self._images = [Image(core, image_id, config) for image_id, config in core.images.images()]

    # --- by name --------------------------------------------------------------------------

    def name(self, text: str) -> Iterator[Explanation]:
        try:
            reference = Reference.parse(text)
        except OnggiError:
            return
        image_id = self._core.tags.snapshot().find(reference)
        for image in self._images:
            if image.id == image_id:
                yield self._image(image)

    def link(self, text: str) -> list[Explanation]:
        try:
            target = os.readlink(self._core.layout.driver_home / "l" / text)
        except OSError:
            return []
        return self._by_cache_id(target.split("/")[1], kind="link", id=text)

    # --- by id ----------------------------------------------------------------------------

    def ids(self, prefix: str) -> list[Explanation]:
        found = [self._image(image) for image in self._images if image.id.hex.startswith(prefix)]
        found += self._manifests(prefix)
        found += [
            self._chain(record) for chain, record in self._records.items() if chain.hex.startswith(prefix)
        ]
        found += [self._diff_id(diff) for diff in self._diff_ids() if diff.hex.startswith(prefix)]
        found += self._blobs(prefix)
        for record in self._records.values():
            if record.cache_id.startswith(prefix):
                found.append(self._cache_id(record, "cache-id", record.cache_id))
        return found

    def _diff_ids(self) -> list[DiffID]:
        return sorted({record.diff_id for record in self._records.values()})

    def _image(self, image: Image) -> Explanation:
        facts = [
            ("names", ", ".join(image.tags + image.digests) or "none"),
            ("file", str(self._core.images.path(image.id))),
            (
                "platform",
                "/".join(filter(None, (image.config.os, image.config.architecture, image.config.variant))),
            ),
            ("created", image.created or "unknown"),
            ("layers", str(len(image.config.diff_ids))),
        ]
        return Explanation(
            "image",
            image.id,
            f"an image ID, {image.tags[0] if image.tags else 'without a tag'}",
            f"sha256 of the image config, {len(image.config.raw)} bytes of JSON, byte for byte",
            facts,
            [f"layer {chain}" for chain in image.config.chain_ids],
        )

    def _manifests(self, prefix: str) -> Iterator[Explanation]:
        for reference, image_id in self._core.tags.snapshot().items():
            if reference.digest is not None and reference.digest.hex.startswith(prefix):
                yield Explanation(
                    "manifest",
                    reference.digest,
                    "the digest of a manifest, or of an index of manifests, at its registry",
                    "sha256 of the bytes the registry served",
                    [("repository", reference.name)],
                    [f"image {image_id}"],
                )

    def _chain(self, record: LayerRecord) -> Explanation:
        if record.parent is None:
            how = f"a base layer: the same as its diffID {record.diff_id}"
        else:
            how = f'sha256 of the text "{record.parent} {record.diff_id}" (parent chainID, space, diffID)'
        return Explanation(
            "chainID",
            record.chain_id,
            "a layer together with everything below it; the name of its layerdb directory",
            how,
            [("directory", str(self._core.layers.db.path(record.chain_id))), *self._layer_facts(record)],
            self._users([record.chain_id]),
        )

    def _diff_id(self, diff: DiffID) -> Explanation:
        records = [record for record in self._records.values() if record.diff_id == diff]
        facts: list[tuple[str, str]] = [("chainID", record.chain_id) for record in records]
        facts += [("blob", f"{source.digest} from {source.repository}") for source in self._sources(diff)]
        return Explanation(
            "diffID",
            diff,
            "the content of one layer; what image configs list under RootFS",
            "sha256 of the layer's uncompressed tar, trailing zeros included",
            facts + self._layer_facts(records[0]),
            self._users([record.chain_id for record in records]),
        )

    def _sources(self, diff: DiffID) -> Sequence[BlobSource]:
        return self._core.distribution.sources(diff)

    def _blobs(self, prefix: str) -> Iterator[Explanation]:
        for diff in self._diff_ids():
            for source in self._core.distribution.sources(diff):
                if source.digest.hex.startswith(prefix):
                    yield Explanation(
                        "blob",
                        source.digest,
                        "a layer as it travelled; the id that pull prints",
                        "sha256 of the (compressed) bytes the registry served",
                        [("diffID", diff), ("repository", source.repository)],
                        self._users([r.chain_id for r in self._records.values() if r.diff_id == diff]),
                    )

    def _by_cache_id(self, name: str, *, kind: str = "cache-id", id: str = "") -> list[Explanation]:
        return [
            self._cache_id(record, kind, id or record.cache_id)
            for record in self._records.values()
            if record.cache_id == name
        ]

    def _cache_id(self, record: LayerRecord, kind: str, id: str) -> Explanation:
        if kind == "link":
            how = "26 random characters; short, so that many layers fit into one mount option"
            title = "the short name of a layer's directory"
        else:
            how = "32 random bytes: another one on every host and after every pull"
            title = "the directory with a layer's files"
        return Explanation(
            kind,
            id,
            title,
            how,
            [("chainID", record.chain_id), ("diffID", record.diff_id), *self._layer_facts(record)],
            self._users([record.chain_id]),
        )

    def _layer_facts(self, record: LayerRecord) -> list[tuple[str, str]]:
        return [
            ("cache-id", record.cache_id),
            ("files", str(self._core.driver.files(record.cache_id))),
            ("size", f"{record.size} bytes"),
        ]

    def _users(self, chains: Sequence[ChainID]) -> list[str]:
        users = []
        for image in self._images:
            for chain in chains:
                if chain in image.config.chain_ids:
                    depth = image.config.chain_ids.index(chain) + 1
                    name = image.tags[0] if image.tags else image.id.short
                    users.append(f"image {name} (layer {depth} of {len(image.config.chain_ids)})")
        users += [
            f"container {name[:12]}"
            for name, chain in self._core.layers.db.containers().items()
            if chain in chains
        ]
        return users

    # --- by path --------------------------------------------------------------------------

    def path(self, path: Path) -> list[Explanation]:
        """What a path in the data root belongs to."""
        parts = path.parts
        driver = self._core.layout.driver
        if parts[:2] == (driver, "l") and len(parts) > 2:
            return self.link(parts[2])
        if parts[:1] == (driver,) and len(parts) > 1:
            return self._by_cache_id(parts[1]) or [_unowned(path)]
        if parts[:2] == ("image", driver):
            return self._metadata(parts[2:]) or [_file(path)]
        return [_file(path)]

    def _metadata(self, parts: tuple[str, ...]) -> list[Explanation]:
        if parts[:2] == ("layerdb", "sha256") and len(parts) > 2:
            record = self._records.get(ChainID(f"sha256:{parts[2]}"))
            return [] if record is None else [self._chain(record)]
        if parts[:1] == ("imagedb",) and len(parts) > 3:
            image_id = ImageID(f"sha256:{parts[3]}")
            return [self._image(image) for image in self._images if image.id == image_id]
        if parts[:2] == ("distribution", "diffid-by-digest") and len(parts) > 3:
            return list(self._blobs(parts[3]))
        if parts[:2] == ("distribution", "v2metadata-by-diffid") and len(parts) > 3:
            return [self._diff_id(diff) for diff in self._diff_ids() if diff.hex == parts[3]]
        return []


# The directories and files of a data root that are no single object's.
_PLACES = {
    "": "the data root",
    "engine-id": "the identity of this engine, a UUID",
    "containers": "containers: config, logs, hosts files",
    "volumes": "volumes; the lock in metadata.db tells who may change this data root",
    "tmp": "temporary files of a Docker daemon",
    "image": "metadata of images and layers, per storage driver",
    "repositories.json": "which name means which image",
    "imagedb": "image configs by id",
    "layerdb": "layers by chainID",
    "distribution": "blob digest ⇄ diffID, learnt from pulls and pushes",
    "overlay2": "the files of the layers, one directory per cache-id",
    "onggi": "what Docker has no file for: received blobs, staging, locks, mounts, events",
}


def _file(path: Path) -> Explanation:
    place = next((part for part in reversed(path.parts) if part in _PLACES), "")
    whole = not path.parts or path.parts[-1] == place
    title = _PLACES[place] if whole else f"part of {place or 'the data root'}"
    return Explanation("path", str(path), title, "a path in the data root")


def _unowned(path: Path) -> Explanation:
    return Explanation(
        "path",
        str(path),
        "a directory of the storage driver that no layer and no container refers to",
        "left by a crash, or made by a container",
    )
