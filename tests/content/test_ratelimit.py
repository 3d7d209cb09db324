"""The token bucket, by an account of the sleeps it asks for."""

from __future__ import annotations

import pytest

from onggi.cancel import CancelToken
from onggi.content import ratelimit
from onggi.content.ratelimit import RateLimiter
from onggi.errors import Cancelled
from tests.content.sources import Source
from tests.content.test_download import DATA, Case


class Clock(CancelToken):
    """A token whose sleeps pass at once on the clock that the limiter reads."""

    def __init__(self, monkeypatch) -> None:
        super().__init__()
        self.now = 1000.0
        monkeypatch.setattr(ratelimit.time, "monotonic", lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.check()
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("piece", [1, 1000, 250_000, 3_000_000])
def test_the_rate_is_kept_whatever_the_pieces(clock, piece):
    limiter = RateLimiter(1_000_000)
    begun = clock.now
    pieces = max(1, 10_000_000 // piece) if piece > 1 else 200_000
    for _ in range(pieces):
        limiter.take(piece, clock)
    expected = pieces * piece / 1_000_000
    assert expected - 0.26 <= clock.now - begun <= expected + 0.01


def test_idle_time_is_not_saved_up(clock):
    limiter = RateLimiter(1_000_000)
    clock.now += 3600
    begun = clock.now
    limiter.take(1_000_000, clock)
    assert clock.now - begun == pytest.approx(0.75)


def test_two_share_one_rate(clock):
    limiter = RateLimiter(1_000_000)
    begun = clock.now
    for _ in range(50):
        limiter.take(100_000, clock)
        limiter.take(100_000, clock)
    assert clock.now - begun == pytest.approx(9.75, abs=0.01)


def test_pieces_fit_the_rate():
    assert RateLimiter(100).piece_bytes == 4096
    assert RateLimiter(1_000_000).piece_bytes == 250_000


def test_a_limited_download_is_cancelled_while_it_waits(tmp_path):
    case = Case(tmp_path)
    limiter = RateLimiter(1)
    case._progress = lambda frontier: case.cancel.cancel()
    with pytest.raises(Cancelled):
        case.run(Source(DATA), limiter=limiter)


def test_a_limited_download_asks_for_small_pieces(tmp_path, clock):
    case = Case(tmp_path)
    case.cancel = clock
    case.run(Source(DATA), limiter=RateLimiter(100_000))
    steps = [after - before for before, after in zip(case.frontiers, case.frontiers[1:], strict=False)]
    assert max(steps) == 25_000
    assert case.holds(DATA)
