"""Command lines in order, each asked of both, and what was not answered alike (``life_rows.py``)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping

from onggi.record import record
from tests.compat.pair import Pair, Said, agrees

__all__ = ["differences"]

_SETTLES_S = 20.0
_LINE = re.compile(r"(?P<mark>[~?]?) ?(?:< (?P<stdin>\w+) \| )?(?P<words>.*)")


@record
class Step:
    """``one_stream``: out and err count as one; ``settles``: repeated until both say the same."""

    line: str
    stdin: str
    one_stream: bool
    settles: bool


def _steps(text: str) -> Iterator[Step]:
    for line in text.strip().splitlines():
        match = _LINE.fullmatch(line)
        assert match is not None
        stdin = f"{match['stdin']}\n" if match["stdin"] else ""
        yield Step(match["words"], stdin, match["mark"] == "~", match["mark"] == "?")


def _differs(step: Step, ours: Said, theirs: Said) -> bool:
    if step.one_stream:
        return ours.status != theirs.status or not agrees(ours.out + ours.err, theirs.out + theirs.err)
    return (ours.status, ours.out) != (theirs.status, theirs.out) or not agrees(ours.err, theirs.err)


def _asked(pair: Pair, step: Step, places: Mapping[str, str]) -> tuple[Said, Said]:
    words = pair.words(step.line, places)
    end = time.monotonic() + _SETTLES_S
    while True:
        ours, theirs = pair.both(*words, stdin=step.stdin, CALLER="called")
        if not step.settles or not _differs(step, ours, theirs) or time.monotonic() > end:
            return ours, theirs
        time.sleep(0.2)


def differences(pair: Pair, text: str, places: Mapping[str, str]) -> list[str]:
    """Every line that the two answer differently, with both answers."""
    different = []
    for step in _steps(text):
        ours, theirs = _asked(pair, step, places)
        if _differs(step, ours, theirs):
            different.append(f"{step.line}\n  {ours}\n  {theirs}")
    return different
