"""From an index to the manifest of one platform, through nested indexes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from onggi.cancel import CancelToken
from onggi.oci.descriptor import Descriptor
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.oci.platform import NoMatchingPlatform, Platform, choose, select
from onggi.record import field, mutable_record
from onggi.transfer.layers import ConfigMismatch

__all__ = ["NESTED_INDEXES", "ManifestSource", "PlatformSearch"]

# Indexes within indexes, and documents looked at below one reference: a source could go on for ever.
NESTED_INDEXES = 4
_MOST_CANDIDATES = 32


class ManifestSource(Protocol):
    """Where manifests come from: a repository, or an OCI layout."""

    def manifest(self, descriptor: Descriptor, cancel: CancelToken) -> tuple[bytes, str]:
        """The document's verified bytes and its media type."""


@mutable_record
class PlatformSearch:
    """The way from an index to the manifest of a platform (docker-engine §2.6).

    ``indexes`` are those that the way led through, innermost first.
    """

    source: ManifestSource
    wanted: Platform | None
    compat: str
    cancel: CancelToken
    fetched: int = 0
    indexes: list[Index] = field(default_factory=list)

    def manifest(self, document: Manifest | Index, depth: int = 0) -> Manifest:
        """``document`` itself, or the best below it. Raises NoMatchingPlatform, ConfigMismatch.

        A nested index may fit by its own platform and have nothing for it: Docker 28 then tries
        the next best entry, 20.10 does not.
        """
        if isinstance(document, Manifest):
            return document
        if depth == NESTED_INDEXES:
            raise ConfigMismatch(f"indexes are nested deeper than {NESTED_INDEXES}")
        missing: NoMatchingPlatform | None = None
        for descriptor in self._candidates(document):
            try:
                found = self.manifest(self._fetch(descriptor), depth + 1)
            except NoMatchingPlatform as error:
                missing = missing or error
                continue
            self.indexes.append(document)
            return found
        assert missing is not None
        raise missing

    def _candidates(self, index: Index) -> Sequence[Descriptor]:
        best = choose(index.manifests, self.wanted, self.compat)
        return [best] if self.compat == "20.10" else select(index.manifests, self.wanted, self.compat)

    def _fetch(self, descriptor: Descriptor) -> Manifest | Index:
        if self.fetched == _MOST_CANDIDATES:
            raise ConfigMismatch(f"{_MOST_CANDIDATES} of its nested indexes have nothing for the platform")
        self.fetched += 1
        raw, media_type = self.source.manifest(descriptor, self.cancel)
        return parse_manifest(raw, media_type)
