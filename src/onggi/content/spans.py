"""Which parts of a blob are in its partial file.

A download begins as one span. When a connection is slow others take the second half of
the largest remaining span, so the file fills from several places. As long as there is one
span the file's size says all; otherwise ``<hex>.spans`` keeps ``[[start, position, end], …]``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Span", "load_spans", "save_spans", "steal"]


@dataclass(slots=True)
class Span:
    """Bytes ``start`` to ``end`` of a blob, of which those before ``position`` are in the file."""

    start: int
    position: int
    end: int
    owned: bool = False

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return self.end - self.position


def steal(spans: list[Span], least_bytes: int) -> Span | None:
    """A span nobody works on, or the second half of the largest; None when none is worth it."""
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
    spans.append(stolen)
    spans.sort(key=lambda span: span.start)
    return stolen


def load_spans(partial: Path, sidecar: Path, size: int) -> list[Span]:
    """What an earlier process left; one empty span when it left nothing that can be used."""
    try:
        have = os.stat(partial).st_size
    except FileNotFoundError:
        return [Span(0, 0, size)]
    try:
        spans = [
            Span(int(entry[0]), int(entry[1]), int(entry[2])) for entry in json.loads(sidecar.read_bytes())
        ]
    except FileNotFoundError:
        return [Span(0, min(have, size), size)]
    except (ValueError, TypeError, LookupError):
        return [Span(0, 0, size)]
    edges = [0, *(span.end for span in spans)]
    whole = edges[:-1] == [span.start for span in spans] and edges[-1] == size
    sound = all(span.start <= span.position <= min(span.end, max(have, span.start)) for span in spans)
    return spans if whole and sound else [Span(0, 0, size)]


def save_spans(sidecar: Path, spans: list[Span]) -> None:
    """Write the sidecar, by rename."""
    temporary = sidecar.with_suffix(".spans-new")
    temporary.write_text(json.dumps([[span.start, span.position, span.end] for span in spans]))
    os.replace(temporary, sidecar)
