"""Which parts of a blob are in its partial file::

    0            position          end = start   position             end = size
    ├────────────────┼───────────────┼──────────────┼──────────────────┤
    │ in the file    │ still to come │ in the file  │ still to come    │
    └──────── first span ────────────┴───────── second span ───────────┘

A download begins as one span. When a connection is slow others take the second half of the
largest remaining span, so the file fills from several places. As long as there is one span
the file's length says all; otherwise ``<hex>.spans`` keeps ``[[start, position, end], …]``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from onggi.record import mutable_record

__all__ = ["Span", "give_back", "load_spans", "save_spans", "steal"]


@mutable_record
class Span:
    """Bytes ``start`` to ``end`` of a blob, of which those before ``position`` are in the file.

    ``owned`` while somebody receives it.
    """

    start: int
    position: int
    end: int
    owned: bool = False

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return self.end - self.position


def steal(spans: list[Span], least_bytes: int) -> Span | None:
    """A span nobody works on, or the second half of the largest; None when neither half is worth it.

    The result is owned. Its predecessor's owner never writes beyond its new end, since
    ``least_bytes`` is more than it can have in hand.
    """
    for span in spans:
        if not span.owned and span.missing:
            span.owned = True
            return span
    largest = max(spans, key=lambda span: span.missing)
    if largest.missing < 2 * least_bytes:
        return None
    middle = largest.position + largest.missing // 2
    stolen = Span(middle, middle, largest.end, owned=True)
    largest.end = middle
    spans.insert(spans.index(largest) + 1, stolen)
    return stolen


def give_back(spans: list[Span], span: Span) -> None:
    """Let go of a span; an untouched one becomes again the end of the span it was taken from."""
    span.owned = False
    index = spans.index(span)
    if index and span.position == span.start and spans[index - 1].missing:
        spans[index - 1].end = span.end
        del spans[index]


def load_spans(partial: Path, sidecar: Path, size: int) -> list[Span]:
    """What an earlier process left; one empty span when it left nothing that can be used."""
    try:
        have = os.stat(partial).st_size
    except FileNotFoundError:
        return [Span(0, 0, size)]
    try:
        entries = json.loads(sidecar.read_bytes())
        spans = [Span(int(start), int(position), int(end)) for start, position, end in entries]
    except FileNotFoundError:
        return [Span(0, min(have, size), size)]
    except (ValueError, TypeError):
        return [Span(0, 0, size)]
    return spans if _is_sound(spans, have, size) else [Span(0, 0, size)]


def _is_sound(spans: list[Span], have: int, size: int) -> bool:
    edges = [0, *(span.end for span in spans)]
    adjoining = edges[:-1] == [span.start for span in spans] and edges[-1] == size
    inside = all(span.start <= span.position <= span.end for span in spans)
    written = all(span.position <= have for span in spans if span.position > span.start)
    return adjoining and inside and written


def save_spans(sidecar: Path, spans: list[tuple[int, int, int]], *, durable: bool) -> None:
    """Write the sidecar by rename. ``durable``: it is on disk before the old one is gone."""
    temporary = sidecar.with_suffix(".spans-new")
    with open(temporary, "w", encoding="ascii") as file:
        file.write(json.dumps(spans))
        file.flush()
        if durable:
            os.fdatasync(file.fileno())
    os.replace(temporary, sidecar)
