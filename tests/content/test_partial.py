"""The file in which a blob grows: spans, checkpoints, and what the next process finds."""

from __future__ import annotations

import json
import os
import threading

import pytest

from onggi.content.partial import PartialFile
from onggi.content.spans import Span
from tests.content.sources import describe

DATA = bytes(range(256)) * 400
SIZE = len(DATA)


def opened(tmp_path, checkpoint_s: float = 3600.0) -> PartialFile:
    return PartialFile(tmp_path / "x.partial", describe(DATA), checkpoint_s=checkpoint_s)


def fill(partial: PartialFile, span: Span, amount: int) -> int:
    return partial.write(span, memoryview(DATA)[span.position : span.position + amount])


def test_the_next_process_finds_the_bytes(tmp_path):
    with opened(tmp_path) as partial:
        span = partial.span_at(0)
        assert partial.claim(span)
        assert fill(partial, span, 1000) == 1000
        assert partial.held_bytes == 1000
        assert partial.read(990, 100) == DATA[990:1000]
    assert os.listdir(tmp_path) == ["x.partial"]
    with opened(tmp_path) as partial:
        assert partial.span_at(0) == Span(0, 1000, SIZE)


def test_a_span_has_one_owner(tmp_path):
    with opened(tmp_path) as partial:
        span = partial.span_at(0)
        assert partial.claim(span)
        assert not partial.claim(span)
        partial.release(span)
        assert partial.claim(span)


def test_stolen_spans_are_written_down_before_they_are_filled(tmp_path):
    with opened(tmp_path) as partial:
        first = partial.span_at(0)
        partial.claim(first)
        fill(partial, first, 400)
        stolen = partial.steal(100)
        assert json.loads((tmp_path / "x.spans").read_text()) == [
            [0, 400, stolen.start],
            [stolen.start, stolen.start, SIZE],
        ]
        fill(partial, stolen, 77)
        assert partial.held_bytes == 477
        assert partial.span_at(stolen.start) is stolen
    with opened(tmp_path) as partial:
        assert partial.span_at(0) == Span(0, 400, stolen.start)
        assert partial.span_at(SIZE - 1) == Span(stolen.start, stolen.start + 77, SIZE)


def test_bytes_beyond_a_stolen_end_do_not_count(tmp_path):
    with opened(tmp_path) as partial:
        first = partial.span_at(0)
        partial.claim(first)
        partial.steal(100)
        first.position = first.end - 10
        assert fill(partial, first, 50) == 10
        assert first.missing == 0


def test_a_restart_forgets_everything(tmp_path):
    with opened(tmp_path) as partial:
        fill(partial, partial.span_at(0), 5000)
        partial.steal(100)
        partial.restart()
        assert partial.held_bytes == 0
        assert partial.span_at(SIZE - 1) == Span(0, 0, SIZE)
    assert (tmp_path / "x.partial").stat().st_size == 0
    assert not (tmp_path / "x.spans").exists()


def test_a_complete_blob_has_no_sidecar(tmp_path):
    with opened(tmp_path) as partial:
        first = partial.span_at(0)
        partial.claim(first)
        stolen = partial.steal(100)
        fill(partial, stolen, SIZE)
        fill(partial, first, SIZE)
        partial.complete()
    assert (tmp_path / "x.partial").read_bytes() == DATA
    assert os.listdir(tmp_path) == ["x.partial"]


def test_a_checkpoint_flushes_the_bytes_before_it_names_them(tmp_path, monkeypatch):
    """A sidecar that is on disk must not promise bytes that are not."""
    events = []
    flush = os.fdatasync

    def watched(fd: int) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        events.append((name, partial.held_bytes))
        flush(fd)

    monkeypatch.setattr(os, "fdatasync", watched)
    with opened(tmp_path, checkpoint_s=0.0) as partial:
        first = partial.span_at(0)
        partial.claim(first)
        stolen = partial.steal(100)
        fill(partial, stolen, 100)
        fill(partial, first, 50)
    assert events == [("x.partial", 100), ("x.spans-new", 100), ("x.partial", 150), ("x.spans-new", 150)]


def test_without_a_reason_nothing_is_flushed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fdatasync", lambda fd: pytest.fail("flushed"))
    with opened(tmp_path) as partial:
        fill(partial, partial.span_at(0), SIZE)
        partial.complete()


def test_several_threads_fill_it(tmp_path):
    with opened(tmp_path) as partial:
        first = partial.span_at(0)
        partial.claim(first)
        spans = [first, *(partial.steal(100) for _ in range(7))]

        def work(span: Span) -> None:
            while span.missing:
                fill(partial, span, 37)

        threads = [threading.Thread(target=work, args=(span,)) for span in spans]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert partial.held_bytes == SIZE
        partial.complete()
    assert (tmp_path / "x.partial").read_bytes() == DATA
