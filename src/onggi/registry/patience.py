"""How often a small request is repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from onggi.cancel import CancelToken
from onggi.content.errors import Throttled
from onggi.errors import OnggiError
from onggi.registry.errors import NetworkError, ServerError, Unreachable

__all__ = ["Patience"]

T = TypeVar("T")


class Patience:
    """Repeats through 5xx and broken connections with growing pauses, and after a 429 when told to.

    Docker's numbers: 5 attempts, 250 ms doubling. A ``Retry-After`` above
    ``longest_retry_after_s`` is not waited for: a user rather hears of the limit.
    """

    def __init__(
        self, attempts: int = 5, first_pause_s: float = 0.25, longest_retry_after_s: float = 20.0
    ) -> None:
        self._attempts = attempts
        self._first_pause_s = first_pause_s
        self._longest_retry_after_s = longest_retry_after_s

    def run(self, ask: Callable[[], T], cancel: CancelToken) -> T:
        """The result of ``ask``, or its last error."""
        for attempt in range(self._attempts):
            try:
                return ask()
            except OnggiError as error:
                cancel.check()
                pause_s = self._pause_s(error, attempt)
                if pause_s is None or attempt == self._attempts - 1:
                    raise
            cancel.sleep(pause_s)
        raise AssertionError("unreachable")

    def _pause_s(self, error: OnggiError, attempt: int) -> float | None:
        if isinstance(error, Throttled):
            asked = error.retry_after_s
            return asked if asked is not None and asked <= self._longest_retry_after_s else None
        if isinstance(error, ServerError):
            repeat = error.status >= 500
        else:
            repeat = isinstance(error, NetworkError) and not isinstance(error, Unreachable)
        return self._first_pause_s * 2**attempt if repeat else None
