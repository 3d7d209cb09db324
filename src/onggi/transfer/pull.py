"""Pull: a reference becomes an image in the store.

Order of effects, so that a kill anywhere leaves a sound store: layers (base first), image
config, ``repositories.json``. Until the names are written, leases keep the layers and the
image from a concurrent removal (docker-engine §2.7; architecture: leases).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.content.blobs import BlobStore
from onggi.content.download import Watchers
from onggi.content.ratelimit import RateLimiter
from onggi.drivers.workers import Workers
from onggi.errors import Forbidden, OnggiError, Unsupported
from onggi.layers.store import LayerStore
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.progress import LayerStatus, ProgressSink
from onggi.record import record
from onggi.registry.client import RegistryClient, Repository
from onggi.store.distribution import BlobSource, DistributionDB
from onggi.store.imagedb import ImageDB
from onggi.store.locks import Lease, LockDirectory, want_lock
from onggi.store.manifests import ManifestDB
from onggi.store.tags import DigestTaken, TagStore
from onggi.transfer.blobs_ahead import BlobsAhead
from onggi.transfer.held_layers import HeldLayers
from onggi.transfer.layers import ConfigMismatch, Download, LayerPull
from onggi.transfer.platform_search import PlatformSearch
from onggi.transfer.reporter import Reporter
from onggi.transfer.wanted import Need, Wanted, wanted_layers

__all__ = ["ForeignOperatingSystem", "PullOptions", "Pulled", "Puller", "ReservedName", "Selected"]

# Bytes; Docker reads configs of any size into memory, we refuse absurd ones.
_MAX_CONFIG_BYTES = 8 * 1024 * 1024


class ReservedName(Forbidden):
    """``scratch`` is no image."""

    def __init__(self) -> None:
        super().__init__("'scratch' is a reserved name", hint="it stands for the empty image in a Dockerfile")


class ForeignOperatingSystem(Unsupported):
    """The image is for another operating system."""

    def __init__(self, os: str) -> None:
        super().__init__(
            f'image operating system "{os}" cannot be used on this platform',
            hint="choose a Linux image, e.g. with --platform linux/amd64",
        )


@record
class PullOptions:
    """What one pull may differ in from the configuration.

    ``keep_blobs``: blobs stay beside the layers made of them, so that a push sends the same bytes.
    """

    platform: Platform | None = None
    max_concurrent_downloads: int = 3
    max_unpacks: int = 3
    limiter: RateLimiter | None = None
    keep_blobs: bool = False


@record
class Selected:
    """What a reference means for a platform. ``digest`` is that of the top document (index or manifest).

    ``indexes`` lead to the manifest, innermost first.
    """

    reference: Reference
    digest: Digest
    manifest: Manifest
    indexes: tuple[Index, ...] = ()


@record
class Pulled:
    """The end of a pull. ``newer`` is False when the reference meant this image already."""

    reference: Reference
    image_id: ImageID
    digest: Digest
    newer: bool


@record
class Puller:
    """Everything a pull needs; stateless, so any number of pulls may run at once."""

    config: Config
    client: RegistryClient
    blobs: BlobStore
    layers: LayerStore
    images: ImageDB
    tags: TagStore
    distribution: DistributionDB
    manifests: ManifestDB
    locks: LockDirectory
    workers: Workers

    def pull(
        self, reference: Reference, options: PullOptions, sink: ProgressSink, cancel: CancelToken
    ) -> Pulled:
        """Pull one tag or digest. ``reference`` has a tag or a digest."""
        if reference.familiar_name == "scratch":
            raise ReservedName
        reporter = Reporter(sink)
        repository = self.client.repository(reference)
        resolved = repository.resolve(reference, cancel)
        reporter.message(f"Pulling from {reference.path}", _announced(reference))
        selected = self.select(repository, reference, resolved.raw, resolved.media_type, options, cancel)
        with ExitStack() as leases:
            image_id = self._ensure_image(repository, selected, options, reporter, cancel, leases)
            newer = self._name(selected, image_id)
        reporter.message(f"Digest: {selected.digest}")
        return Pulled(reference, image_id, selected.digest, newer)

    # --- which manifest -------------------------------------------------------------------

    def select(
        self,
        repository: Repository,
        reference: Reference,
        raw: bytes,
        media_type: str,
        options: PullOptions,
        cancel: CancelToken,
    ) -> Selected:
        """Follow indexes down to the manifest of the wanted platform."""
        document = parse_manifest(raw, media_type)
        search = PlatformSearch(repository, options.platform, self.config.compat, cancel)
        manifest = search.manifest(document)
        return Selected(reference, document.digest, manifest, tuple(search.indexes))

    # --- the image ------------------------------------------------------------------------

    def _ensure_image(
        self,
        repository: Repository,
        selected: Selected,
        options: PullOptions,
        reporter: Reporter,
        cancel: CancelToken,
        leases: ExitStack,
    ) -> ImageID:
        image_id = ImageID.parse(selected.manifest.config.digest)
        leases.enter_context(self.locks.acquire(f"image-{image_id.hex}", exclusive=False, cancel=cancel))
        if self._is_whole(image_id) and not (options.keep_blobs and self._lacks_blobs(selected.manifest)):
            self._keep_documents(image_id, selected)
            return image_id
        with self._blobs_ahead(repository, options, cancel) as ahead:
            # Those that wait for a layer of which nothing is known are needed, whatever the config says.
            ahead.start(selected.manifest.layers[: options.max_concurrent_downloads])
            config = self.fetch_config(repository, selected.manifest, cancel)
            wanted = self._want(selected.manifest, config, options, reporter, cancel, leases)
            self.transfer(lambda digest: repository, wanted, options, reporter, cancel, ahead)
        self._remember(repository, [layer for layer in wanted if layer.need is Need.NOTHING])
        self._keep_documents(image_id, selected)
        self.images.add(config, durable_name=False)
        return image_id

    def _keep_documents(self, image_id: ImageID, selected: Selected) -> None:
        for index in selected.indexes:
            self.manifests.add(image_id, index)
        self.manifests.add(image_id, selected.manifest)

    def _lacks_blobs(self, manifest: Manifest) -> bool:
        return not all(self.blobs.is_kept(layer.digest) for layer in manifest.layers)

    def _is_whole(self, image_id: ImageID) -> bool:
        """True when the image is here with all its layers in order."""
        try:
            config = self.images.get(image_id)
        except OnggiError:
            return False
        return all(self.layers.usable(chain) is not None for chain in config.chain_ids)

    def fetch_config(self, repository: Repository, manifest: Manifest, cancel: CancelToken) -> ImageConfig:
        """The image config, verified by digest and against the manifest's layers."""
        raw = repository.read_blob(manifest.config, _MAX_CONFIG_BYTES, cancel)
        config = ImageConfig.parse(raw)
        if config.os not in ("", "linux"):
            raise ForeignOperatingSystem(config.os)
        if len(config.diff_ids) != len(manifest.layers):
            raise ConfigMismatch(
                f"the manifest has {len(manifest.layers)} layers, the config names {len(config.diff_ids)}"
            )
        return config

    def _want(
        self,
        manifest: Manifest,
        config: ImageConfig,
        options: PullOptions,
        reporter: Reporter,
        cancel: CancelToken,
        leases: ExitStack,
    ) -> list[Wanted]:
        """Lease every layer, base first, and find out what each needs."""
        wanted = wanted_layers(config, manifest.layers)
        shown: set[Digest] = set()
        held = True
        for layer in wanted:
            held = self._lease(layer, held, options, cancel, leases) and held
            digest = layer.descriptor.digest
            if digest not in shown:
                shown.add(digest)
                status = LayerStatus.EXISTS if layer.need is Need.NOTHING else LayerStatus.PULLING
                reporter.layer(digest.short, status)
        return wanted

    def _lease(
        self,
        layer: Wanted,
        held_below: bool,
        options: PullOptions,
        cancel: CancelToken,
        leases: ExitStack,
    ) -> bool:
        """Take the lease that fits: shared on a layer that is here, exclusive to make one.

        Docker stops looking after the first layer it must fetch (§2.7.3): so do we, since a
        layer cannot be here without its parent, except by damage. A layer whose blob is to be
        kept, and is not here, is fetched like one that is not known to come from that blob.
        """
        layer.take_lease(self.layers, leases, cancel)
        if layer.need is Need.NOTHING:
            digest = layer.descriptor.digest
            known = self.distribution.diff_id(digest) == layer.diff_id
            known = known and (not options.keep_blobs or self.blobs.is_kept(digest))
            layer.need = Need.NOTHING if known and held_below else Need.HASH
        return layer.need is Need.NOTHING

    def transfer(
        self,
        repository_of: Callable[[Digest], Repository],
        wanted: Sequence[Wanted],
        options: PullOptions,
        reporter: Reporter,
        cancel: CancelToken,
        ahead: BlobsAhead | None = None,
    ) -> None:
        """Bring the layers that need something, each blob from its repository; leased by the caller.

        ``ahead``: where the first of them may be coming from.
        """
        if all(layer.need is Need.NOTHING for layer in wanted):
            return
        transfer = LayerPull(
            self.layers,
            self.workers,
            reporter,
            final_path=self.blobs.final_path,
            cancel=cancel,
            max_downloads=options.max_concurrent_downloads,
            max_unpacks=options.max_unpacks,
        )
        pending = [layer.descriptor.digest for layer in wanted if layer.need is not Need.NOTHING]
        shown: set[Digest] = set()

        def committed(group: Sequence[Wanted]) -> None:
            for layer in group:
                digest = layer.descriptor.digest
                self._remember(repository_of(digest), [layer])
                layer.share()
                if digest not in shown:
                    shown.add(digest)
                    reporter.layer(digest.short, LayerStatus.COMPLETE)
                pending.remove(digest)
                if digest not in pending:
                    self._keep_or_discard(digest, needed.pop(digest), options)

        needed = {digest: self.locks.acquire(want_lock(digest), exclusive=False) for digest in set(pending)}
        try:
            with self._held_layers() as held:
                transfer.run(wanted, _Fetcher(self, repository_of, options, reporter, held, ahead), committed)
        finally:
            for lease in needed.values():
                lease.release()

    def _blobs_ahead(self, repository: Repository, options: PullOptions, cancel: CancelToken) -> BlobsAhead:
        def receive(descriptor: Descriptor, watchers: Watchers, stop: CancelToken) -> Path | None:
            digest = descriptor.digest
            lease = self.locks.try_acquire(f"blob-{digest.hex}", exclusive=True)
            if lease is None:
                return None
            with lease:
                # A blob that is here is another pull's, or will be looked at in its turn.
                if self.blobs.final_path(digest).exists() or self.distribution.diff_id(digest) is not None:
                    return None
                return self.receive(repository, descriptor, watchers, options, stop)

        def want(digest: Digest) -> Lease:
            return self.locks.acquire(want_lock(digest), exclusive=False)

        return BlobsAhead(receive, want, self._let_go, cancel)

    def receive(
        self,
        repository: Repository,
        descriptor: Descriptor,
        watchers: Watchers,
        options: PullOptions,
        cancel: CancelToken,
    ) -> Path:
        """Receive a blob, leased by the caller."""
        return self.blobs.download(
            descriptor,
            repository.blob(descriptor.digest, descriptor.size),
            on_progress=watchers.progress,
            on_retry=watchers.retry,
            limiter=options.limiter,
            cancel=cancel,
        )

    def _held_layers(self) -> HeldLayers:
        return HeldLayers(self.layers, self.distribution.diff_id, self.blobs.directory)

    def _keep_or_discard(self, digest: Digest, wanted: Lease, options: PullOptions) -> None:
        """Let go of a blob; delete it, unless it is to stay or another pull wants it for a layer."""
        if options.keep_blobs:
            self.blobs.keep(digest)
        self._let_go(digest, wanted)

    def _let_go(self, digest: Digest, wanted: Lease) -> None:
        wanted.release()
        if self.blobs.is_kept(digest):
            return
        lease = self.locks.try_acquire(want_lock(digest), exclusive=True)
        if lease is not None:
            self.blobs.discard(digest)
            lease.release(remove=True)

    def _remember(self, repository: Repository, group: Sequence[Wanted]) -> None:
        for layer in group:
            source = BlobSource(layer.descriptor.digest, repository.name)
            self.distribution.add(layer.diff_id, source)

    # --- the names ------------------------------------------------------------------------

    def _name(self, selected: Selected, image_id: ImageID) -> bool:
        """Let the reference mean the image; True when it meant another one, or nothing, before."""
        reference = selected.reference
        by_digest = reference.without_tag().with_digest(selected.digest)
        with self.tags.transaction("pull", selected.digest, first=self.images.sync) as names:
            if reference.digest is not None:
                return names.set(by_digest, image_id) != image_id
            try:
                names.set(by_digest, image_id)
            except DigestTaken:
                # The same index pulled for another platform: the digest stays where it is (§2.7.7).
                pass
            return names.set(reference, image_id) != image_id


