"""Spans: always a partition of the blob, on paper and on disk."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.content.spans import Span, give_back, load_spans, save_spans, steal

SIZE = 10_000
LEAST = 100


def is_partition(spans: list[Span], size: int) -> bool:
    edges = [0, *(span.end for span in spans)]
    adjoining = [span.start for span in spans] == edges[:-1] and edges[-1] == size
    return adjoining and all(span.start <= span.position <= span.end for span in spans)


@given(st.lists(st.tuples(st.sampled_from(["steal", "receive", "give back"]), st.integers(0, 10**6))))
def test_whatever_happens_the_spans_cover_the_blob_once(steps):
    spans = [Span(0, 0, SIZE, owned=True)]
    for step, number in steps:
        span = spans[number % len(spans)]
        if step == "steal":
            stolen = steal(spans, LEAST)
            assert stolen is None or (stolen.owned and stolen.missing)
        elif step == "receive":
            span.position += min(span.missing, number % 700)
        else:
            give_back(spans, span)
        assert is_partition(spans, SIZE)


def test_the_second_half_of_the_largest_is_stolen():
    spans = [Span(0, 50, 1000, owned=True), Span(1000, 1000, 8000, owned=True), Span(8000, 8000, SIZE, True)]
    stolen = steal(spans, LEAST)
    assert stolen == Span(4500, 4500, 8000, owned=True)
    assert spans[1].end == 4500
    assert spans.index(stolen) == 2


def test_a_span_nobody_works_on_is_taken_first():
    spans = [Span(0, 0, 9000, owned=True), Span(9000, 9500, SIZE)]
    assert steal(spans, LEAST) is spans[1]


def test_halves_that_are_not_worth_a_request_stay_whole():
    spans = [Span(0, SIZE - 2 * LEAST + 1, SIZE, owned=True)]
    assert steal(spans, LEAST) is None
    assert spans == [Span(0, SIZE - 2 * LEAST + 1, SIZE, owned=True)]


def test_an_untouched_span_goes_back_to_where_it_came_from():
    spans = [Span(0, 10, SIZE, owned=True)]
    stolen = steal(spans, LEAST)
    give_back(spans, stolen)
    assert spans == [Span(0, 10, SIZE, owned=True)]


def test_a_span_with_bytes_in_it_stays():
    spans = [Span(0, 10, SIZE, owned=True)]
    stolen = steal(spans, LEAST)
    stolen.position += 1
    give_back(spans, stolen)
    assert len(spans) == 2
    assert not stolen.owned


def test_what_is_saved_is_what_is_loaded(tmp_path):
    partial, sidecar = tmp_path / "x.partial", tmp_path / "x.spans"
    partial.write_bytes(bytes(7000))
    save_spans(sidecar, [(0, 100, 5000), (5000, 7000, SIZE)], durable=True)
    assert load_spans(partial, sidecar, SIZE) == [Span(0, 100, 5000), Span(5000, 7000, SIZE)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.partial", "x.spans"]


def test_without_a_sidecar_the_length_says_all(tmp_path):
    partial = tmp_path / "x.partial"
    assert load_spans(partial, tmp_path / "x.spans", SIZE) == [Span(0, 0, SIZE)]
    partial.write_bytes(bytes(123))
    assert load_spans(partial, tmp_path / "x.spans", SIZE) == [Span(0, 123, SIZE)]
    partial.write_bytes(bytes(SIZE + 5))
    assert load_spans(partial, tmp_path / "x.spans", SIZE) == [Span(0, SIZE, SIZE)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "[[0, 5]]",
        '[["a", 1, 2]]',
        "[[0, 10, 5000]]",
        "[[0, 10, 5000], [5001, 5001, 10000]]",
        "[[0, 10, 5000], [5000, 4000, 10000]]",
        "[[0, 10, 5000], [5000, 9000, 10000]]",
        "[[0, 10, 20000]]",
        "[[-5, 0, 10000]]",
        "[[0, 10001, 10000]]",
    ],
)
def test_a_sidecar_that_cannot_be_is_worth_nothing(tmp_path, text):
    partial, sidecar = tmp_path / "x.partial", tmp_path / "x.spans"
    partial.write_bytes(bytes(8000))
    sidecar.write_text(text)
    assert load_spans(partial, sidecar, SIZE) == [Span(0, 0, SIZE)]


@given(
    st.recursive(st.integers() | st.text(max_size=3) | st.none(), lambda inner: st.lists(inner, max_size=4))
)
def test_any_json_in_the_sidecar_gives_spans(document):
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as directory:
        partial, sidecar = Path(directory) / "x.partial", Path(directory) / "x.spans"
        partial.write_bytes(bytes(100))
        sidecar.write_text(json.dumps(document))
        assert is_partition(load_spans(partial, sidecar, SIZE), SIZE)
