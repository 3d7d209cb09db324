"""What many rows of the command table share: flags that mean the same everywhere, counts of arguments."""

from __future__ import annotations

from onggi.cli.command import Arity
from onggi.cli.flags import Flag

__all__ = [
    "AT_MOST_ONE",
    "FORMAT_LIST",
    "FORMAT_ONE",
    "NONE",
    "ONE",
    "SOME",
    "TWO",
    "filter_flag",
    "json_flag",
    "list_format",
    "no_trunc",
    "one_format",
    "progress_flag",
    "quiet",
]

_REFER = (
    "Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with "
    "templates"
)
FORMAT_LIST = (
    "Format output using a custom template:\n"
    "'table':            Print output in table format with column headers (default)\n"
    "'table TEMPLATE':   Print output in table format using the given Go template\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template.\n"
) + _REFER
FORMAT_ONE = (
    "Format output using a custom template:\n"
    "'json':             Print in JSON format\n"
    "'TEMPLATE':         Print output using the given Go template.\n"
) + _REFER
NONE, ONE, TWO = Arity(0, 0), Arity(1, 1), Arity(2, 2)
AT_MOST_ONE, SOME = Arity(0, 1), Arity(1, None)


def list_format() -> Flag:
    return Flag("format", "string", FORMAT_LIST)


def one_format() -> Flag:
    return Flag("format", "string", FORMAT_ONE, short="f")


def json_flag(what: str = "Print exact values as one JSON document: full IDs, bytes, RFC 3339 times") -> Flag:
    return Flag("json", "bool", what)


def no_trunc() -> Flag:
    return Flag("no-trunc", "bool", "Don't truncate output")


def progress_flag(*more: str) -> Flag:
    kinds = ("auto", "tty", "plain", *more)
    return Flag(
        "progress",
        "string",
        f"Set type of progress output ({', '.join(kinds)})",
        default="auto",
        choices=kinds,
    )


def quiet(what: str = "Only show image IDs") -> Flag:
    return Flag("quiet", "bool", what, short="q")


def filter_flag(what: str = "Filter output based on conditions provided", short: str = "f") -> Flag:
    return Flag("filter", "filter", what, short=short)
