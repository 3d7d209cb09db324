"""What pulls and pushes taught: which blob holds which diffID, and where it came from.

``diffid-by-digest/sha256/<blob>`` is ``sha256:<diffid>``;
``v2metadata-by-diffid/sha256/<diffid>`` is a JSON array, oldest first, at most 50, of
``{"Digest","SourceRepository","HMAC"}``. A pure cache: absence costs a download, no more
(docker-engine §4.7). Pull writes an empty HMAC; push proves with it that the same
credentials saw the blob there.
"""

from __future__ import annotations

import json
from pathlib import Path

from onggi.errors import InvalidArgument
from onggi.oci.digest import DiffID, Digest
from onggi.record import record
from onggi.store.atomic import make_directory, read_optional, write_cache
from onggi.store.locks import LockDirectory

__all__ = ["BlobSource", "DistributionDB"]

# Docker keeps this many sources of one layer; older ones are forgotten.
_MAX_SOURCES = 50


@record
class BlobSource:
    """A blob that unpacks to a layer, and the repository (canonical name) it was seen in."""

    digest: Digest
    repository: str
    hmac: str = ""


class DistributionDB:
    """The two maps under ``distribution/``; unreadable entries count as absent."""

    def __init__(self, directory: Path, locks: LockDirectory) -> None:
        self._directory = directory
        self._locks = locks

    def diff_id(self, blob: Digest) -> DiffID | None:
        """The diffID that ``blob`` is known to unpack to."""
        data = read_optional(self._by_digest(blob))
        if data is None:
            return None
        try:
            return DiffID.parse(data.decode("ascii").strip())
        except (UnicodeDecodeError, InvalidArgument):
            return None

    def sources(self, diff_id: DiffID) -> tuple[BlobSource, ...]:
        """Known blobs of a layer, oldest first."""
        data = read_optional(self._by_diff_id(diff_id))
        if data is None:
            return ()
        try:
            return tuple(_parse_source(item) for item in json.loads(data))
        except (ValueError, KeyError, TypeError, InvalidArgument):
            return ()

    def add(self, diff_id: DiffID, source: BlobSource) -> None:
        """Record that ``source`` unpacks to ``diff_id``; a known source moves to the end."""
        with self._locks.acquire("distribution", exclusive=True):
            self._make_directories()
            known = [item for item in self.sources(diff_id) if item != source]
            document = [_to_json(item) for item in [*known, source][-_MAX_SOURCES:]]
            text = json.dumps(document, separators=(",", ":"))
            write_cache(self._by_diff_id(diff_id), text.encode(), 0o644)
            write_cache(self._by_digest(source.digest), diff_id.encode(), 0o644)

    def _by_digest(self, blob: Digest) -> Path:
        return self._directory / "diffid-by-digest" / blob.algorithm / blob.hex

    def _by_diff_id(self, diff_id: DiffID) -> Path:
        return self._directory / "v2metadata-by-diffid" / diff_id.algorithm / diff_id.hex

    def _make_directories(self) -> None:
        for name in ("diffid-by-digest", "v2metadata-by-diffid"):
            make_directory(self._directory / name, 0o755)
            make_directory(self._directory / name / "sha256", 0o755)


def _parse_source(item: dict[str, str]) -> BlobSource:
    return BlobSource(Digest.parse(item["Digest"]), item.get("SourceRepository", ""), item.get("HMAC", ""))


def _to_json(source: BlobSource) -> dict[str, str]:
    return {"Digest": source.digest, "SourceRepository": source.repository, "HMAC": source.hmac}
