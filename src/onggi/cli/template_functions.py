"""The functions of ``--format``: Go's built-in ones and Docker's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from onggi.cli.gofmt import Record, format_value, go_json, print_values, printf, type_name

__all__ = ["FUNCTIONS", "HEADER_FUNCTIONS", "FunctionError", "truth"]


class FunctionError(Exception):
    """A function that cannot use its arguments; the text is Go's."""


def truth(value: Any) -> bool:
    """Go's truth: false, 0, nil and what is empty are false; a struct is true."""
    return True if isinstance(value, Record) else bool(value)


# --- Docker's ---------------------------------------------------------------------------------


def _json(value: Any) -> str:
    return go_json(value)


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise FunctionError(f"wrong type for value; expected []string; got {type_name(value)}")
    return [format_value(item) for item in value]


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise FunctionError(f"wrong type for value; expected string; got {type_name(value)}")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FunctionError(f"wrong type for value; expected int; got {type_name(value)}")
    return value


def _join(parts: Any, separator: Any) -> str:
    return _string(separator).join(_strings(parts))


def _split(text: Any, separator: Any) -> list[str]:
    return _string(text).split(_string(separator)) if separator else list(_string(text))


def _title(text: Any) -> str:
    """Go's ``strings.Title``: upper case after white space and after ASCII signs but the underscore."""
    out, begins = [], True
    for letter in _string(text):
        out.append(letter.upper() if begins else letter)
        begins = not (letter.isalnum() or letter == "_") if letter.isascii() else letter.isspace()
    return "".join(out)


def _pad(text: Any, before: Any, after: Any) -> str:
    return " " * _integer(before) + _string(text) + " " * _integer(after) if text else ""


def _truncate(text: Any, length: Any) -> str:
    return _string(text)[: _integer(length)]


# --- Go's -------------------------------------------------------------------------------------


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list | tuple | Mapping):
        return len(value)
    raise FunctionError(f"len of type {type_name(value)}" if value is not None else "len of nil pointer")


def _index(value: Any, *indexes: Any) -> Any:
    for index in indexes:
        if isinstance(value, Mapping):
            value = value.get(index, "")
        elif isinstance(value, list | tuple | str):
            if isinstance(index, bool) or not isinstance(index, int):
                raise FunctionError(f"cannot index slice/array with type {type_name(index)}")
            if not 0 <= index < len(value):
                raise FunctionError(f"index out of range: {index}")
            value = ord(value[index]) if isinstance(value, str) else value[index]
        else:
            raise FunctionError(
                "index of untyped nil" if value is None else f"can't index item of type {type_name(value)}"
            )
    return value


def _slice(value: Any, *indexes: Any) -> Any:
    if not isinstance(value, list | tuple | str):
        raise FunctionError(f"can't slice item of type {type_name(value)}")
    ends = [*map(_integer, indexes[:2])]
    begin, end = ends[0] if ends else 0, ends[1] if len(ends) > 1 else len(value)
    if not 0 <= begin <= end <= len(value):
        raise FunctionError(f"index out of range: {end}")
    return value[begin:end]


def _not(value: Any) -> bool:
    return not truth(value)


def _basic_kind(value: Any) -> type:
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind
    raise FunctionError("invalid type for comparison")


def _same_kind(left: Any, right: Any) -> None:
    if _basic_kind(left) is not _basic_kind(right):
        raise FunctionError("incompatible types for comparison")


def _eq(left: Any, *others: Any) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    for right in others:
        if left is not None and right is not None:
            _same_kind(left, right)
        if left == right:
            return True
    return False


def _ne(left: Any, right: Any) -> bool:
    return not _eq(left, right)


def _lt(left: Any, right: Any) -> bool:
    _same_kind(left, right)
    return bool(left < right)


def _le(left: Any, right: Any) -> bool:
    _same_kind(left, right)
    return bool(left <= right)


def _gt(left: Any, right: Any) -> bool:
    return not _le(left, right)


def _ge(left: Any, right: Any) -> bool:
    return not _lt(left, right)


def _print(*values: Any) -> str:
    return print_values(values)


def _println(*values: Any) -> str:
    return " ".join(map(format_value, values)) + "\n"


def _printf(layout: Any, *values: Any) -> str:
    return printf(_string(layout), values)


def _html(*values: Any) -> str:
    text = print_values(values)
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(letter, entity)
    return text


def _js(*values: Any) -> str:
    text = print_values(values).replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"')
    for letter in "<>&=":
        text = text.replace(letter, f"\\u{ord(letter):04X}")
    return text.replace("\n", "\\u000A").replace("\r", "\\u000D").replace("\t", "\\u0009")


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(print_values(values))


def _upper(text: Any) -> str:
    return _string(text).upper()


def _lower(text: Any) -> str:
    return _string(text).lower()


def _and_or(*values: Any) -> Any:
    raise AssertionError("evaluated by the interpreter")


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "json": _json, "join": _join, "split": _split, "title": _title, "upper": _upper, "lower": _lower,
    "pad": _pad, "truncate": _truncate, "len": _len, "index": _index, "slice": _slice, "not": _not,
    "and": _and_or, "or": _and_or, "eq": _eq, "ne": _ne, "lt": _lt, "le": _le, "gt": _gt, "ge": _ge,
    "print": _print, "println": _println, "printf": _printf, "html": _html, "js": _js,
    "urlquery": _urlquery,
}  # fmt: skip


def _same(text: Any, *arguments: Any) -> Any:
    return text


# A table's header is the template itself over the header names: what changes a value leaves them alone.
HEADER_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **FUNCTIONS, "json": _same, "title": _same, "lower": _same, "upper": _same, "truncate": _same,
    "join": _same, "split": _same,
}  # fmt: skip
