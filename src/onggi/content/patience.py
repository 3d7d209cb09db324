"""How often, and after how long, a source is asked again."""

from __future__ import annotations

import math
from collections.abc import Callable

from onggi.cancel import CancelToken
from onggi.content.errors import Throttled
from onggi.content.spans import Span
from onggi.content.tuning import Tuning
from onggi.errors import OnggiError

__all__ = ["Patience"]

# An answer that brought this much was no failure, only cut; seconds until the next one.
_WORTHWHILE_BYTES, _CUT_PAUSE_S = 64 * 1024, 1.0


class Patience:
    """Asks for a span until it is full. ``answers`` counts the requests of one download."""

    def __init__(self, tuning: Tuning, on_retry: Callable[[int], None], cancel: CancelToken) -> None:
        self._tuning = tuning
        self._on_retry = on_retry
        self._cancel = cancel
        self.answers = 0

    def fill(self, span: Span, ask: Callable[[], None]) -> None:
        """Raises the error of ``ask`` when asking again cannot help, or has not helped often enough."""
        failures = 0
        while span.missing:
            before = span.position
            self.answers += 1
            try:
                ask()
            except OnggiError as error:
                self._cancel.check()
                gained = span.position - before >= _WORTHWHILE_BYTES
                failures = 0 if gained else failures + 1
                self._wait(self._pause_s(error, failures))

    def _pause_s(self, error: OnggiError, failures: int) -> float:
        tuning = self._tuning
        if not error.retryable or failures >= tuning.attempts:
            raise error
        if isinstance(error, Throttled):
            if error.retry_after_s is None or error.retry_after_s > tuning.longest_retry_after_s:
                raise error
            return error.retry_after_s
        return failures * tuning.backoff_s if failures else min(_CUT_PAUSE_S, tuning.backoff_s)

    def _wait(self, seconds: float) -> None:
        for left in range(math.ceil(seconds), 0, -1):
            self._on_retry(left)
            self._cancel.sleep(min(1.0, seconds))
            seconds -= 1.0
