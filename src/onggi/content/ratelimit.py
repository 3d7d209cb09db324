"""A bandwidth limit shared by all downloads of a pull."""

from __future__ import annotations

import threading
import time

from onggi.cancel import CancelToken

__all__ = ["RateLimiter"]

# Seconds of the rate that may come at once: smooth enough to watch, coarse enough to be cheap.
_BURST_S = 0.25


class RateLimiter:
    """A token bucket of bytes; thread-safe."""

    def __init__(self, bytes_per_s: int) -> None:
        self._rate = float(bytes_per_s)
        self._lock = threading.Lock()
        self._credit = self._rate * _BURST_S
        self._filled = time.monotonic()

    def take(self, amount_bytes: int, cancel: CancelToken) -> None:
        """Wait until ``amount_bytes`` may pass. Raises Cancelled, DeadlineExceeded."""
        with self._lock:
            now = time.monotonic()
            limit = self._rate * _BURST_S
            self._credit = min(limit, self._credit + (now - self._filled) * self._rate)
            self._filled = now
            self._credit -= amount_bytes
            wait_s = max(0.0, -self._credit / self._rate)
        if wait_s:
            cancel.sleep(wait_s)
