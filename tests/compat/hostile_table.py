"""docs/hostile-input.md as rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Row", "dockerd_refuses", "rows"]

ROOT = Path(__file__).parents[2]
_TEST = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<name>\w+)(?:\[(?P<case>.+)\])?`")


@dataclass(frozen=True)
class Row:
    """One case; ``theirs`` and ``ours`` are the outcomes, ``case`` the test's parameter, empty without one."""

    title: str
    theirs: str
    ours: str
    file: str
    name: str
    case: str


def rows() -> list[Row]:
    """All of the document, in its order."""
    found = []
    for line in (ROOT / "docs/hostile-input.md").read_text("utf-8").splitlines():
        if not line.startswith("|") or line.startswith(("| ---", "| case |")):
            continue
        title, _, theirs, ours, named = (cell.strip() for cell in line.strip("|").split("|"))
        test = _TEST.fullmatch(named)
        assert test is not None, line
        found.append(Row(title, theirs, ours, test["file"], test["name"], test["case"] or ""))
    return found


def dockerd_refuses(file: str, case: str) -> bool:
    """What the document says of dockerd."""
    return next(row.theirs.startswith("refused") for row in rows() if (row.file, row.case) == (file, case))
