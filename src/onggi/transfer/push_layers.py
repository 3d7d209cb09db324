"""The layers of one push: each on the cheapest way that works (see push.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from onggi.archive.compression import Compression
from onggi.cancel import CancelToken
from onggi.content.blobs import BlobStore
from onggi.errors import Cancelled, InvalidArgument
from onggi.layers.store import LayerStore
from onggi.oci import media_types
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import ChainID, DiffID, Digest
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Manifest
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.progress import LayerStatus
from onggi.record import record, replace
from onggi.registry.destination import Destination
from onggi.registry.upload import Content, Uploaded
from onggi.store.distribution import BlobSource, DistributionDB
from onggi.store.layerdb import CorruptLayer
from onggi.store.locks import LockDirectory, want_lock
from onggi.store.proof import proof
from onggi.transfer.contents import KeptBlob, KeptBlobDamaged, LayerBlob
from onggi.transfer.reporter import Reporter

__all__ = ["LayerPush", "PushOptions", "Stores", "compression_of", "parse_compression"]

# (bytes of a layer up to which the row counts, mounts to try, blobs to look for) as Docker does.
_EFFORTS = ((100 * 1000, 1, 1), (10 * 1000 * 1000, 3, 1))
_MOST_EFFORT = (4, 3)


@record
class PushOptions:
    """What one push may differ in.

    ``compression`` None: blobs as they are known, else gzip. ``oci`` None: the form that the
    image came in, else Docker's, and OCI's where zstd makes it necessary. ``platforms`` empty:
    the tag's own image; one: the image for it; several, or ``all_platforms``: an index of them.
    """

    compression: Compression | None = None
    oci: bool | None = None
    platforms: tuple[Platform, ...] = ()
    all_platforms: bool = False
    max_concurrent_uploads: int = 5

    @property
    def as_index(self) -> bool:
        """True when an index is to be pushed."""
        return self.all_platforms or len(self.platforms) > 1


@record
class Stores:
    """Where layers, and what is known of them, lie."""

    blobs: BlobStore
    layers: LayerStore
    distribution: DistributionDB
    locks: LockDirectory


def parse_compression(text: str) -> Compression:
    """``gzip``, ``zstd`` or ``none``. Raises InvalidArgument."""
    choices = {"gzip": Compression.GZIP, "zstd": Compression.ZSTD, "none": Compression.NONE}
    if text not in choices:
        raise InvalidArgument(f"invalid compression: {text!r}", hint=f"choose one of {', '.join(choices)}")
    return choices[text]


def compression_of(media_type: str) -> Compression:
    """How a layer of this type is compressed; Docker's word for all of them is gzip."""
    if media_type.endswith("zstd"):
        return Compression.ZSTD
    return Compression.NONE if media_type.endswith(".tar") else Compression.GZIP


@record
class _Layer:
    """One layer; ``known`` is what the kept manifest lists at its place."""

    diff_id: DiffID
    chain_id: ChainID
    known: Descriptor | None
    size: int

    @property
    def id(self) -> str:
        """What Docker shows of it."""
        return self.diff_id.short


