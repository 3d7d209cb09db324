"""One blob: received, resumed, verified, whatever the source does (docker-engine §2.8)."""

from __future__ import annotations

import os
import random
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.cancel import CancelToken
from onggi.content.download import Download, Watchers
from onggi.content.errors import BlobMismatch, BlobTooLong, ShortBody, Throttled
from onggi.content.receive import READ_BYTES
from onggi.content.tuning import Tuning
from onggi.errors import Cancelled, DataLoss, NotFound, Unavailable
from onggi.registry.errors import NetworkError
from tests.content.sources import Body, Source, describe

DATA = random.Random(1).randbytes(3 * READ_BYTES + 12_345)
WRONG = random.Random(2).randbytes(len(DATA))
QUICK = Tuning(backoff_s=0)


class Case:
    """A download in a directory of its own; ``frontiers`` and ``waits`` are what the watchers heard."""

    def __init__(self, directory, data=DATA, tuning=QUICK) -> None:
        self.path = directory / "blob.partial"
        self.descriptor = describe(data)
        self.tuning = tuning
        self.cancel = CancelToken(60)
        self.frontiers: list[int] = []
        self.waits: list[int] = []
        self.seen_short = False

    def run(self, source: Source, limiter=None) -> None:
        Download(
            self.descriptor,
            source,
            self.path,
            watchers=Watchers(self._progress, self.waits.append),
            limiter=limiter,
            tuning=self.tuning,
            cancel=self.cancel,
        ).run()

    def _progress(self, frontier: int) -> None:
        self.frontiers.append(frontier)
        self.seen_short |= frontier > self.path.stat().st_size

    def holds(self, data: bytes) -> bool:
        return self.path.read_bytes() == data


@pytest.fixture
def case(tmp_path) -> Case:
    return Case(tmp_path)


def cut(after: int, error: Exception | None = None):
    """An answer that ends too early."""

    def answer(start: int, end: int | None) -> Body:
        return Body(DATA[start : start + after], start, len(DATA), len(DATA), fail=error)

    return answer


def ignoring_ranges(data: bytes = DATA, **facts):
    """An answer from byte 0 on, whatever was asked."""
    return lambda start, end: Body(data, 0, **{"end": len(data), "total": len(data), **facts})


# --- fresh ----------------------------------------------------------------------------------


def test_a_fresh_blob_comes_in_one_answer(case):
    source = Source(DATA)
    case.run(source)
    assert case.holds(DATA)
    assert source.asked == [(0, None)]
    assert case.frontiers == sorted(case.frontiers)
    assert case.frontiers[-1] == len(DATA)
    assert not case.seen_short
    assert all(body.closed for body in source.bodies)
    assert oct(case.path.stat().st_mode & 0o777) == "0o600"


def test_an_empty_blob_is_not_asked_for(tmp_path):
    case = Case(tmp_path, b"")
    source = Source(b"")
    case.run(source)
    assert source.asked == []
    assert case.holds(b"")


def test_wrong_bytes_in_one_answer_fail_at_once_with_dockers_text(case):
    source = Source(WRONG)
    with pytest.raises(BlobMismatch) as caught:
        case.run(source)
    assert str(caught.value) == f"filesystem layer verification failed for digest {case.descriptor.digest}"
    assert not caught.value.retryable
    assert len(source.asked) == 1
    assert case.holds(b"")
    assert case.frontiers[-1] == 0


def test_wrong_bytes_of_one_place_are_asked_for_at_the_next(case):
    source = Source(DATA, answers=[lambda start, end: Body(WRONG, 0, len(WRONG), len(WRONG))], others=1)
    case.run(source)
    assert case.holds(DATA)
    assert source.rejected == 1


def test_wrong_bytes_everywhere_end(case):
    source = Source(WRONG, others=3)
    with pytest.raises(BlobMismatch):
        case.run(source)
    assert len(source.asked) == 4


