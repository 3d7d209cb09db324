from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.oci.go_json import dump, raw_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "document, compat, text",
    [
        ({"b": 1, "a": [None, True]}, "28", b'{"b":1,"a":[null,true]}'),
        ("<&>\u2028\u2029é", "28", '"\\u003c\\u0026\\u003e\\u2028\\u2029é"'.encode()),
        ("\b\f\\b", "28", rb'"\b\f\\b"'),
        ("\b\f\\b", "20.10", rb'"\u0008\u000c\\b"'),
    ],
)
def test_dump(document: object, compat: str, text: bytes) -> None:
    assert dump(document, compat=compat) == text


@given(document=st.dictionaries(st.text(), VALUES, max_size=5), indent=st.sampled_from([None, 1, "\t"]))
def test_values_stay_what_they_are(document: dict[str, object], indent: int | str | None) -> None:
    raw = json.dumps(document, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    members = raw_members(raw)
    assert members.keys() == document.keys()
    for key, value in members.items():
        assert json.loads(value.decode("utf-8", "surrogatepass")) == document[key]
        assert not set(b"<>&") & set(value)


def test_spelling_stays() -> None:
    raw = b' {\n "a" : [ 1.50 , 1E3, -0 ] ,"s":"\\u00e9 \\/ \\" \xff <","a": { "x" :\t"  " } }\n'
    assert raw_members(raw) == {"a": b'{"x":"  "}', "s": b'"\\u00e9 \\/ \\" \xff \\u003c"'}
    assert raw_members(b"{ }") == {}
