"""pflag's rules; the error texts are those of Docker's command line 28.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.cli.flags import Flag, FlagError, HelpRequested, parse_flags

FLAGS = (
    Flag("all", "bool", "", short="a"),
    Flag("quiet", "bool", "", short="q"),
    Flag("filter", "filter", "", short="f"),
    Flag("format", "string", ""),
    Flag("label", "list", "", short="l"),
    Flag("count", "int", "", short="c"),
    Flag("rate", "size", ""),
    Flag("progress", "string", "", choices=("tty", "plain")),
    Flag("subnet", "strings", ""),
)


@pytest.mark.parametrize(
    ("words", "values", "left"),
    [
        ([], {}, []),
        (["x", "-a", "y"], {"all": True}, ["x", "y"]),
        (["-aq"], {"all": True, "quiet": True}, []),
        (["--all=false"], {"all": False}, []),
        (["-a=0", "-q=T"], {"all": False, "quiet": True}, []),
        (["--format", "x", "--format=y"], {"format": "y"}, []),
        (["--format="], {"format": ""}, []),
        (["--format", "--all"], {"format": "--all"}, []),
        (["-fa=1", "-f=b=2", "-f", "C = 3 "], {"filter": ["a=1", "b=2", "c=3"]}, []),
        (["-af", "a=b=c"], {"all": True, "filter": ["a=b=c"]}, []),
        (["--subnet", "a,b", "--subnet=c"], {"subnet": ["a", "b", "c"]}, []),
        (["--subnet", '"a,b",c'], {"subnet": ["a,b", "c"]}, []),
        (["--subnet="], {"subnet": []}, []),
        (["-lx", "-l", "y"], {"label": ["x", "y"]}, []),
        (["-c", "0x10", "--count=-3"], {"count": -3}, []),
        (["--rate", "10MB"], {"rate": 10_000_000}, []),
        (["--", "-a", "--", "x"], {}, ["-a", "--", "x"]),
        (["-", ""], {}, ["-", ""]),
    ],
)
def test_values(words: list[str], values: dict[str, object], left: list[str]) -> None:
    assert parse_flags(FLAGS, words) == (values, left)


def test_not_interspersed() -> None:
    assert parse_flags(FLAGS, ["-a", "run", "-q"], interspersed=False) == ({"all": True}, ["run", "-q"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--bogus"], "unknown flag: --bogus"),
        (["--bogus=1"], "unknown flag: --bogus"),
        (["-Z"], "unknown shorthand flag: 'Z' in -Z"),
        (["-aZq"], "unknown shorthand flag: 'Z' in -Zq"),
        (["--filter"], "flag needs an argument: --filter"),
        (["-f"], "flag needs an argument: 'f' in -f"),
        (["-af"], "flag needs an argument: 'f' in -f"),
        (["---a"], "bad flag syntax: ---a"),
        (["--=x"], "bad flag syntax: --=x"),
        (
            ["--all=maybe"],
            'invalid argument "maybe" for "-a, --all" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            ["-f", "bogus"],
            'invalid argument "bogus" for "-f, --filter" flag: bad format of filter (expected name=value)',
        ),
        (
            ["--count", "x"],
            'invalid argument "x" for "-c, --count" flag: strconv.ParseInt: parsing "x": invalid syntax',
        ),
        (["--rate", "fast"], 'invalid argument "fast" for "--rate" flag: invalid size: \'fast\''),
        (["--rate", "0"], 'invalid argument "0" for "--rate" flag: must be greater than zero'),
        (["--progress", "x"], 'invalid argument "x" for "--progress" flag: must be one of tty, plain'),
    ],
)
def test_errors(words: list[str], text: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse_flags(FLAGS, words)
    assert str(caught.value) == text


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-ah"], ["x", "--help", "--bogus"]])
def test_help(words: list[str]) -> None:
    with pytest.raises(HelpRequested):
        parse_flags(FLAGS, words)


@given(st.lists(st.text(max_size=5)))
def test_everything_after_two_dashes_is_an_argument(words: list[str]) -> None:
    assert parse_flags(FLAGS, ["-a", "--", *words]) == ({"all": True}, words)


@given(st.text())
def test_any_value_survives(value: str) -> None:
    assert parse_flags(FLAGS, ["--format", value])[0]["format"] == value
    assert parse_flags(FLAGS, [f"--format={value}"])[0]["format"] == value
