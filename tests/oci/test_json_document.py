"""JSON read by Go's rules."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.oci.json_document import load_object, spelled, spelling

NAMES = spelling("mediaType", "os.version", "Cmd")

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=4), st.booleans(), st.booleans())
def test_what_was_written_is_read(document: dict[str, object], unique: bool, escaped: bool) -> None:
    raw = json.dumps(document, ensure_ascii=escaped).encode()
    assert load_object(raw, unique_keys=unique) == document


@given(st.binary(max_size=100))
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(load_object(raw), dict)
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("raw", "document"),
    [
        (b'{"a":"M\xfcller"}', {"a": "M\ufffdller"}),
        (b'{"a\xff":1}', {"a\ufffd": 1}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":"\\ud83d"}', {"a": "\ufffd"}),
        (b'{"a":"\\uDE00\\uD83D"}', {"a": "\ufffd\ufffd"}),
        (b'{"\\ud800":[{"\\udfff":"x\\udc00y"},1,null]}', {"\ufffd": [{"\ufffd": "x\ufffdy"}, 1, None]}),
        (b'{"a":"\\\\ud800"}', {"a": "\\ud800"}),
        (b' \n{"a" :1}\t', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_read(raw: bytes, document: dict[str, object]) -> None:
    assert load_object(raw) == document


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "not an object"),
        (b'"x"', "not an object"),
        (b"null", "not an object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
    ],
)
def test_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^{reason}$"):
        load_object(raw)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"{}{}", b"{'a':1}", b'{"a":"\n"}', b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'{"a":1e}'],
)
def test_refused_by_the_parser(raw: bytes) -> None:
    with pytest.raises(ValueError):
        load_object(raw)


@pytest.mark.parametrize("raw", [b'{"a":1,"a":1}', b'{"b":[{"a":1,"a":2}]}'])
def test_a_key_given_twice(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"^'a' is given twice$"):
        load_object(raw, unique_keys=True)


def test_spelling() -> None:
    given = {"MEDIATYPE": 1, "Os.Version": 2, "cmd": 3, "other": 4, "Other": 5}
    assert spelled(given, NAMES) == {"mediaType": 1, "os.version": 2, "Cmd": 3, "other": 4, "Other": 5}


def test_case_is_folded_as_go_folds_it() -> None:
    """Go takes LATIN SMALL LETTER LONG S for s: in a struct of Docker's, this key is ``layers``."""
    assert spelled({"layer\u017f": []}, spelling("layers")) == {"layers": []}


@pytest.mark.parametrize("second", ["MediaType", "mediatype", "MEDIATYPE"])
def test_two_keys_for_one_name(second: str) -> None:
    with pytest.raises(ValueError, match=r"^mediaType is given twice$"):
        spelled({"mediaType": 1, second: 2}, NAMES)
