"""Patterns by the rules of Go's path.Match."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.oci.glob import InvalidPattern, match


# Results are Go's own.
@pytest.mark.parametrize(
    "pattern, name, expected",
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "abc", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^b-d]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("a[^a][^a][^a]b", "a☺b", False),
        ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "x", True),
        ("[x\\-]", "-", True),
        ("[x\\-]", "z", False),
        ("[\\-x]", "x", True),
        ("[\\-x]", "-", True),
        ("[\\-x]", "a", False),
        ("*x", "xxx", True),
        ("a[^b]c", "a/c", True),
        ("[z-a]", "m", False),
        ("[^z-a]", "m", True),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("a]", "a]", True),
        ("a^-b", "a^-b", True),
    ],
)
def test_like_go(pattern: str, name: str, expected: bool) -> None:
    assert match(pattern, name) is expected


@pytest.mark.parametrize(
    "pattern",
    ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\", "[\\", "[a\\", "[a-", "x*["],
)
@pytest.mark.parametrize("name", ["", "a", "ab", "-", "]", "x/y"])
def test_broken_patterns_are_errors_whatever_the_name(pattern: str, name: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        match(pattern, name)
    assert str(caught.value) == "syntax error in pattern"
    assert caught.value.pattern == pattern


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_without_slashes_and_classes_it_is_fnmatch(pattern: str, name: str) -> None:
    assert match(pattern, name) is fnmatch.fnmatchcase(name, pattern)


@given(st.text(max_size=20))
def test_an_escaped_name_matches_itself_alone(name: str) -> None:
    pattern = "".join(f"\\{character}" for character in name)
    assert match(pattern, name)
    assert not match(pattern, f"{name}x")


@given(st.text("a*?[]^-\\/", max_size=12), st.text("a-/]^", max_size=8))
def test_any_pattern_is_an_answer_or_an_error(pattern: str, name: str) -> None:
    try:
        assert match(pattern, name) in (True, False)
    except InvalidPattern:
        pass


def test_many_stars_are_no_trap() -> None:
    assert not match("a*" * 200 + "b", "a" * 400)
