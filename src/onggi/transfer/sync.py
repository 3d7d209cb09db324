"""Sync: images of one store into another, without a registry. Only missing layers travel.

A :class:`Source` tells what images it has and gives the tar stream of a layer; a :class:`Sink` is
the store that takes. A layer's bytes go into a nameless file that its worker follows, several
layers side by side; a layer is committed when its diffID is the one that the config names, so a
source need not be trusted: an image's id is computed from its config's bytes, and what was not
asked for is refused. The order of effects is that of a pull.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.errors import DataLoss, OnggiError
from onggi.layers.store import LayerStore
from onggi.layers.tar_stream import layer_tar
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import ChainID, DiffID, Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.reference import Reference, parse_any
from onggi.progress import LayerStatus
from onggi.record import record
from onggi.store.distribution import BlobSource, DistributionDB
from onggi.store.imagedb import ImageDB, UnknownImage
from onggi.store.locks import Lease, LockDirectory
from onggi.store.tags import DigestTaken, TagStore
from onggi.transfer.held_layers import HeldLayers
from onggi.transfer.layers import Download, LayerPull
from onggi.transfer.reporter import Reporter
from onggi.transfer.wanted import Need, Wanted, wanted_layers

__all__ = ["LocalSource", "NotAskedFor", "Offer", "OfferedLayer", "Sink", "Source", "Synced", "WrongLayer"]

_TAR = "application/vnd.oci.image.layer.v1.tar"
# Layers read at once from a store on this host.
_LOCAL_LANES = 3


class WrongLayer(DataLoss):
    """The source sent other bytes than the config promises."""

    def __init__(self, source: str, expected: DiffID, found: DiffID) -> None:
        super().__init__(
            f"sync from {source}: layer {expected} came as {found}",
            hint="its store is damaged: 'onggi verify' there tells where",
        )


class NotAskedFor(DataLoss):
    """The source answers with an image or a name that nobody asked for."""

    def __init__(self, source: str, what: str) -> None:
        super().__init__(f"sync from {source}: it sends {what}, which was not asked for")


@record
class OfferedLayer:
    """A layer as its source knows it: ``size_bytes`` as in layerdb, the blobs it is known as."""

    size_bytes: int
    sources: tuple[BlobSource, ...] = ()


@record
class Offer:
    """An image that a source has: its config, the names that go with it, its layers, base first."""

    config: ImageConfig
    names: tuple[Reference, ...]
    layers: tuple[OfferedLayer, ...]


@record
class Synced:
    """What became of one image, or in a dry run would become.

    ``missing`` are the layers that are copied, base first, ``missing_bytes`` the size of their
    files. ``new`` tells whether the store lacked the image or one of the names.
    """

    image_id: ImageID
    names: tuple[str, ...]
    layers: int
    missing: tuple[DiffID, ...]
    missing_bytes: int
    new: bool


class Source(Protocol):
    """A store that gives."""

    name: str
    """What messages call it."""
    lanes: int
    """How many layers it can send at once."""

    def offers(self, names: Sequence[str]) -> list[Offer]:
        """The images called so; without names all that have one. Raises NotFound."""

    def layer(self, chain: ChainID) -> Iterator[bytes]:
        """The uncompressed tar of a layer that was offered. Raises LayerChanged, CorruptLayer."""


# --- giving -----------------------------------------------------------------------------------


class LocalSource:
    """A store of this host as a source; a context manager that keeps what it offers from being removed.

    ``find`` turns a user's word into an image.
    """

    def __init__(
        self,
        name: str,
        images: ImageDB,
        tags: TagStore,
        layers: LayerStore,
        distribution: DistributionDB,
        find: Callable[[str], ImageID],
    ) -> None:
        self.name = name
        self.lanes = _LOCAL_LANES
        self._images = images
        self._tags = tags
        self._layers = layers
        self._distribution = distribution
        self._find = find
        self._leases: dict[str, Lease] = {}

    def __enter__(self) -> LocalSource:
        return self

    def __exit__(self, *_: object) -> None:
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()

    def offers(self, names: Sequence[str]) -> list[Offer]:
        """See :class:`Source`."""
        chosen: dict[ImageID, list[Reference]] = {}
        by_image = self._tags.snapshot().by_image()
        for name in names:
            image_id = self._find(name)
            known = chosen.setdefault(image_id, [])
            known += [r for r in _named(name, by_image.get(image_id, [])) if r not in known]
        if not names:
            chosen = {image_id: known for image_id, known in by_image.items() if image_id in self._images}
        offers = []
        for image_id, known in chosen.items():
            try:
                offers.append(self._offer(image_id, known))
            except UnknownImage:
                if names:
                    raise
        return offers

    def _offer(self, image_id: ImageID, names: Iterable[Reference]) -> Offer:
        config = self._images.get(image_id)
        layers = []
        for chain, diff_id in zip(config.chain_ids, config.diff_ids, strict=True):
            self._lease(f"chain-{chain.hex}")
            found = self._layers.get(chain)
            layers.append(OfferedLayer(found.size if found else 0, self._distribution.sources(diff_id)))
        self._lease(f"image-{image_id.hex}")
        # Its config goes before its layers: as long as it is here, they are, and leased they stay.
        if image_id not in self._images:
            raise UnknownImage(image_id)
        return Offer(config, tuple(names), tuple(layers))

    def _lease(self, lock: str) -> None:
        """Keep an object while we read; who may not write to this store goes without."""
        if lock in self._leases:
            return
        try:
            lease = self._layers.locks.try_acquire(lock, exclusive=False)
        except OSError:
            return
        if lease is not None:
            self._leases[lock] = lease

    def layer(self, chain: ChainID) -> Iterator[bytes]:
        """See :class:`Source`."""
        return layer_tar(self._layers, chain)


def _named(text: str, known: Sequence[Reference]) -> list[Reference]:
    """Names that go along with an image called ``text``: that name, and its digests in that repository."""
    parsed = parse_any(text)
    if isinstance(parsed, Digest):
        return []
    return [reference for reference in known if _belongs(reference, parsed)]


def _belongs(reference: Reference, asked: Reference) -> bool:
    if reference.name != asked.name:
        return False
    if asked.digest is not None:
        return reference.digest == asked.digest
    return reference.digest is not None or reference.tag == asked.tagged().tag


# --- taking -----------------------------------------------------------------------------------


@record
class Sink:
    """A store that takes; stateless. ``spool`` is a directory on its file system."""

    images: ImageDB
    tags: TagStore
    layers: LayerStore
    distribution: DistributionDB
    locks: LockDirectory
    workers: Workers
    spool: Path

    def offers(self, source: Source, names: Sequence[str]) -> list[Offer]:
        """What the source has of ``names``, checked. Raises NotAskedFor, and the source's errors."""
        offers = source.offers(names)
        for offer in offers:
            if len(offer.layers) != len(offer.config.diff_ids):
                raise NotAskedFor(source.name, f"an image of {len(offer.layers)} layers")
            if names:
                _check_asked_for(source.name, offer, names)
        return offers

    def plan(self, offers: Iterable[Offer]) -> list[Synced]:
        """What :meth:`store` would do; changes nothing."""
        planned: set[ChainID] = set()
        found = []
        for offer in offers:
            lacking = [
                index
                for index, chain in enumerate(offer.config.chain_ids)
                if chain not in planned and self.layers.usable(chain) is None
            ]
            planned.update(offer.config.chain_ids[index] for index in lacking)
            found.append(self._synced(offer, lacking, self._is_new(offer)))
        return found

    def _is_new(self, offer: Offer) -> bool:
        names = self.tags.snapshot()
        return offer.config.id not in self.images or any(
            names.find(reference) != offer.config.id for reference in offer.names
        )

    def _synced(self, offer: Offer, lacking: Sequence[int], new: bool) -> Synced:
        return Synced(
            offer.config.id,
            tuple(reference.familiar for reference in offer.names),
            len(offer.layers),
            tuple(offer.config.diff_ids[index] for index in lacking),
            sum(offer.layers[index].size_bytes for index in lacking),
            new or bool(lacking),
        )

    def store(self, source: Source, offer: Offer, reporter: Reporter, cancel: CancelToken) -> Synced:
        """Bring one image here with its names. Raises WrongLayer, TooDeep, DiskFull, the source's errors."""
        new = self._is_new(offer)
        image_lock = f"image-{offer.config.id.hex}"
        with ExitStack() as leases:
            leases.enter_context(self.locks.acquire(image_lock, exclusive=False, cancel=cancel))
            wanted = self._want(offer, reporter, cancel, leases)
            lacking = [layer.depth - 1 for layer in wanted if layer.need is Need.UNPACK]
            self._transfer(source, offer, wanted, reporter, cancel)
            self._remember(offer, wanted)
            self.images.add(offer.config)
            self._name(offer)
        return self._synced(offer, lacking, new)

    def _want(self, offer: Offer, reporter: Reporter, cancel: CancelToken, leases: ExitStack) -> list[Wanted]:
        """Lease every layer, base first: shared on one that is here, exclusive to make one."""
        config = offer.config
        descriptors = [
            Descriptor(_TAR, Digest(diff_id), layer.size_bytes)
            for diff_id, layer in zip(config.diff_ids, offer.layers, strict=True)
        ]
        wanted = wanted_layers(config, descriptors)
        for layer in wanted:
            layer.take_lease(self.layers, leases, cancel)
            known = layer.need is Need.NOTHING
            reporter.layer(layer.diff_id.short, LayerStatus.EXISTS if known else LayerStatus.PULLING)
        return wanted

    def _transfer(
        self,
        source: Source,
        offer: Offer,
        wanted: Sequence[Wanted],
        reporter: Reporter,
        cancel: CancelToken,
    ) -> None:
        chains = {item.descriptor.digest: item.chain_id for item in wanted if item.need is Need.UNPACK}
        if not chains:
            return
        pull = LayerPull(
            self.layers,
            self.workers,
            reporter,
            final_path=lambda digest: self.spool / digest.hex,
            cancel=cancel,
            max_downloads=source.lanes,
            max_unpacks=(os.cpu_count() or 1) + 1,
            mismatch=lambda layer, found: WrongLayer(source.name, layer.diff_id, found),
        )

        def committed(group: Sequence[Wanted]) -> None:
            for layer in group:
                layer.share()
                reporter.layer(layer.diff_id.short, LayerStatus.COMPLETE)

        self.spool.mkdir(parents=True, exist_ok=True)
        with HeldLayers(self.layers, DiffID, self.spool) as held:
            pull.run(wanted, _Fetcher(source, chains, self.spool, reporter, held), committed)

    def _remember(self, offer: Offer, wanted: Sequence[Wanted]) -> None:
        """Keep what the source knows of each layer's blobs: a later pull or push saves their bytes."""
        for layer, offered in zip(wanted, offer.layers, strict=True):
            known = self.distribution.sources(layer.diff_id)
            for blob in offered.sources:
                if blob not in known:
                    self.distribution.add(layer.diff_id, blob)

    def _name(self, offer: Offer) -> None:
        with self.tags.transaction("sync") as names:
            for reference in offer.names:
                try:
                    names.set(reference, offer.config.id)
                except DigestTaken:
                    # The digest of an index, here for another platform already: it stays where it is.
                    continue


