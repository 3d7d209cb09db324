"""Blobs that a pull has received, whole or in part::

    blobs/sha256/<hex>           whole: its digest was right
    blobs/sha256/<hex>.partial   in part; the next pull goes on from it
    blobs/sha256/<hex>.spans     which parts, when there are several (spans.py)
    blobs/sha256/<hex>.kept      an empty file: the blob stays after its layer is committed

Without that mark they live until the layer made of them is committed. One download of a blob at a time is the
caller's business (a lease).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.content.download import Download, Watchers
from onggi.content.errors import translate_os_error
from onggi.content.ratelimit import RateLimiter
from onggi.content.source import RangeSource
from onggi.content.spans import load_spans
from onggi.content.tuning import Tuning
from onggi.content.verify import Verifier
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest

__all__ = ["BlobStore"]

_READ_BYTES = 1024 * 1024


class BlobStore:
    """The directory of received blobs."""

    def __init__(
        self,
        directory: Path,
        *,
        attempts: int = 5,
        parallel_min_bytes: int = 64 * 1024 * 1024,
        tuning: Tuning | None = None,
    ) -> None:
        self._directory = directory
        self._tuning = tuning or Tuning(attempts=attempts, parallel_min_bytes=parallel_min_bytes)

    @property
    def directory(self) -> Path:
        """Where everything lies; made with the first blob."""
        return self._directory

    def final_path(self, digest: Digest) -> Path:
        """Where the whole blob lies, or will."""
        return self._directory / digest.algorithm / digest.hex

    def partial_path(self, digest: Digest) -> Path:
        """Where it is being received."""
        return self.final_path(digest).with_suffix(".partial")

    def partial_size(self, descriptor: Descriptor) -> int:
        """How many bytes of a blob are here."""
        if self.final_path(descriptor.digest).exists():
            return descriptor.size
        partial = self.partial_path(descriptor.digest)
        spans = load_spans(partial, partial.with_suffix(".spans"), descriptor.size)
        return sum(span.position - span.start for span in spans)

    def download(
        self,
        descriptor: Descriptor,
        source: RangeSource,
        *,
        on_progress: Callable[[int], None],
        on_retry: Callable[[int], None],
        limiter: RateLimiter | None,
        cancel: CancelToken,
    ) -> Path:
        """Receive what is missing and verify; returns the whole blob's path.

        ``on_progress`` gets the frontier in bytes after they are in the partial file; a lower
        one than before means that the blob is started over. ``on_retry`` gets the seconds left
        before the next attempt. Raises what :meth:`Download.run` raises. The whole blob is not
        flushed: it is only a step on the way to a layer, and proved again if it is met later.
        """
        final = self.final_path(descriptor.digest)
        try:
            final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._keep_if_sound(final, descriptor, cancel):
                return final
        except OSError as error:
            raise translate_os_error(error, str(final), descriptor.size) from error
        partial = self.partial_path(descriptor.digest)
        Download(
            descriptor,
            source,
            partial,
            watchers=Watchers(on_progress, on_retry),
            limiter=limiter,
            tuning=self._tuning,
            cancel=cancel,
        ).run()
        os.rename(partial, final)
        return final

    def _keep_if_sound(self, path: Path, descriptor: Descriptor, cancel: CancelToken) -> bool:
        """An earlier process left it; a power cut may have come before its data were flushed."""
        verifier = Verifier(descriptor.digest)
        try:
            with open(path, "rb", buffering=0) as file:
                while piece := file.read(_READ_BYTES):
                    cancel.check()
                    verifier.update(piece)
        except FileNotFoundError:
            return False
        if verifier.matches():
            return True
        path.unlink()
        return False

    def held(self) -> list[Digest]:
        """Every blob here, whole or in part, sorted."""
        try:
            names = os.listdir(self._directory / "sha256")
        except FileNotFoundError:
            return []
        return [Digest(f"sha256:{name}") for name in sorted({name.partition(".")[0] for name in names})]

    def discard(self, digest: Digest) -> None:
        """Delete a blob, whole or partial, kept or not."""
        final = self.final_path(digest)
        for path in (final, *(final.with_suffix(f".{end}") for end in ("partial", "spans", "kept"))):
            path.unlink(missing_ok=True)

    # --- blobs that stay ------------------------------------------------------------------

    def keep(self, digest: Digest) -> None:
        """Mark a whole blob as one that stays."""
        self.final_path(digest).with_suffix(".kept").touch(0o600)

    def is_kept(self, digest: Digest) -> bool:
        """True for a whole blob that stays."""
        final = self.final_path(digest)
        return final.with_suffix(".kept").exists() and final.exists()

    def kept(self) -> list[Digest]:
        """Every blob with the mark, sorted."""
        return [digest for digest in self.held() if self.final_path(digest).with_suffix(".kept").exists()]