def _announced(reference: Reference) -> str:
    """What stands before ``: Pulling from``: the tag, or the canonical reference of a digest."""
    if reference.digest is not None:
        return f"{reference.name}@{reference.digest}"
    return reference.tag or "latest"


@record
class _Fetcher:
    """Brings one blob, telling the reporter and the blob's followers how far it is."""

    puller: Puller
    repository_of: Callable[[Digest], Repository]
    options: PullOptions
    reporter: Reporter
    held: HeldLayers
    ahead: BlobsAhead | None

    def __call__(self, download: Download, cancel: CancelToken) -> None:
        """From a layer that is here where the blob itself is not needed, else from the registry."""
        wanted = not self.options.keep_blobs and not download.proves
        made = self.held.tar(download.descriptor.digest, cancel) if wanted else None
        if made is not None:
            download.finish(*made)
        else:
            self._download(download, cancel)

    def _download(self, download: Download, cancel: CancelToken) -> None:
        descriptor = download.descriptor
        partial = self.puller.blobs.partial_path(descriptor.digest)
        watchers = Watchers(
            lambda frontier: self._advance(download, partial, frontier),
            lambda seconds: self._retrying(descriptor, seconds),
        )
        path = self.ahead.take(descriptor, watchers, cancel) if self.ahead is not None else None
        if path is None:
            path = self._receive(descriptor, watchers, cancel)
        self.reporter.layer(descriptor.digest.short, LayerStatus.VERIFYING)
        self.reporter.layer(descriptor.digest.short, LayerStatus.DOWNLOADED)
        download.finish(path)

    def _receive(self, descriptor: Descriptor, watchers: Watchers, cancel: CancelToken) -> Path:
        repository = self.repository_of(descriptor.digest)
        with self.puller.locks.acquire(f"blob-{descriptor.digest.hex}", exclusive=True, cancel=cancel):
            return self.puller.receive(repository, descriptor, watchers, self.options, cancel)

    def _advance(self, download: Download, partial: Path, frontier_bytes: int) -> None:
        descriptor = download.descriptor
        download.advance(partial, frontier_bytes)
        self.reporter.layer(descriptor.digest.short, LayerStatus.DOWNLOADING, frontier_bytes, descriptor.size)

    def _retrying(self, descriptor: Descriptor, seconds: int) -> None:
        self.reporter.layer(descriptor.digest.short, LayerStatus.RETRYING, retry_in_s=seconds)
