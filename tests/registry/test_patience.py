"""Which small requests are repeated, how often, and after how long."""

from __future__ import annotations

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, NotFound
from onggi.registry.errors import NetworkError, RateLimited, ServerError, TlsError, Unreachable
from onggi.registry.patience import Patience


class Sleeper(CancelToken):
    """Sleeps are written down and pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def run(*outcomes: Exception | str, patience: Patience | None = None) -> tuple[object, list[float], int]:
    """The end, the sleeps, and how often was asked."""
    sleeper, left, asked = Sleeper(), list(outcomes), []

    def ask() -> str:
        asked.append(1)
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    try:
        end: object = (patience or Patience()).run(ask, sleeper)
    except Exception as error:
        end = error
    return end, sleeper.slept, len(asked)


def test_the_pauses_are_dockers():
    trouble = [ServerError(503, "Service Unavailable") for _ in range(4)]
    assert run(*trouble, "done") == ("done", [0.25, 0.5, 1.0, 2.0], 5)


def test_the_fifth_failure_is_the_answer():
    trouble = [NetworkError(str(number)) for number in range(6)]
    end, slept, asked = run(*trouble)
    assert (end, len(slept), asked) == (trouble[4], 4, 5)


@pytest.mark.parametrize(
    "error", [NotFound("x"), TlsError("x"), Unreachable("x"), ServerError(302, "Found"), Cancelled("x")]
)
def test_what_cannot_help_is_not_repeated(error):
    assert run(error, "never") == (error, [], 1)


def test_a_limit_is_waited_for_as_asked():
    assert run(RateLimited("x", retry_after_s=7.0), "done") == ("done", [7.0], 2)


@pytest.mark.parametrize("asked_s", [None, 21.0, 86400.0])
def test_but_not_for_long(asked_s):
    error = RateLimited("x", retry_after_s=asked_s)
    assert run(error, "never") == (error, [], 1)


def test_a_token_that_is_cancelled_wins():
    cancel = CancelToken()

    def ask() -> None:
        cancel.cancel()
        raise ServerError(500, "")

    with pytest.raises(Cancelled):
        Patience().run(ask, cancel)
