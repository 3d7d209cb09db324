"""Further connections: who helps, with what, and what happens when help fails."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import replace

import pytest

from onggi.content.errors import BlobMismatch
from onggi.content.receive import READ_BYTES
from onggi.content.tuning import Tuning
from onggi.errors import Cancelled, NotFound
from onggi.registry.errors import NetworkError
from tests.content.sources import Body, Source
from tests.content.test_download import Case

DATA = random.Random(3).randbytes(24 * READ_BYTES + 777)
# Every connection counts as slow from its first byte on.
SLOW = Tuning(
    backoff_s=0,
    trial_s=0,
    slow_bytes_per_s=float("inf"),
    parallel_min_bytes=4 * READ_BYTES,
    least_span_bytes=2 * READ_BYTES,
)


def helping() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "onggi-range"]


class SlowStart(Source):
    """The first answer waits after its first piece until others have come for the rest."""

    def __init__(self, data: bytes, others: int = 1, **options) -> None:
        super().__init__(data, **options)
        self._helped = threading.Event()
        self._wanted = others + 1

    def open(self, start, end, cancel):
        body = super().open(start, end, cancel)
        if len(self.asked) >= self._wanted:
            self._helped.set()
        return body

    def whole(self, start, end):
        body = super().whole(start, end)
        if start == 0:
            body.gate = lambda: self._helped.wait(10) if body.position else None
        return body


@pytest.fixture
def case(tmp_path) -> Case:
    return Case(tmp_path, DATA, SLOW)


def test_the_rest_is_shared_and_hashed_in_order(case):
    source = SlowStart(DATA, others=3)
    case.run(source)
    assert case.holds(DATA)
    assert len(source.asked) >= 4
    ranges = [(start, len(DATA) if end is None else end) for start, end in source.asked]
    assert ranges[0] == (0, len(DATA))
    assert all(end - start >= 1 for start, end in ranges)
    assert case.frontiers == sorted(case.frontiers)
    assert not case.seen_short
    assert not case.path.with_suffix(".spans").exists()


def test_a_fast_connection_stays_alone(tmp_path):
    case = Case(tmp_path, DATA, replace(SLOW, slow_bytes_per_s=0.0))
    source = Source(DATA)
    case.run(source)
    assert source.asked == [(0, None)]


def test_a_small_blob_has_one_connection(tmp_path):
    case = Case(tmp_path, DATA, replace(SLOW, parallel_min_bytes=len(DATA)))
    source = Source(DATA)
    case.run(source)
    assert source.asked == [(0, None)]


def test_a_limited_pull_has_one_connection_a_blob(case):
    from onggi.content.ratelimit import RateLimiter

    source = Source(DATA)
    case.run(source, limiter=RateLimiter(10**12))
    assert source.asked == [(0, None)]


class RangeBlind(SlowStart):
    """Sends the whole blob whatever is asked for."""

    def whole(self, start, end):
        body = Source.whole(self, 0, None)
        if not start:
            body.gate = lambda: self._wait_until_all_gave_up() if body.position else None
        return body

    def _wait_until_all_gave_up(self):
        end = time.monotonic() + 10
        while (len(self.asked) <= SLOW.helpers or helping()) and time.monotonic() < end:
            time.sleep(0.001)


def test_a_server_without_ranges_is_left_alone_after_three_tries(case):
    source = RangeBlind(DATA)
    case.run(source)
    assert case.holds(DATA)
    # The first stream goes on to the end: nothing is received twice.
    assert source.asked[0] == (0, None)
    assert all(start > 0 for start, _ in source.asked[1:])
    assert len(source.asked) == 1 + SLOW.helpers
    assert source.bodies[0].position == len(DATA)


def test_helpers_that_fail_leave_their_spans_to_the_frontier(case):
    class OneConnectionOnly(SlowStart):
        def open(self, start, end, cancel):
            if start and threading.current_thread().name == "onggi-range":
                self.asked.append((start, end))
                self._helped.set()
                raise NetworkError("too many connections")
            return super().open(start, end, cancel)

    case.run(OneConnectionOnly(DATA))
    assert case.holds(DATA)


def test_a_helper_that_dies_half_way(case):
    class Flaky(SlowStart):
        def whole(self, start, end):
            body = super().whole(start, end)
            if threading.current_thread().name == "onggi-range":
                body.data = body.data[: READ_BYTES + 5]
                body.fail = NetworkError("reset")
            return body

    case.run(Flaky(DATA))
    assert case.holds(DATA)


def test_wrong_bytes_of_a_helper_are_replaced_once(case):
    class Liar(SlowStart):
        lies = 1

        def whole(self, start, end):
            body = super().whole(start, end)
            if start and self.lies:
                self.lies = 0
                body.data = bytes(len(body.data))
            return body

    case.run(Liar(DATA))
    assert case.holds(DATA)
    assert 0 in case.frontiers


def test_wrong_bytes_for_ever_are_an_error(case):
    class Liar(SlowStart):
        def whole(self, start, end):
            body = super().whole(start, end)
            body.data = bytes(len(body.data))
            return body

    with pytest.raises(BlobMismatch):
        case.run(Liar(DATA))


def test_an_error_at_the_frontier_stops_the_helpers(case):
    hung = threading.Event()

    class Hanging(SlowStart):
        """Helpers hang until their token is cancelled; then the frontier fails."""

        def open(self, start, end, cancel):
            if start and threading.current_thread().name == "onggi-range":
                self._helped.set()
                cancel.on_cancel(hung.set)
                hung.wait(10)
                cancel.check()
            return super().open(start, end, cancel)

        def whole(self, start, end):
            body = super().whole(start, end)
            body.data, body.fail = body.data[: 2 * READ_BYTES], NotFound("gone")
            return body

    with pytest.raises(NotFound):
        case.run(Hanging(DATA))
    assert hung.is_set()
    assert not helping()


def test_what_helpers_brought_survives_the_process(case):
    """A cancelled download leaves spans; the next one asks only for what is missing."""
    source = SlowStart(DATA, others=3)
    seen = []

    def stop_at_the_helpers_bytes(frontier):
        seen.append(frontier)
        if len(source.asked) > 3:
            case.cancel.cancel()

    case._progress = stop_at_the_helpers_bytes
    with pytest.raises(Cancelled):
        case.run(source)
    spans = json.loads(case.path.with_suffix(".spans").read_text())
    assert len(spans) > 1
    held = case.path.read_bytes()
    for start, position, _ in spans:
        assert held[start:position] == DATA[start:position]

    second = Case(case.path.parent, DATA, replace(SLOW, slow_bytes_per_s=0.0))
    again = Source(DATA)
    second.run(again)
    assert second.holds(DATA)
    asked = sum(end - start for start, end in [(s, len(DATA) if e is None else e) for s, e in again.asked])
    assert asked == sum(end - position for _, position, end in spans)


def test_spans_that_lie_are_found_out(case):
    case.path.write_bytes(bytes(len(DATA)))
    middle = len(DATA) // 2
    case.path.with_suffix(".spans").write_text(json.dumps([[0, 100, middle], [middle, len(DATA), len(DATA)]]))
    case.run(Source(DATA))
    assert case.holds(DATA)


def test_a_body_that_ends_with_its_range_is_enough(case):
    """Helpers get exactly what they asked for; an answer of unknown end is fine too."""

    class Quiet(SlowStart):
        def whole(self, start, end):
            body = super().whole(start, end)
            if start:
                return Body(body.data, start, None, None)
            return body

    case.run(Quiet(DATA))
    assert case.holds(DATA)


def test_a_disk_that_takes_no_more_spans_leaves_one_connection(case, monkeypatch):
    """The sidecar cannot be written: nobody may be left waiting for a part that no one fetches."""
    from onggi.content import partial

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(partial, "save_spans", full)
    source = Source(DATA)
    case.run(source)
    assert case.holds(DATA)
    assert source.asked == [(0, None)]
