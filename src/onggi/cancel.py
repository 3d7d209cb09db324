"""How a caller stops a blocking verb: a token, a deadline, or both."""

from __future__ import annotations

import time
from collections.abc import Callable

from onggi.errors import Cancelled, DeadlineExceeded

__all__ = ["CancelToken"]


class CancelToken:
    """A one-way switch shared between the caller and the threads of a verb.

    ``timeout_s`` sets a deadline that counts from construction (monotonic clock).
    Thread-safe; callbacks run in the thread that calls :meth:`cancel`.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        import threading  # looking at a store makes no token, and starts without it

        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Stop the verb: its next check raises :class:`~onggi.errors.Cancelled`."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Run ``callback`` at cancellation (at once if that is past); returns its remover."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return lambda: self._forget(callback)
        callback()
        return lambda: None

    def _forget(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    @property
    def cancelled(self) -> bool:
        """True after :meth:`cancel`, whatever the deadline says."""
        return self._event.is_set()

    def remaining_s(self) -> float | None:
        """Seconds until the deadline (never negative); None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        """Return, or raise Cancelled / DeadlineExceeded."""
        if self._event.is_set():
            raise Cancelled("operation cancelled")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise DeadlineExceeded("operation timed out: deadline exceeded")

    def sleep(self, seconds: float) -> None:
        """Sleep that ends early, by the exception of :meth:`check`."""
        remaining = self.remaining_s()
        self._event.wait(seconds if remaining is None else min(seconds, remaining))
        self.check()