# --- length ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        ignoring_ranges(DATA + b"x"),
        ignoring_ranges(DATA + b"x", total=None),
        ignoring_ranges(DATA + b"x", total=None, end=None),
        ignoring_ranges(DATA + bytes(READ_BYTES), total=None, end=None),
    ],
)
def test_a_longer_body_is_refused(case, answer):
    source = Source(DATA, answers=[answer])
    with pytest.raises(BlobTooLong):
        case.run(source)
    assert len(source.asked) == 1
    assert case.path.stat().st_size <= len(DATA)


def test_a_longer_body_is_refused_though_the_rest_comes_later(case):
    """The last piece ends where the blob does, and there is another one."""
    piece = next(size for size in range(READ_BYTES, 0, -1) if len(DATA) % size == 0)
    source = Source(DATA, answers=[ignoring_ranges(DATA + b"x", total=None, end=None, piece_bytes=piece)])
    with pytest.raises(BlobTooLong):
        case.run(source)


def test_a_longer_body_of_one_place_is_asked_for_at_the_next(case):
    source = Source(DATA, answers=[ignoring_ranges(DATA + b"x", total=None, end=None)], others=1)
    case.run(source)
    assert case.holds(DATA)
    assert source.rejected == 1
    assert 0 in case.frontiers


def test_what_lies_behind_the_blob_is_cut_off(case):
    """A manifest that gave another size for the same digest may have left it."""
    case.path.write_bytes(DATA + b"behind")
    case.run(Source(DATA))
    assert case.holds(DATA)


def test_a_body_that_says_it_is_longer_is_not_even_read(case):
    source = Source(DATA, answers=[ignoring_ranges(DATA + bytes(10**6))])
    with pytest.raises(BlobTooLong) as caught:
        case.run(source)
    assert (caught.value.expected_bytes, caught.value.found_bytes) == (len(DATA), len(DATA) + 10**6)
    assert case.path.stat().st_size == 0


def test_a_body_of_unannounced_length_may_end_where_it_should(case):
    source = Source(DATA, answers=[ignoring_ranges(end=None, total=None)])
    case.run(source)
    assert case.holds(DATA)


def test_a_hanging_end_of_an_unannounced_body_does_no_harm(case):
    source = Source(DATA, answers=[ignoring_ranges(end=None, total=None, fail=NetworkError("stalled"))])
    case.run(source)
    assert case.holds(DATA)


def test_a_body_that_says_it_is_shorter_brings_nothing(case):
    source = Source(DATA, answers=[ignoring_ranges(b"<html>sorry</html>")])
    case.run(source)
    assert case.holds(DATA)
    assert source.asked == [(0, None), (0, None)]


def test_a_body_that_is_always_shorter_is_an_error_in_the_end(case):
    source = Source(DATA[:1000])
    with pytest.raises(ShortBody) as caught:
        case.run(source)
    assert caught.value.retryable
    assert len(source.asked) == 5


# --- cuts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, NetworkError("connection reset")])
def test_a_cut_answer_is_resumed_where_it_ended(case, error):
    source = Source(DATA, answers=[cut(READ_BYTES + 7, error), cut(11, error)])
    case.run(source)
    assert case.holds(DATA)
    assert source.asked == [(0, None), (READ_BYTES + 7, None), (READ_BYTES + 18, None)]


def test_every_single_byte_may_be_the_last(tmp_path):
    data = DATA[:40]
    case = Case(tmp_path, data, replace(QUICK, attempts=10**6))
    source = Source(data, answers=[lambda s, e: Body(data[s : s + 1], s, 40, 40) for _ in range(39)])
    case.run(source)
    assert case.holds(data)


def test_a_server_that_limits_its_answers_is_asked_on_without_a_pause(tmp_path):
    case = Case(tmp_path, tuning=Tuning(backoff_s=3600))

    def limited(start, end):
        last = min(start + 100_000, len(DATA))
        return Body(DATA[start:last], start, last, len(DATA))

    source = Source(DATA, answers=[limited] * 20)
    case.run(source)
    assert case.holds(DATA)
    assert case.waits == []


