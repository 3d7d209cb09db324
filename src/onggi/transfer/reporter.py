"""One voice for the many threads of a transfer."""

from __future__ import annotations

import threading
import time

from onggi.progress import LayerProgress, LayerStatus, Message, ProgressSink

__all__ = ["Reporter"]

# Seconds between two reports of one layer's bytes; Docker's own limit.
_INTERVAL_S = 0.1
_COUNTING = frozenset(
    {LayerStatus.DOWNLOADING, LayerStatus.EXTRACTING, LayerStatus.LOADING, LayerStatus.PUSHING}
)


class Reporter:
    """Calls the sink for one event at a time and thins out byte counts."""

    def __init__(self, sink: ProgressSink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._last: dict[tuple[str, LayerStatus], float] = {}

    def message(self, text: str, id: str = "") -> None:
        """A line of its own."""
        with self._lock:
            self._sink(Message(text, id))

    def layer(
        self,
        id: str,
        status: LayerStatus,
        current: int = 0,
        total: int = 0,
        retry_in_s: int = 0,
        source: str = "",
    ) -> None:
        """The state of one layer; counts closer than 100 ms are dropped, except the last."""
        with self._lock:
            if status in _COUNTING and current != total:
                now = time.monotonic()
                if now - self._last.get((id, status), 0.0) < _INTERVAL_S:
                    return
                self._last[id, status] = now
            self._sink(LayerProgress(id, status, current, total, retry_in_s, source))
