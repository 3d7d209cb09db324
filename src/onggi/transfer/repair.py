"""Where the damaged parts of one image can be had again, and how they come.

Layers are fetched like those of a pull and replace the damaged ones under their old cache-id
and short name. First asked is who served the image: its digest references, then its tags, as
far as they still lead to this image. Where none does (an image built here, a tag that moved),
the blobs that the layer is known to have come from are asked for by their digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DeadlineExceeded, NotFound, OnggiError
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import DiffID, Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.registry.client import Repository
from onggi.store.distribution import BlobSource
from onggi.transfer.pull import Puller, PullOptions
from onggi.transfer.reporter import Reporter
from onggi.transfer.wanted import Wanted

__all__ = ["NowhereToFetch", "Origin", "Origins", "fetch_layers"]

# Manifests of one index that are looked at for the image's own, and levels of nested indexes.
_MOST_MANIFESTS = 64
_NESTED_INDEXES = 4


class NowhereToFetch(NotFound):
    """No registry is known to have it, or none has it any more."""

    def __init__(self, what: str, cause: OnggiError | None) -> None:
        told = f": {cause.message}" if cause is not None else ""
        super().__init__(
            f"fetch {what} again: no registry that is known here has it{told}",
            hint="tag the image by a name under which a registry has it, or load or build it anew",
        )
        self.cause = cause


@record
class Origin:
    """A blob and the repository to ask for it."""

    repository: Repository
    descriptor: Descriptor


class Origins:
    """Finds origins for the parts of one image; asks registries when first needed."""

    def __init__(
        self, puller: Puller, image_id: ImageID, references: Sequence[Reference], cancel: CancelToken
    ) -> None:
        self._puller = puller
        self._image_id = image_id
        self._references = sorted(references, key=lambda reference: reference.digest is None)
        self._cancel = cancel
        self._error: OnggiError | None = None

    def config(self) -> ImageConfig:
        """The image's config, verified. Raises NowhereToFetch."""
        if self._served is None:
            raise NowhereToFetch(f"the config of image {self._image_id}", self._error)
        repository, manifest = self._served
        return self._puller.fetch_config(repository, manifest, self._cancel)

    def layer(self, index: int, diff_id: DiffID) -> Origin:
        """The blob of a layer; ``index`` counts from 0 at the base. Raises NowhereToFetch."""
        found = self._held(diff_id) or self._by_manifest(index) or self._by_source(diff_id)
        if found is None:
            raise NowhereToFetch(f"layer {index + 1} ({diff_id})", self._error)
        return found

    # --- kept here ------------------------------------------------------------------------

    def _held(self, diff_id: DiffID) -> Origin | None:
        """A blob that lies in the store already; its repository is asked only if it is damaged."""
        for source in reversed(self._puller.distribution.sources(diff_id)):
            try:
                size = self._puller.blobs.final_path(source.digest).stat().st_size
            except OSError:
                continue
            repository = self._puller.client.repository(Reference.parse(source.repository))
            return Origin(repository, Descriptor("", source.digest, size))
        return None

    # --- by the image's names -------------------------------------------------------------

    def _by_manifest(self, index: int) -> Origin | None:
        if self._served is None or index >= len(self._served[1].layers):
            return None
        repository, manifest = self._served
        return Origin(repository, manifest.layers[index])

    @cached_property
    def _served(self) -> tuple[Repository, Manifest] | None:
        """The first repository that has this image under one of its names, and the manifest there."""
        for reference in self._references:
            repository = self._puller.client.repository(reference)
            try:
                resolved = repository.resolve(reference, self._cancel)
                for manifest in self._manifests(repository, resolved.raw, resolved.media_type):
                    if ImageID(manifest.config.digest) == self._image_id:
                        return repository, manifest
            except (Cancelled, DeadlineExceeded):
                raise
            except OnggiError as error:
                self._error = self._error or error
        return None

    def _manifests(self, repository: Repository, raw: bytes, media_type: str) -> Iterator[Manifest]:
        """What a document is or lists; which platform it was is told by the config's digest alone."""
        pending = [(parse_manifest(raw, media_type), 0)]
        fetched = 0
        while pending:
            document, depth = pending.pop(0)
            if isinstance(document, Manifest):
                yield document
            elif depth < _NESTED_INDEXES:
                for descriptor in self._likely_first(document):
                    if fetched == _MOST_MANIFESTS:
                        return
                    fetched += 1
                    try:
                        below = parse_manifest(*repository.manifest(descriptor, self._cancel))
                    except NotFound:
                        continue  # an index may list what its registry does not have
                    if isinstance(below, Manifest):
                        yield below
                    else:
                        pending.append((below, depth + 1))

    def _likely_first(self, index: Index) -> list[Descriptor]:
        """Entries of the image's own architecture before the others."""
        try:
            architecture = self._puller.images.get(self._image_id).architecture
        except OnggiError:
            return list(index.manifests)
        return sorted(
            index.manifests,
            key=lambda each: each.platform is not None and each.platform.architecture != architecture,
        )

    # --- by the blobs it came from --------------------------------------------------------

    def _by_source(self, diff_id: DiffID) -> Origin | None:
        for source in reversed(self._puller.distribution.sources(diff_id)):
            try:
                return self._probe(source)
            except (Cancelled, DeadlineExceeded):
                raise
            except OnggiError as error:
                self._error = self._error or error
        return None

    def _probe(self, source: BlobSource) -> Origin | None:
        """Ask for the first byte: whether the blob is there, and how large it is."""
        repository = self._puller.client.repository(Reference.parse(source.repository))
        body = repository.blob(source.digest, -1).open(0, 1, self._cancel)
        try:
            if body.total is None:
                return None
            return Origin(repository, Descriptor("", source.digest, body.total))
        finally:
            body.close()


def fetch_layers(
    puller: Puller,
    layers: Sequence[tuple[Wanted, Origin]],
    options: PullOptions,
    reporter: Reporter,
    cancel: CancelToken,
) -> None:
    """Fetch, unpack and put in place, base first; each layer is leased exclusively by the caller.

    Until its new bytes are proved and flushed, a layer stays as it was.
    """
    repositories: dict[Digest, Repository] = {
        origin.descriptor.digest: origin.repository for _, origin in layers
    }
    wanted = [layer for layer, _ in layers]
    puller.transfer(lambda digest: repositories[digest], wanted, options, reporter, cancel)
