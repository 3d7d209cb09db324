from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.cli.gofmt import NoSuchField, Record, Time, format_value, go_json, printf, quote, unescape


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<nil>"),
        (True, "true"),
        (5, "5"),
        (1.5, "1.5"),
        (1000000.0, "1e+06"),
        (123456.0, "123456"),
        (1234567.5, "1.2345675e+06"),
        (0.0001, "0.0001"),
        (2.0, "2"),
        (-0.000012, "-1.2e-05"),
        (0.0, "0"),
        (1e30, "1e+30"),
        (1e100, "1e+100"),
        (0.00001, "1e-05"),
        (float("inf"), "+Inf"),
        ("x", "x"),
        (["a", 1], "[a 1]"),
        ({"b": 1, "a": []}, "map[a:[] b:1]"),
        (Time("0001-01-01T00:00:00Z"), "0001-01-01 00:00:00 +0000 UTC"),
        (Time("2026-11-24T04:29:27.325930255Z"), "2026-11-24 04:29:27.325930255 +0000 UTC"),
        (Time("2026-11-24T13:29:27+09:00"), "2026-11-24 13:29:27 +0900 +0900"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("layout", "values", "text"),
    [
        ("%d %s %q %v", (5, "a", 'b"c', ["x"]), '5 a "b\\"c" [x]'),
        ("%5d|%-5d|%05d|%+d", (4, 4, 4, 4), "    4|4    |00004|+4"),
        ("%x %X %o %b %c %U", (255, 255, 8, 5, 65, 0x263A), "ff FF 10 101 A U+263A"),
        ("%.2f %8.3f %e", (1.5, 3.14159, 1000.0), "1.50    3.142 1.000000e+03"),
        ("%t %5s|%-5s|%.2s", (True, "ab", "ab", "abcdef"), "true    ab|ab   |ab"),
        ("100%%", (), "100%"),
        ("%d", ("x",), "%!d(string=x)"),
        ("%s", (5,), "%!s(int=5)"),
        ("%d", (), "%!d(MISSING)"),
        ("x", (1,), "x%!(EXTRA int=1)"),
        ("%", (), "%!(NOVERB)"),
        ("%s", (["a", "b"],), "[a b]"),
        ("%T", (1.5,), "float64"),
    ],
)
def test_printf(layout: str, values: tuple[object, ...], text: str) -> None:
    assert printf(layout, values) == text


@given(st.text())
def test_quoted_strings_read_back(text: str) -> None:
    assert unescape(quote(text)[1:-1]) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_json_is_json(value: object) -> None:
    assert json.loads(go_json(value)) == json.loads(go_json(value, html=True)) == value


def test_json_escapes_like_go() -> None:
    assert go_json({"a": "<&>\u2028"}) == '{"a":"<&>\\u2028"}'
    assert go_json("<&>", html=True) == '"\\u003c\\u0026\\u003e"'
    assert go_json({"a": [], "b": {}}, indent="    ") == '{\n    "a": [],\n    "b": {}\n}'


def test_records() -> None:
    record = Record.of("T", {"A": 1, "B": None}, {"B": "", "C": []})
    assert (record.field("A"), record.field("B"), record.field("C")) == (1, "", [])
    assert go_json(record) == '{"A":1,"B":""}'
    with pytest.raises(NoSuchField, match="map has no entry"):
        record.field("D")
    computed = Record("*T", ["X"], lambda name: name * 2, json=lambda: {"x": 1})
    assert format_value(computed) == "{XX}"
    assert go_json(computed) == '{"x":1}'
    with pytest.raises(NoSuchField, match=r"can't evaluate field Y in type \*T"):
        computed.field("Y")
