"""WWW-Authenticate as registries write it, and as nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.registry.challenges import parse_challenges

_HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"'


def parsed(*lines: str) -> list[tuple[str, dict[str, str]]]:
    return [(challenge.scheme, dict(challenge.parameters)) for challenge in parse_challenges(list(lines))]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [_HUB],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull",
                    },
                )
            ],
        ),
        (['Basic realm="r"'], [("basic", {"realm": "r"})]),
        (["Basic"], [("basic", {})]),
        (['basic   Realm = "r"'], [("basic", {"realm": "r"})]),
        (['Basic realm="a, b=\\"c\\""'], [("basic", {"realm": 'a, b="c"'})]),
        (
            ['Basic realm="r", Bearer realm="t",service=s'],
            [("basic", {"realm": "r"}), ("bearer", {"realm": "t", "service": "s"})],
        ),
        (
            ['Negotiate, Basic realm="r"', 'Bearer realm="t"'],
            [("negotiate", {}), ("basic", {"realm": "r"}), ("bearer", {"realm": "t"})],
        ),
        (
            ['Bearer realm="t",,error="insufficient_scope",'],
            [("bearer", {"realm": "t", "error": "insufficient_scope"})],
        ),
        ([""], []),
        ([], []),
    ],
)
def test_challenges(lines, expected):
    assert parsed(*lines) == expected


def test_a_parameter_that_is_absent_is_empty():
    (challenge,) = parse_challenges(['Basic realm="r"'])
    assert challenge["service"] == ""
    assert challenge["realm"] == "r"


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_header_is_read_without_an_error(lines):
    for scheme, parameters in parsed(*lines):
        assert scheme == scheme.lower()
        assert all(name == name.lower() for name in parameters)


_words = st.text("abcXYZ019-_.", min_size=1, max_size=8)


@given(
    st.dictionaries(
        _words.map(str.lower), st.text(st.characters(codec="ascii", exclude_categories=["C"])), max_size=4
    )
)
def test_quoted_values_come_back(parameters):
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()}
    line = "Bearer " + ",".join(f'{name}="{value}"' for name, value in quoted.items())
    assert parsed(line) == [("bearer", parameters)]


def test_a_huge_header_is_cut():
    assert len(parse_challenges(["Basic " + "a=b," * 100_000])[0].parameters) < 3000
