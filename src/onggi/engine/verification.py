"""``engine.images.verify``: is what lies on disk still what was pulled?

Each layer is checked once, however many images share it. Nothing is changed, nothing is
fetched; ``repair`` does that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.engine.core import Core
from onggi.engine.names import ImageNotFound, find_image
from onggi.errors import NotFound, OnggiError
from onggi.layers.verify import Believed, LayerCheck, believed, check_layers
from onggi.oci.digest import CacheID, ChainID, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.record import record
from onggi.tree.change import Change

__all__ = ["Finding", "Placed", "Verification", "config_finding", "layer_findings", "place_layers"]

_WORDS = {
    "added": "added",
    "missing": "missing",
    "ctime": "touched after the layer was unpacked",
}


@record
class Finding:
    """One thing that is not as it was.

    ``image`` is a name of the image (or its short id; empty for names and for layers of no
    image), ``layer`` counts from 1 at the base (0: not of a layer). ``path`` is below the
    layer's root, None where the finding is about metadata: then ``file`` names it and
    ``reason`` tells. ``mendable``: ``repair`` needs no registry for it.
    """

    image: str
    reason: str
    layer: int = 0
    chain_id: ChainID | None = None
    cache_id: CacheID | None = None
    path: bytes | None = None
    file: str = ""
    changes: tuple[Change, ...] = ()
    mendable: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"

    @property
    def where(self) -> str:
        """The image, the layer and its directory."""
        if self.chain_id is None:
            return self.image or self.file
        place = f"{self.image} layer {self.layer}" if self.image else f"layer {self.chain_id}"
        return f"{place} (cache-id {self.cache_id[:12]})" if self.cache_id else place

    @property
    def what(self) -> str:
        """The path or file, and what happened to it."""
        if self.path is None:
            return f"{self.file}: {self.reason}" if self.chain_id is not None else self.reason
        return f"{_shown(self.path)}: " + ", ".join(_described(change) for change in self.changes)


def _described(change: Change) -> str:
    words = _WORDS.get(change.what, f"{change.what} changed")
    if change.expected and change.found:
        return f"{words} ({change.expected} → {change.found})"
    detail = change.expected or change.found
    return f"{words} ({detail})" if detail and change.what != "ctime" else words


def _shown(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace") or "/"
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


@record
class Placed:
    """A layer to check and where it was first met: an image and the layer's number in it."""

    layer: Believed
    image: str = ""
    index: int = 0


class Verification:
    """Iterate it for findings; when it is through, the counts are whole.

    ``images`` and ``layers`` count what was checked, ``damaged`` the layers with findings,
    ``size_bytes`` what was hashed; ``notes`` tell what could not be checked and is no damage.
    """

    def __init__(
        self,
        core: Core,
        workers: Workers,
        names: Iterable[str],
        *,
        all: bool,
        fast: bool,
        cancel: CancelToken | None,
    ) -> None:
        self._core = core
        self._workers = workers
        self._all = all
        self._fast = fast
        self._cancel = cancel
        chosen = core.images.ids() if all else [find_image(core, name) for name in names]
        self._ids = list(dict.fromkeys(chosen))
        self.images = len(self._ids)
        self.layers = 0
        self.damaged = 0
        self.size_bytes = 0
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[Finding]:
        yield from _names(self._core)
        configs: dict[ImageID, ImageConfig] = {}
        for image_id in self._ids:
            try:
                configs[image_id] = self._core.images.get(image_id)
            except NotFound:
                self._leave_out(image_id)
            except OnggiError as error:
                yield _broken_config(self._core, image_id, error)
        placed = place_layers(self._core, configs, all=self._all)
        checks = check_layers(
            self._core.layers,
            self._workers,
            [each.layer for each in placed],
            fast=self._fast,
            cancel=self._cancel,
        )
        for each, check in zip(placed, checks, strict=True):
            yield from self._count(each, check)

    def _leave_out(self, image_id: ImageID) -> None:
        """An image that was removed since it was looked up."""
        if not self._all:
            raise ImageNotFound(image_id)
        self.images -= 1

    def _count(self, placed: Placed, check: LayerCheck) -> Iterator[Finding]:
        if check.gone:
            return
        self.layers += 1
        self.damaged += not check.sound
        self.size_bytes += check.size_bytes
        if check.note:
            where = Finding(placed.image, "", placed.index, check.chain_id, check.cache_id).where
            self.notes.append(f"{where}: {check.note}")
        yield from layer_findings(placed, check)


def place_layers(core: Core, configs: dict[ImageID, ImageConfig], *, all: bool = False) -> list[Placed]:
    """The layers of some images, each once; with ``all`` those of no image too."""
    placed: dict[ChainID, Placed] = {}
    for image_id, config in configs.items():
        parent = None
        pairs = zip(config.chain_ids, config.diff_ids, strict=True)
        for index, (chain, diff_id) in enumerate(pairs, start=1):
            layer = Believed(chain, diff_id, parent, True)
            placed.setdefault(chain, Placed(layer, shown_name(core, image_id), index))
            parent = chain
    if all:
        for chain in core.layers.db.chains():
            if chain not in placed:
                placed[chain] = Placed(believed(core.layers, chain))
    return list(placed.values())


def layer_findings(placed: Placed, check: LayerCheck) -> Iterator[Finding]:
    """What a check found, as findings."""
    for flaw in check.flaws:
        yield Finding(
            placed.image,
            flaw.reason,
            placed.index,
            check.chain_id,
            check.cache_id,
            file=flaw.file,
            mendable=flaw.mendable,
        )
    for each in check.changes:
        yield Finding(
            placed.image,
            "",
            placed.index,
            check.chain_id,
            check.cache_id,
            path=each.path,
            changes=each.changes,
        )


def config_finding(core: Core, image_id: ImageID) -> Finding | None:
    """Why an image's config cannot be trusted, or None."""
    try:
        core.images.get(image_id)
    except OnggiError as error:
        return _broken_config(core, image_id, error)
    return None


def _broken_config(core: Core, image_id: ImageID, error: OnggiError) -> Finding:
    return Finding(shown_name(core, image_id), error.message, file="imagedb/content")


def _names(core: Core) -> Iterator[Finding]:
    try:
        core.tags.snapshot()
    except OnggiError as error:
        yield Finding("", error.message, file="repositories.json")


def shown_name(core: Core, image_id: ImageID) -> str:
    """The first name of an image, or its short id."""
    try:
        names = core.tags.snapshot().of(image_id)
    except OnggiError:
        names = []
    tagged = [name for name in names if name.digest is None]
    return tagged[0].familiar if tagged else image_id.short
