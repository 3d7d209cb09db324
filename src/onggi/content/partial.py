"""The file in which a blob grows, written by one or several threads."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from onggi.content.spans import Span, give_back, load_spans, save_spans, steal
from onggi.oci.descriptor import Descriptor

__all__ = ["PartialFile"]


class PartialFile:
    """``<hex>.partial`` with its spans; thread-safe, and a context manager that keeps what is there.

    ``changed`` is notified whenever bytes arrive or a span changes hands; it is also the
    lock of the spans. Every method can raise OSError.
    """

    def __init__(self, path: Path, descriptor: Descriptor, *, checkpoint_s: float) -> None:
        self.path = path
        self.size = descriptor.size
        self.changed = threading.Condition()
        self._sidecar = path.with_suffix(".spans")
        self._checkpoint_s = checkpoint_s
        self._last_checkpoint = time.monotonic()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._spans = load_spans(path, self._sidecar, self.size)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._save()
        except OSError:
            # Then the sidecar of before counts, which knows of less, or none, and the digest decides.
            pass
        finally:
            os.close(self._fd)

    @property
    def held_bytes(self) -> int:
        """How much of the blob is in the file."""
        with self.changed:
            return sum(span.position - span.start for span in self._spans)

    # --- bytes ----------------------------------------------------------------------------

    def write(self, span: Span, data: memoryview) -> int:
        """Append to a span that the caller owns; returns how many bytes still belonged to it."""
        with self.changed:
            data = data[: span.missing]
            offset = span.position
        _pwrite_all(self._fd, data, offset)
        with self.changed:
            span.position += len(data)
            self.changed.notify_all()
        self._checkpoint_if_due()
        return len(data)

    def read(self, offset: int, limit_bytes: int) -> bytes:
        """Bytes that are in the file; fewer, or none, when it is shorter than its spans say."""
        return os.pread(self._fd, limit_bytes, offset)

    def restart(self) -> None:
        """Forget everything. Nobody may own a span."""
        with self.changed:
            os.ftruncate(self._fd, 0)
            self._sidecar.unlink(missing_ok=True)
            self._spans = [Span(0, 0, self.size)]

    def complete(self) -> None:
        """Everything is here and right: no spans are needed any more, nor what lies behind the blob."""
        with self.changed:
            os.ftruncate(self._fd, self.size)
            self._spans = [Span(0, self.size, self.size)]

    # --- spans ----------------------------------------------------------------------------

    def span_at(self, offset: int) -> Span:
        """The span that ``offset`` lies in."""
        with self.changed:
            return next(span for span in self._spans if span.start <= offset < span.end)

    def claim(self, span: Span) -> bool:
        """Become the owner of a span; False when another one is."""
        with self.changed:
            mine = not span.owned
            span.owned = True
            return mine

    def steal(self, least_bytes: int) -> Span | None:
        """A part for one more connection (see spans.py), or None; it is written down first.

        Otherwise a killed process would leave a file whose length says too much.
        """
        with self.changed:
            span = steal(self._spans, least_bytes)
            try:
                self._save()
            except OSError:
                if span is not None:
                    self.release(span)
                raise
            return span

    def release(self, span: Span) -> None:
        """No longer own a span."""
        with self.changed:
            give_back(self._spans, span)
            self.changed.notify_all()

    # --- what survives --------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        """Flush now and then: what a power cut can cost is ``checkpoint_s`` of bytes."""
        with self.changed:
            now = time.monotonic()
            if now - self._last_checkpoint < self._checkpoint_s:
                return
            self._last_checkpoint = now
            snapshot = self._snapshot()
        os.fdatasync(self._fd)
        with self.changed:
            if len(self._spans) > 1:
                save_spans(self._sidecar, snapshot, durable=True)

    def _save(self) -> None:
        with self.changed:
            if len(self._spans) > 1:
                save_spans(self._sidecar, self._snapshot(), durable=False)
            else:
                self._sidecar.unlink(missing_ok=True)

    def _snapshot(self) -> list[tuple[int, int, int]]:
        return [(span.start, span.position, span.end) for span in self._spans]


def _pwrite_all(fd: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