def test_attempts_that_bring_nothing_are_counted(case):
    source = Source(DATA, answers=[NetworkError("down")] * 10)
    with pytest.raises(NetworkError):
        case.run(source)
    assert len(source.asked) == 5


def test_attempts_that_bring_much_are_not(case):
    piece = 64 * 1024
    source = Source(DATA, answers=[cut(piece, NetworkError("cut"))] * 10)
    case.run(source)
    assert case.holds(DATA)
    assert len(source.asked) == 11


def test_the_waits_are_dockers(tmp_path):
    waited = []

    class Impatient(CancelToken):
        def sleep(self, seconds: float) -> None:
            waited.append(seconds)

    case = Case(tmp_path, tuning=Tuning())
    case.cancel = Impatient()
    with pytest.raises(NetworkError):
        case.run(Source(DATA, answers=[NetworkError("down")] * 5))
    assert case.waits == [*range(5, 0, -1), *range(10, 0, -1), *range(15, 0, -1), *range(20, 0, -1)]
    assert sum(waited) == 50


@pytest.mark.parametrize("error", [NotFound("no such blob"), DataLoss("broken")])
def test_what_cannot_get_better_is_not_repeated(case, error):
    source = Source(DATA, answers=[cut(1000, None), error])
    with pytest.raises(type(error)):
        case.run(source)
    assert case.path.stat().st_size == 1000


def test_a_registry_that_asks_for_patience_gets_it(case):
    throttled = Throttled("slow down", hint="", retry_after_s=0.01)
    source = Source(DATA, answers=[throttled, throttled])
    case.run(source)
    assert case.holds(DATA)
    assert case.waits == [1, 1]


@pytest.mark.parametrize("asked", [None, 3600.0])
def test_but_not_for_ever(case, asked):
    source = Source(DATA, answers=[Throttled("slow down", hint="", retry_after_s=asked)])
    with pytest.raises(Throttled):
        case.run(source)


# --- resume ---------------------------------------------------------------------------------


def test_another_process_goes_on_where_one_stopped(case):
    with pytest.raises(NotFound):
        case.run(Source(DATA, answers=[cut(300_000, None), NotFound("gone")]))
    second = Source(DATA)
    case.run(second)
    assert case.holds(DATA)
    assert second.asked == [(300_000, None)]


def test_everything_was_there_already(case):
    case.path.write_bytes(DATA)
    source = Source(DATA)
    case.run(source)
    assert source.asked == []


def test_a_server_that_ignores_the_range_loses_nothing(case):
    case.path.write_bytes(DATA[:300_000])
    source = Source(DATA, answers=[ignoring_ranges()])
    case.run(source)
    assert case.holds(DATA)
    assert source.asked == [(300_000, None)]


def test_a_server_that_ignores_the_range_and_is_cut_before_it(case):
    case.path.write_bytes(DATA[:300_000])
    source = Source(DATA, answers=[ignoring_ranges(DATA[:5000], end=len(DATA), total=len(DATA))])
    case.run(source)
    assert case.holds(DATA)


def test_wrong_bytes_of_an_earlier_process_are_replaced_once(case):
    case.path.write_bytes(WRONG[:300_000])
    source = Source(DATA)
    case.run(source)
    assert case.holds(DATA)
    assert source.asked == [(300_000, None), (0, None)]
    assert 0 in case.frontiers


def test_wrong_bytes_of_an_earlier_answer_are_replaced_once(case):
    def bad(start, end):
        return Body(WRONG[:1000], 0, len(DATA), len(DATA))

    source = Source(DATA, answers=[bad])
    case.run(source)
    assert case.holds(DATA)
    assert source.asked == [(0, None), (1000, None), (0, None)]


