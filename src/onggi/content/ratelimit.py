"""A bandwidth limit shared by all downloads of a pull."""

from __future__ import annotations

import threading
import time

from onggi.cancel import CancelToken

__all__ = ["RateLimiter"]

# Seconds of the rate that may come at once: smooth enough to watch, coarse enough to be cheap.
_BURST_S = 0.25
# Bytes: below this a read costs more than it brings.
_LEAST_PIECE_BYTES = 4096


class RateLimiter:
    """A token bucket of bytes; thread-safe. Debts are allowed, so no share can starve."""

    def __init__(self, bytes_per_s: int) -> None:
        self._rate = float(bytes_per_s)
        self._lock = threading.Lock()
        self._credit = self._rate * _BURST_S
        self._filled = time.monotonic()

    @property
    def piece_bytes(self) -> int:
        """The most that one read should ask for, so that the rate is kept from moment to moment."""
        return max(_LEAST_PIECE_BYTES, int(self._rate * _BURST_S))

    def take(self, amount_bytes: int, cancel: CancelToken) -> None:
        """Wait until ``amount_bytes`` may have passed. Raises Cancelled, DeadlineExceeded."""
        with self._lock:
            now = time.monotonic()
            earned = (now - self._filled) * self._rate
            self._credit = min(self._rate * _BURST_S, self._credit + earned) - amount_bytes
            self._filled = now
            wait_s = max(0.0, -self._credit / self._rate)
        if wait_s:
            cancel.sleep(wait_s)