@record
class LayerPush:
    """The layers of one tag on their way; each distinct one is sent once.

    ``types`` are media types of blobs, as kept manifests tell them.
    """

    stores: Stores
    reference: Reference
    config: ImageConfig
    manifest: Manifest | None
    types: Mapping[Digest, str]
    destination: Destination
    options: PushOptions
    reporter: Reporter
    key: str

    def send_layers(self, cancel: CancelToken) -> list[Descriptor]:
        """A descriptor for every layer, base first."""
        layers = self._layers()
        for layer in reversed(layers):
            self.reporter.layer(layer.id, LayerStatus.PREPARING)
        distinct = list({layer.diff_id: layer for layer in reversed(layers)}.values())
        lanes = _Lanes(self._send, self.options.max_concurrent_uploads, cancel)
        for layer in distinct[self.options.max_concurrent_uploads :]:
            self.reporter.layer(layer.id, LayerStatus.WAITING)
        sent = lanes.run(distinct)
        return [sent[layer.diff_id] for layer in layers]

    def _layers(self) -> list[_Layer]:
        known = self.manifest.layers if self.manifest is not None else ()
        listed = known if len(known) == len(self.config.diff_ids) else [None] * len(self.config.diff_ids)
        chains = self.config.chain_ids
        return [
            _Layer(diff_id, chain, descriptor, self._size_of(chain))
            for diff_id, chain, descriptor in zip(self.config.diff_ids, chains, listed, strict=True)
        ]

    def _size_of(self, chain: ChainID) -> int:
        record = self.stores.layers.get(chain)
        if record is None:
            raise CorruptLayer(self.stores.layers.db.path(chain), "it does not exist")
        return record.size

    def _send(self, layer: _Layer, cancel: CancelToken) -> Descriptor:
        """The first way that works."""
        mounts, looks = next((row[1:] for row in _EFFORTS if layer.size <= row[0]), _MOST_EFFORT)
        sources = self._sources(layer)
        digests = list(dict.fromkeys(source.digest for source in sources))
        here = [source.digest for source in sources if source.repository == self.destination.name]
        first = list(dict.fromkeys([*digests[:1], *here[:1]]))
        descriptor = self._look_for(layer, first, cancel)
        if descriptor is not None:
            return descriptor
        descriptor, location = self._mount(layer, sources, mounts, cancel)
        if descriptor is None:
            rest = [digest for digest in digests if digest not in first]
            descriptor = self._look_for(layer, rest[: max(0, looks - len(first))], cancel)
        return descriptor or self._upload(layer, location, cancel)

    # --- what is known --------------------------------------------------------------------

    def _sources(self, layer: _Layer) -> list[BlobSource]:
        """Blobs that the layer is known by: the manifest's first, then here, here proved, then newest."""
        sources = list(reversed(self.stores.distribution.sources(layer.diff_id)))
        if layer.known is not None and all(source.digest != layer.known.digest for source in sources):
            sources.append(BlobSource(layer.known.digest, ""))
        wanted = self.options.compression
        if wanted is not None:
            sources = [item for item in sources if compression_of(self._type_of(item.digest)) is wanted]
        return sorted(sources, key=lambda source: self._rank(layer, source))

    def _rank(self, layer: _Layer, source: BlobSource) -> tuple[bool, bool, bool]:
        """Less is better."""
        listed = layer.known is not None and layer.known.digest == source.digest
        here = source.repository == self.destination.name
        proved = source.hmac == proof(self.key, source.digest, source.repository)
        return not listed, not here, not proved

    def _type_of(self, digest: Digest) -> str:
        return self.types.get(digest, media_types.DOCKER_LAYER_GZIP)

    # --- ways -----------------------------------------------------------------------------

    def _look_for(self, layer: _Layer, digests: Sequence[Digest], cancel: CancelToken) -> Descriptor | None:
        for digest in digests:
            size = self.destination.known_size(digest, cancel)
            if size is not None:
                self.reporter.layer(layer.id, LayerStatus.HELD)
                return self._remember(layer, Descriptor(self._type_of(digest), digest, size))
        return None

    def _mount(
        self, layer: _Layer, sources: Sequence[BlobSource], tries: int, cancel: CancelToken
    ) -> tuple[Descriptor | None, str | None]:
        """The mounted blob, or the upload that the registry has opened instead."""
        location = None
        for source, path in self._mountable(sources, tries):
            mounted = self.destination.mount(source.digest, path, cancel)
            if mounted.size is not None:
                self.reporter.layer(layer.id, LayerStatus.MOUNTED, source=path)
                descriptor = Descriptor(self._type_of(source.digest), source.digest, mounted.size)
                return self._remember(layer, descriptor), None
            location = mounted.location or location
        return None, location

    def _mountable(self, sources: Sequence[BlobSource], tries: int) -> Iterator[tuple[BlobSource, str]]:
        """Sources in other repositories of the same registry, with their paths."""
        for source in sources:
            domain, _, path = source.repository.partition("/")
            if tries and domain == self.reference.domain and path and path != self.reference.path:
                tries -= 1
                yield source, path

    def _upload(self, layer: _Layer, location: str | None, cancel: CancelToken) -> Descriptor:
        kept = self._kept(layer)
        if kept is not None:
            try:
                sent = self._bring(layer, kept, location, cancel)
                return self._pushed(layer, sent, self._type_of(sent.digest))
            except KeptBlobDamaged:
                self._discard(kept.digest)
        compression = self._compression(layer)
        made = LayerBlob(
            self.stores.layers, layer.chain_id, compression, self._counter(layer, layer.size), cancel
        )
        sent = self._bring(layer, made, location, cancel)
        ending = f"+{compression.value}" if compression.value else ""
        return self._pushed(layer, sent, media_types.OCI_LAYER + ending)

    def _compression(self, layer: _Layer) -> Compression:
        """As asked for, or as the layer was compressed before."""
        if self.options.compression is not None:
            return self.options.compression
        known = Compression.GZIP if layer.known is None else compression_of(layer.known.media_type)
        return Compression.GZIP if self.options.oci is False else known

    def _kept(self, layer: _Layer) -> KeptBlob | None:
        for digest in dict.fromkeys(source.digest for source in self._sources(layer)):
            if self.stores.blobs.is_kept(digest):
                path = self.stores.blobs.final_path(digest)
                found = KeptBlob.find(path, digest, lambda position: None)
                if found is not None:
                    return replace(found, on_read=self._counter(layer, found.size))
        return None

    def _discard(self, digest: Digest) -> None:
        lease = self.stores.locks.try_acquire(want_lock(digest), exclusive=True)
        if lease is not None:
            self.stores.blobs.discard(digest)
            lease.release(remove=True)

    def _bring(self, layer: _Layer, content: Content, location: str | None, cancel: CancelToken) -> Uploaded:
        def retrying(seconds: int) -> None:
            self.reporter.layer(layer.id, LayerStatus.RETRYING, retry_in_s=seconds)

        return self.destination.upload(content, cancel, location=location, on_retry=retrying)

    def _counter(self, layer: _Layer, total: int) -> Callable[[int], None]:
        def count(position: int) -> None:
            self.reporter.layer(layer.id, LayerStatus.PUSHING, position, total)

        return count

    def _pushed(self, layer: _Layer, sent: Uploaded, media_type: str) -> Descriptor:
        self.reporter.layer(layer.id, LayerStatus.PUSHED)
        return self._remember(layer, Descriptor(media_type, sent.digest, sent.size))

    def _remember(self, layer: _Layer, descriptor: Descriptor) -> Descriptor:
        name = self.destination.name
        source = BlobSource(descriptor.digest, name, proof(self.key, descriptor.digest, name))
        self.stores.distribution.add(layer.diff_id, source)
        return descriptor


