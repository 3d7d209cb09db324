"""An image and its layers, as objects that answer questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from onggi.engine.core import Core
from onggi.engine.inspection import inspect_image
from onggi.oci.digest import CacheID, ChainID, DiffID, Digest, ImageID
from onggi.oci.image_config import HistoryEntry, ImageConfig
from onggi.oci.reference import Reference
from onggi.oci.timestamps import to_unix
from onggi.record import record
from onggi.store.distribution import BlobSource

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from onggi.archive.tar import Member
    from onggi.engine.contents import ImageContents, ImageEntry
    from onggi.engine.layer import StoredLayer
    from onggi.engine.mounts import MountedImage
    from onggi.store.layerdb import LayerRecord
    from onggi.tree.differences import Change

__all__ = ["MISSING", "HistoryRow", "Image", "Layer"]

# What Docker prints for a history row whose image is not known here.
MISSING = "<missing>"


@record
class Layer:
    """One layer of an image under every name it has; ``index`` counts from 1 at the base.

    ``size`` is bytes of non-directories in the layer (docker-engine §6.9). ``blobs`` are the
    compressed forms it is known by, newest last. ``history`` is the row that made it.
    """

    core: Core
    image_id: ImageID
    index: int
    diff_id: DiffID
    chain_id: ChainID
    parent: ChainID | None
    cache_id: CacheID
    size: int
    history: HistoryEntry | None

    @property
    def path(self) -> Path:
        """The directory with its files, or with the tar that holds them (erofs) and its index.

        Read it; whoever writes there changes every image on it.
        """
        files = self.core.driver.files(self.cache_id)
        return files if files.is_dir() else files.parent

    @property
    def metadata_path(self) -> Path:
        """Its layerdb directory, named by the chainID."""
        return self.core.layers.db.path(self.chain_id)

    @property
    def blobs(self) -> tuple[BlobSource, ...]:
        """Where it came from: blob digest and repository."""
        return self.core.distribution.sources(self.diff_id)

    @property
    def stored(self) -> StoredLayer:
        """The same layer without its image: what it holds and changes."""
        from onggi.engine.layer import StoredLayer
        from onggi.store.layerdb import LayerRecord

        record = LayerRecord(self.chain_id, self.diff_id, self.parent, self.cache_id, self.size)
        return StoredLayer(self.core, record, self.chain_id.short)

    def files(self, path: str | bytes = b"") -> Iterator[Member]:
        """The members of its archive, in the archive's order, those at ``path`` and below it."""
        return self.stored.files(path)

    def read(self, path: str | bytes) -> Iterator[bytes]:
        """The content of one of its files, in verified pieces."""
        return self.stored.read(path)

    def diff(self) -> Iterator[Change]:
        """What it changes in the layers below it: A, C and D as in ``docker diff``."""
        return self.stored.diff()

    @property
    def last_used(self) -> float | None:
        """Seconds since 1970 when an image was last used through it; None when that is not on record."""
        return self.core.last_use.of(self.chain_id)

    @property
    def shared_with(self) -> list[Image]:
        """Other images that stand on this very layer (same chain)."""
        return [
            Image(self.core, image_id, config)
            for image_id, config in self.core.images.images()
            if image_id != self.image_id and self.chain_id in config.chain_ids
        ]


@record
class HistoryRow:
    """One row of ``history``; the last four fields are empty for rows that made no layer."""

    id: str
    created: str | None
    created_at: float | None
    created_by: str
    size: int
    comment: str
    tags: list[str]
    diff_id: DiffID | None
    chain_id: ChainID | None
    cache_id: CacheID | None
    blob_digests: tuple[Digest, ...]