def _check_asked_for(source: str, offer: Offer, names: Sequence[str]) -> None:
    """Every name that comes must have been asked for, and an image without a name by its id."""
    asked = [parsed for parsed in map(_parsed, names) if isinstance(parsed, Reference)]
    for reference in offer.names:
        if not any(_belongs(reference, name) for name in asked):
            raise NotAskedFor(source, f"the name {reference.familiar}")
    digits = offer.config.id.hex
    if not offer.names and not any(digits.startswith(name.removeprefix("sha256:")) for name in names):
        raise NotAskedFor(source, f"image {offer.config.id.short}")


def _parsed(name: str) -> Digest | Reference | None:
    try:
        return parse_any(name)
    except OnggiError:
        return None


@record
class _Fetcher:
    """Brings one layer's tar into a nameless file, telling those who follow it.

    A layer that is here under another chain is made from that one and does not travel.
    """

    source: Source
    chains: dict[Digest, ChainID]
    spool: Path
    reporter: Reporter
    held: HeldLayers

    def __call__(self, download: Download, cancel: CancelToken) -> None:
        made = self.held.tar(download.descriptor.digest, cancel)
        if made is not None:
            download.finish(*made)
            return
        with tempfile.TemporaryFile(dir=self.spool, buffering=0) as spool:
            try:
                self._receive(download, spool, cancel)
            except BaseException as error:
                download.fail(error)
                raise
            finally:
                # Until they have read it, the file must not go: its number would be another's.
                for follower in download.followers:
                    follower.done.wait()

    def _receive(self, download: Download, spool: BinaryIO, cancel: CancelToken) -> None:
        path = Path(f"/proc/self/fd/{spool.fileno()}")
        expected = download.descriptor.size
        short = download.descriptor.digest.short
        size = 0
        for piece in self.source.layer(self.chains[download.descriptor.digest]):
            cancel.check()
            _write_all(spool.fileno(), piece)
            size += len(piece)
            download.advance(path, size)
            self.reporter.layer(short, LayerStatus.DOWNLOADING, size, max(size, expected))
        self.reporter.layer(short, LayerStatus.DOWNLOADED)
        download.finish(path, size)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