class _Lanes:
    """Some threads that take layers from one list; the first error ends all of them."""

    def __init__(
        self, send: Callable[[_Layer, CancelToken], Descriptor], lanes: int, cancel: CancelToken
    ) -> None:
        self._send = send
        self._lanes = lanes
        self._cancel = cancel
        self._stop = CancelToken(cancel.remaining_s())
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        self._sent: dict[DiffID, Descriptor] = {}

    def run(self, layers: Sequence[_Layer]) -> dict[DiffID, Descriptor]:
        """Send all; raises the error that came first."""
        waiting = iter(layers)
        forget = self._cancel.on_cancel(self._stop.cancel)
        threads = [
            threading.Thread(target=self._lane, args=(waiting,), name="onggi-upload", daemon=True)
            for _ in range(min(self._lanes, len(layers)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        forget()
        if self._errors:
            raise next((error for error in self._errors if not isinstance(error, Cancelled)), self._errors[0])
        return self._sent

    def _lane(self, waiting: Iterator[_Layer]) -> None:
        try:
            while not self._stop.cancelled:
                with self._lock:
                    layer = next(waiting, None)
                if layer is None:
                    return
                self._sent[layer.diff_id] = self._send(layer, self._stop)
        except BaseException as error:
            self._errors.append(error)
            self._stop.cancel()
