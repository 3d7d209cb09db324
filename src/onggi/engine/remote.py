"""``engine.remote``: look at a registry without pulling."""

from __future__ import annotations

from collections.abc import Callable

from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Manifest, parse_manifest
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.registry.client import RegistryClient, Repository

__all__ = ["Remote", "RemoteImage", "RemoteManifest"]

_MAX_CONFIG_BYTES = 8 * 1024 * 1024


@record
class RemoteManifest:
    """One platform of a remote image. ``size`` is the manifest's own, in bytes."""

    platform: Platform | None
    digest: Digest
    size: int
    media_type: str
    config: ImageConfig | None
    layers: tuple[Descriptor, ...]

    @property
    def download_bytes(self) -> int:
        """Σ of the compressed layers."""
        return sum(layer.size for layer in self.layers)


@record
class RemoteImage:
    """What a reference is at its registry: the top document and the manifests under it."""

    reference: Reference
    digest: Digest
    media_type: str
    raw: bytes
    manifests: tuple[RemoteManifest, ...]


class Remote:
    """Reads registries with the same endpoints and credentials as a pull."""

    def __init__(self, config: Config, client: Callable[[], RegistryClient]) -> None:
        self._config = config
        self._client = client

    def tags(self, name: str, *, cancel: CancelToken | None = None) -> list[str]:
        """Every tag of a repository, in the registry's order."""
        reference = Reference.parse(name, self._config.compat).without_tag()
        return list(self._client().repository(reference).tags(cancel or CancelToken()))

    def inspect(self, name: str, *, cancel: CancelToken | None = None) -> RemoteImage:
        """The documents a reference leads to; configs are fetched, layers are not."""
        token = cancel or CancelToken()
        reference = Reference.parse(name, self._config.compat).tagged()
        repository = self._client().repository(reference)
        resolved = repository.resolve(reference, token)
        document = parse_manifest(resolved.raw, resolved.media_type)
        if isinstance(document, Manifest):
            found = [self._manifest(repository, document, None, token)]
        else:
            found = [self._entry(repository, entry, token) for entry in document.manifests]
        return RemoteImage(reference, document.digest, document.media_type, resolved.raw, tuple(found))

    def _entry(self, repository: Repository, entry: Descriptor, cancel: CancelToken) -> RemoteManifest:
        if entry.platform is not None and entry.platform.os == "unknown":
            # An attestation: listed, not opened.
            return RemoteManifest(entry.platform, entry.digest, entry.size, entry.media_type, None, ())
        raw, media_type = repository.manifest(entry, cancel)
        document = parse_manifest(raw, media_type)
        if isinstance(document, Manifest):
            return self._manifest(repository, document, entry.platform, cancel)
        return RemoteManifest(entry.platform, entry.digest, entry.size, entry.media_type, None, ())

    def _manifest(
        self, repository: Repository, manifest: Manifest, platform: Platform | None, cancel: CancelToken
    ) -> RemoteManifest:
        config = ImageConfig.parse(repository.read_blob(manifest.config, _MAX_CONFIG_BYTES, cancel))
        return RemoteManifest(
            platform or Platform(config.os, config.architecture, config.variant),
            manifest.digest,
            len(manifest.raw),
            manifest.media_type,
            config,
            manifest.layers,
        )
