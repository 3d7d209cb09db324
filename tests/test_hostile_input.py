"""docs/hostile-input.md says what is tested: every test it names exists, and nothing compared is missing."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.compat.hostile import (
    STRICTER_LAYERS,
    STRICTER_MANIFESTS,
    hostile_layers,
    hostile_manifests,
)
from tests.compat.hostile_table import ROOT, Row, rows

LAYERS, MANIFESTS = "tests/compat/test_hostile_layers.py", "tests/compat/test_hostile_manifests.py"
COMPARED = {
    LAYERS: (hostile_layers(b"/x"), STRICTER_LAYERS),
    MANIFESTS: (hostile_manifests(), STRICTER_MANIFESTS),
}


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.title)
def test_every_test_exists(row: Row) -> None:
    assert row.ours
    assert row.name in functions(row.file)
    if row.case:
        assert row.case in COMPARED[row.file][0]


@pytest.mark.parametrize("file", COMPARED)
def test_what_is_compared_is_listed_with_its_outcome(file: str) -> None:
    cases, stricter = COMPARED[file]
    listed = {row.case: row.ours for row in rows() if row.file == file}
    # The sound image only shows that the others are refused for their fault.
    assert listed.keys() == cases.keys() - {"sound"}
    told = {
        case: outcome.removeprefix("stricter: ") for case, outcome in listed.items() if "stricter" in outcome
    }
    assert told == stricter
    assert {outcome for case, outcome in listed.items() if case not in stricter} == {"same"}