class Image:
    """One image of the store. Facts are read when asked for; equality is by id."""

    def __init__(self, core: Core, image_id: ImageID, config: ImageConfig) -> None:
        self._core = core
        self.id = image_id
        self.config = config

    def __repr__(self) -> str:
        return f"<Image {self.id.short} {', '.join(self.tags) or '(no tag)'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # --- names ----------------------------------------------------------------------------

    @cached_property
    def references(self) -> list[Reference]:
        """Every name, sorted by canonical string."""
        return self._core.tags.snapshot().of(self.id)

    @property
    def tags(self) -> list[str]:
        """``name:tag`` in the familiar form."""
        return [reference.familiar for reference in self.references if reference.digest is None]

    @property
    def digests(self) -> list[str]:
        """``name@digest`` in the familiar form; of the manifest or index that was pulled."""
        return [reference.familiar for reference in self.references if reference.digest is not None]

    # --- facts ----------------------------------------------------------------------------

    @property
    def created(self) -> str | None:
        """RFC 3339 text of the config."""
        return self.config.created

    @property
    def created_at(self) -> float | None:
        """Seconds since 1970."""
        return to_unix(self.config.created)

    @property
    def size(self) -> int:
        """Σ of the layer sizes, in bytes: what Docker calls SIZE."""
        return self._core.size(self.config)

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the config."""
        return self.config.labels

    @property
    def parent(self) -> ImageID | None:
        """The image it was built on here."""
        return self._core.images.parent(self.id)

    @property
    def last_tagged(self) -> str | None:
        """RFC 3339 time of the last tag operation; pulls do not count."""
        return self._core.images.last_updated(self.id)

    @property
    def last_used(self) -> float:
        """Seconds since 1970 of its last pull, mount, save or push; else when it came here."""
        noted = self._core.last_use.of(self.id)
        if noted is not None:
            return noted
        try:
            return self._core.images.path(self.id).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    @property
    def pinned(self) -> bool:
        """True when no prune may take it."""
        return self.id in self._core.pins

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Its layers, base first. Raises CorruptLayer, and ImageNotFound when it was removed meanwhile."""
        made_by = self.config.layer_history()
        layers = []
        for index, chain in enumerate(self.config.chain_ids, start=1):
            record = self._layer_record(chain)
            layers.append(
                Layer(
                    self._core,
                    self.id,
                    index,
                    record.diff_id,
                    chain,
                    record.parent,
                    record.cache_id,
                    record.size,
                    made_by[index - 1],
                )
            )
        return tuple(layers)

    def _layer_record(self, chain: ChainID) -> LayerRecord:
        record = self._core.layers.get(chain)
        if record is not None:
            return record
        from onggi.engine.names import ImageNotFound
        from onggi.store.layerdb import CorruptLayer

        if self.id not in self._core.images:
            raise ImageNotFound(self.id)
        raise CorruptLayer(self._core.layers.db.path(chain), "it does not exist")

    def history(self) -> list[HistoryRow]:
        """How it was made, newest row first (docker-engine §8.2)."""
        rows = self._rows()
        self._name_rows(rows)
        return [HistoryRow(**row) for row in rows]

    def _rows(self) -> list[dict[str, Any]]:
        layers = iter(self.layers)
        rows: list[dict[str, Any]] = []
        for entry in self.config.history:
            layer = None if entry.empty_layer else next(layers, None)
            rows.append(
                {
                    "id": MISSING,
                    "created": entry.created,
                    "created_at": to_unix(entry.created),
                    "created_by": entry.created_by,
                    "size": 0 if layer is None else layer.size,
                    "comment": entry.comment,
                    "tags": [],
                    "diff_id": layer and layer.diff_id,
                    "chain_id": layer and layer.chain_id,
                    "cache_id": layer and layer.cache_id,
                    "blob_digests": () if layer is None else tuple(source.digest for source in layer.blobs),
                }
            )
        rows.reverse()
        return rows

    def _name_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Row 0 is the image, row k its k-th ancestor, as far as ancestors are known here."""
        names = self._core.tags.snapshot().by_image()
        image_id: ImageID | None = self.id
        for row in rows:
            if image_id is None:
                return
            row["id"] = image_id
            row["tags"] = [name.familiar for name in names.get(image_id, []) if name.digest is None]
            image_id = self._core.images.parent(image_id)

    def inspect(self) -> dict[str, Any]:
        """Docker's ``image inspect`` object, keys in Docker's order (docker-engine §8.3)."""
        return inspect_image(self._core, self)

    def mount(self, target: str | Path | None = None) -> MountedImage:
        """Mount the stack of its layers read-only: ``with image.mount() as root: …``."""
        from onggi.engine.mounts import MountedImage

        return MountedImage(self._core, self, None if target is None else Path(target))

    # --- what is inside -------------------------------------------------------------------

    @property
    def contents(self) -> ImageContents:
        """Its layers as one tree, read without a container or a mount."""
        from onggi.engine.contents import ImageContents

        return ImageContents(self._core, self.config, (self.tags or [self.id.short])[0])

    def open(self, path: str | bytes) -> BinaryIO:
        """A file of the image, links followed inside it; the caller closes it."""
        return self.contents.open(path)

    def walk(self, path: str | bytes = b"/") -> Iterator[ImageEntry]:
        """The entry at ``path`` and everything below it."""
        return self.contents.walk(path)

    def copy_out(self, path: str | bytes, target: str | Path, *, archive: bool = False) -> int:
        """Copy a file or directory to the host by the rules of ``docker cp``; gives the bytes copied."""
        return self.contents.copy_out(path, str(target), archive=archive)
