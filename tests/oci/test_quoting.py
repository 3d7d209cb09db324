"""Text of strangers in messages."""

from __future__ import annotations

import pytest

from onggi.oci.quoting import printable, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nginx:1.27", "nginx:1.27"),
        ("옹기", "옹기"),
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", '""'), ("foo", '"foo"'), ('say "hi"', r'"say \"hi\""'), ("a\\b", r'"a\\b"'), ("a\tb", r'"a\tb"')],
)
def test_quoted_as_go_does(text: str, shown: str) -> None:
    assert quoted(text) == shown
