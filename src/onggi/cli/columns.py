"""Aligned columns: the elastic tab stops of Go's ``text/tabwriter``, as Docker sets them.

A cell ends with a tab; the text after a line's last tab belongs to no column. Consecutive
lines that have a cell in a column form one block, as wide as its widest cell plus padding.
Widths count code points, as Go's do.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["align", "table"]

# Docker's writer for lists: no column narrower than 10, three spaces between columns.
_MIN_WIDTH, _PADDING = 10, 3


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Headers and rows as Docker prints a list."""
    return align("".join("\t".join(row) + "\n" for row in (headers, *rows)))


def align(text: str, min_width: int = _MIN_WIDTH, padding: int = _PADDING) -> str:
    """Replace the tabs of ``text`` by spaces."""
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[] for _ in lines]
    _measure(lines, widths, 0, len(lines), 0, (min_width, padding))
    return "\n".join(map(_padded, lines, widths))


def _measure(
    lines: list[list[str]],
    widths: list[list[int]],
    start: int,
    end: int,
    column: int,
    rule: tuple[int, int],
) -> None:
    """Find the blocks of ``column`` among lines start…end, and inside each those of the next column."""
    min_width, padding = rule
    at = start
    while at < end:
        if len(lines[at]) - 1 <= column:
            at += 1
            continue
        first = at
        while at < end and len(lines[at]) - 1 > column:
            at += 1
        width = max(min_width, *(len(lines[line][column]) + padding for line in range(first, at)))
        for line in range(first, at):
            widths[line].append(width)
        _measure(lines, widths, first, at, column + 1, rule)


def _padded(cells: list[str], widths: list[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return "".join(padded) + cells[-1]
