"""Further connections for a large blob whose first connection is slow."""

from __future__ import annotations

import threading

from onggi.cancel import CancelToken
from onggi.content.partial import PartialFile
from onggi.content.receive import Receiver
from onggi.content.tuning import Tuning
from onggi.errors import OnggiError

__all__ = ["Helpers"]

# Helpers that may fail before no more are started: this registry does not want several connections.
_MOST_FAILURES = 3


class Helpers:
    """Threads that steal spans and fill them; a context manager that waits for all of them.

    A helper never decides the download's fate: when it fails it gives its span back, and
    whoever keeps the frontier meets the same error there, or not.
    """

    def __init__(self, receiver: Receiver, partial: PartialFile, tuning: Tuning, cancel: CancelToken) -> None:
        self._receiver = receiver
        self._partial = partial
        self._tuning = tuning
        self._stop = CancelToken(cancel.remaining_s())
        self._forget = cancel.on_cancel(self._stop.cancel)
        self._threads: list[threading.Thread] = []
        self._failures = 0
        self.called = False

    def __enter__(self) -> Helpers:
        return self

    def __exit__(self, *exception: object) -> None:
        self._forget()
        self._stop.cancel()
        for thread in self._threads:
            thread.join()

    def consider(self, elapsed_s: float, received_bytes: int, missing_bytes: int) -> None:
        """Call for help when the connection that has brought so much in so long is slow."""
        tuning = self._tuning
        if elapsed_s < tuning.trial_s or missing_bytes < tuning.parallel_min_bytes:
            return
        if received_bytes / elapsed_s >= tuning.slow_bytes_per_s or self._failures >= _MOST_FAILURES:
            return
        self.called = True
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while len(self._threads) < tuning.helpers:
            thread = threading.Thread(target=self._run, name="onggi-range", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.cancelled and self._fill_one():
                pass
        except (OnggiError, OSError):
            self._failures += 1

    def _fill_one(self) -> bool:
        span = self._partial.steal(self._tuning.least_span_bytes)
        if span is None:
            return False
        try:
            while span.missing:
                self._receiver.receive(span, self._check, self._stop, ranges_only=True)
        finally:
            self._partial.release(span)
        return True

    def _check(self, piece: memoryview) -> None:
        self._stop.check()