def test_a_resumed_blob_that_stays_wrong_is_an_error(case):
    case.path.write_bytes(WRONG[:300_000])
    source = Source(WRONG)
    with pytest.raises(BlobMismatch):
        case.run(source)
    assert len(source.asked) == 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_history_of_cuts_and_faults_ends_with_the_blob(tmp_path_factory, data):
    case = Case(tmp_path_factory.mktemp("history"), tuning=replace(QUICK, attempts=50))
    kinds = data.draw(st.lists(st.sampled_from(sorted(_ANSWERS)), max_size=8))
    answers = [_ANSWERS[kind](data.draw(st.integers(0, len(DATA)))) for kind in kinds]
    held = data.draw(st.integers(0, len(DATA)))
    case.path.write_bytes((DATA if data.draw(st.booleans()) else WRONG)[:held])
    try:
        case.run(Source(DATA, answers=answers))
    except BlobMismatch:
        assert "wrong" in kinds
    else:
        assert case.holds(DATA)


_ANSWERS = {
    "cut": cut,
    "reset": lambda length: cut(length, NetworkError("reset")),
    "ignore": lambda length: ignoring_ranges(DATA[:length], end=len(DATA), total=len(DATA)),
    "error": lambda length: Unavailable("500"),
    "limit": lambda length: (
        lambda start, end: Body(
            DATA[start : start + length], start, min(start + length, len(DATA)), len(DATA)
        )
    ),
    "wrong": lambda length: lambda start, end: Body(WRONG[start:], start, len(DATA), len(DATA)),
}


# --- the file -------------------------------------------------------------------------------


def test_a_directory_that_is_not_there(tmp_path):
    from onggi.content.errors import BlobDirectoryUnusable

    case = Case(tmp_path / "absent")
    with pytest.raises(BlobDirectoryUnusable, match="no such file or directory"):
        case.run(Source(DATA))


def test_a_full_disk_names_the_file_and_what_is_missing(tmp_path, monkeypatch):
    from onggi.content.errors import BlobDiskFull

    room = 2 * READ_BYTES
    real = os.pwrite

    def limited(fd: int, data: memoryview, offset: int) -> int:
        if offset >= room:
            raise OSError(28, "No space left on device")
        return real(fd, data[: room - offset], offset)

    monkeypatch.setattr(os, "pwrite", limited)
    case = Case(tmp_path)
    with pytest.raises(BlobDiskFull) as caught:
        case.run(Source(DATA))
    assert str(case.path) in str(caught.value)
    assert caught.value.missing_bytes == len(DATA) - room
    assert case.holds(DATA[:room])
    monkeypatch.undo()
    second = Source(DATA)
    case.run(second)
    assert second.asked == [(room, None)]
    assert case.holds(DATA)


def test_a_file_that_shrinks_under_us_is_an_error_and_no_hang(case, monkeypatch):
    case.path.write_bytes(DATA[:300_000])
    monkeypatch.setattr(os, "pread", lambda fd, limit, offset: b"")
    with pytest.raises(ShortBody):
        case.run(Source(DATA))


# --- cancellation ---------------------------------------------------------------------------


def test_cancelled_in_the_middle_keeps_what_is_there(case):
    def gate():
        if case.frontiers and case.frontiers[-1] >= READ_BYTES:
            case.cancel.cancel()

    source = Source(DATA, answers=[lambda s, e: Body(DATA, 0, len(DATA), len(DATA), gate=gate)])
    with pytest.raises(Cancelled):
        case.run(source)
    assert case.path.read_bytes() == DATA[: case.path.stat().st_size]
    assert case.path.stat().st_size >= READ_BYTES
    assert source.bodies[0].closed


def test_cancelled_while_waiting_for_a_retry(tmp_path):
    case = Case(tmp_path, tuning=Tuning(backoff_s=3600))
    threading.Timer(0.1, case.cancel.cancel).start()
    with pytest.raises(Cancelled):
        case.run(Source(DATA, answers=[NetworkError("down")]))
