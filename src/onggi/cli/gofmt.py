"""Values as Go prints them: ``%v`` and ``Printf``, quoted strings, ``encoding/json``.

A value is what JSON has (None, bool, int, float, str, list, dict) or a :class:`Record`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

__all__ = [
    "NO_VALUE",
    "NoSuchField",
    "Record",
    "Time",
    "format_value",
    "go_json",
    "print_values",
    "printf",
    "quote",
    "type_name",
    "unescape",
]

# What Go prints for the entry a map does not have.
NO_VALUE = "<no value>"

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
# %v and %g of floats turn to exponents outside of these powers of ten.
_LARGE_EXPONENT, _SMALL_EXPONENT = 6, -4


class NoSuchField(Exception):
    """A record has no such field; the text is Go's."""


class Time(str):
    """RFC 3339 text of a field that is a ``time.Time`` in Go: JSON shows it so, ``%v`` otherwise."""

    __slots__ = ()

    @property
    def shown(self) -> str:
        """``2026-11-24 04:29:27.325930255 +0000 UTC``."""
        date, _, clock = self.partition("T")
        if clock.endswith("Z"):
            return f"{date} {clock[:-1]} +0000 UTC"
        offset = clock[-6:].replace(":", "")
        return f"{date} {clock[:-6]} {offset} {offset}"


class Record:
    """A Go struct: named fields, computed when asked for.

    ``html`` escapes ``<>&`` in its JSON, as Go does for the rows of Docker's lists. Fields in
    ``hidden`` can be asked for, but are left out of JSON (Go's ``omitempty``); ``json`` makes
    the object where its keys are not the field names. ``methods`` take one argument.
    """

    __slots__ = ("_get", "_hidden", "_json", "_missing", "html", "methods", "names", "type_name")

    def __init__(
        self,
        type_name: str,
        names: Sequence[str],
        get: Callable[[str], Any],
        *,
        hidden: Collection[str] = (),
        html: bool = False,
        json: Callable[[], dict[str, Any]] | None = None,
        methods: Mapping[str, Callable[[str], Any]] | None = None,
        missing: str = "can't evaluate field {name} in type {type}",
    ) -> None:
        self.type_name = type_name
        self.names = names
        self.html = html
        self.methods = methods or {}
        self._get = get
        self._hidden = hidden
        self._json = json or self.to_dict
        self._missing = missing

    @classmethod
    def of(
        cls, type_name: str, document: Mapping[str, Any], zeros: Mapping[str, Any] | None = None
    ) -> Record:
        """A record of a JSON object; ``zeros`` are the fields an empty object still has."""
        empty = zeros or {}

        def get(name: str) -> Any:
            value = document.get(name)
            return empty.get(name) if value is None else value

        return cls(type_name, list(document), get, hidden=empty, missing='map has no entry for key "{name}"')

    def field(self, name: str) -> Any:
        """The value of a field. Raises NoSuchField."""
        if name not in self.names and name not in self._hidden:
            raise NoSuchField(self._missing.format(name=name, type=self.type_name))
        return self._get(name)

    def to_dict(self) -> dict[str, Any]:
        """Every field that is not hidden, in order."""
        return {name: self._get(name) for name in self.names}

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        return self._json()


def type_name(value: object) -> str:
    """Go's name for the type of a value."""
    if isinstance(value, Record):
        return value.type_name
    if isinstance(value, bool):
        return "bool"
    for kind, name in ((int, "int"), (float, "float64"), (str, "string"), (list, "[]string")):
        if isinstance(value, kind):
            return name
    return "map[string]string" if isinstance(value, Mapping) else "interface {}"


def format_value(value: object) -> str:
    """``%v``."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Time):
        return value.shown
    if isinstance(value, Record):
        return "{" + " ".join(format_value(item) for item in value.to_dict().values()) + "}"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{format_value(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(format_value, value)) + "]"
    return str(value)


def _float(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    from decimal import Decimal

    # The shortest digits that read back as the same number: repr's, as Go's.
    shortest = Decimal(repr(value)).normalize()
    exponent = shortest.adjusted()
    if not value or _SMALL_EXPONENT <= exponent < _LARGE_EXPONENT:
        return f"{shortest:f}"
    sign, digits, _ = shortest.as_tuple()
    head, tail = str(digits[0]), "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{head}{'.' + tail if tail else ''}e{exponent:+03d}"


def print_values(values: Sequence[object]) -> str:
    """``Sprint``: a space between two values when neither is a string."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(format_value(value))
    return "".join(parts)


def quote(text: str) -> str:
    """``%q``: a Go string literal."""
    names = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
    out = []
    for letter in text:
        if letter in '"\\':
            out.append("\\" + letter)
        elif letter in names:
            out.append(names[letter])
        elif letter.isprintable():
            out.append(letter)
        else:
            code = ord(letter)
            out.append(
                f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
            )
    return '"' + "".join(out) + '"'


def unescape(body: str) -> str:
    """The value of what stands between the quotes of a Go string literal."""
    out, at = [], 0
    while at < len(body):
        letter = body[at]
        at += 1
        if letter != "\\" or at >= len(body):
            out.append(letter)
            continue
        escape = body[at]
        at += 1
        if escape in _HEX_DIGITS:
            digits = body[at : at + _HEX_DIGITS[escape]]
            at += len(digits)
            out.append(_code_point(digits, 16, escape + digits))
        elif escape in "01234567":
            out.append(_code_point(body[at - 1 : at + 2], 8, body[at - 1 : at + 2]))
            at += 2
        else:
            out.append(_ESCAPES.get(escape, escape))
    return "".join(out)


def _code_point(digits: str, base: int, raw: str) -> str:
    try:
        return chr(int(digits, base))
    except (ValueError, OverflowError):
        return "\\" + raw


def go_json(value: object, *, html: bool = False, indent: str | None = None) -> str:
    """``encoding/json``: no spaces (or lines indented by ``indent``), ``<>&`` escaped with ``html``.

    U+2028 and U+2029 are always escaped, as Go does.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, separators=separators, indent=indent, default=_plain)
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if html or (isinstance(value, Record) and value.html):
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def _plain(value: object) -> object:
    if isinstance(value, Record):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else str(value)


# --- Printf -----------------------------------------------------------------------------------


def printf(layout: str, values: Sequence[object]) -> str:
    """``Sprintf`` for the verbs ``v s q d x X o b c U t f F e E g G T p %``, flags, width, precision."""
    out: list[str] = []
    used = at = 0
    while at < len(layout):
        start = layout.find("%", at)
        if start < 0:
            out.append(layout[at:])
            break
        out.append(layout[at:start])
        flags, width, precision, at = _specification(layout, start + 1)
        if at >= len(layout):
            out.append("%!(NOVERB)")
            break
        verb = layout[at]
        at += 1
        if verb == "%":
            out.append("%")
        elif used >= len(values):
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_verb(verb, values[used], flags, width, precision))
            used += 1
    if used < len(values):
        extra = ", ".join(f"{type_name(value)}={format_value(value)}" for value in values[used:])
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _specification(layout: str, at: int) -> tuple[str, int, int | None, int]:
    """Flags, width, precision, and where the verb is."""
    start = at
    while at < len(layout) and layout[at] in "+-# 0":
        at += 1
    flags = layout[start:at]
    width, at = _digits(layout, at)
    precision = None
    if layout[at : at + 1] == ".":
        precision, at = _digits(layout, at + 1)
    return flags, width, precision, at


def _digits(layout: str, at: int) -> tuple[int, int]:
    start = at
    while at < len(layout) and layout[at].isdigit():
        at += 1
    return int(layout[start:at] or 0), at


def _verb(verb: str, value: object, flags: str, width: int, precision: int | None) -> str:
    text = _converted(verb, value, flags, precision)
    if text is None:
        return f"%!{verb}({type_name(value)}={format_value(value)})"
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and isinstance(value, int | float) and not isinstance(value, bool):
        return text.zfill(width)
    return text.rjust(width)


def _converted(verb: str, value: object, flags: str, precision: int | None) -> str | None:
    """The text of one value; None when the verb does not fit its type."""
    if verb == "v":
        return format_value(value)
    if verb == "T":
        return type_name(value)
    if isinstance(value, list | tuple) and verb in "sqdxX":
        parts = [_converted(verb, item, flags, precision) for item in value]
        return None if None in parts else "[" + " ".join(part or "" for part in parts) + "]"
    if isinstance(value, bool):
        return format_value(value) if verb == "t" else None
    if isinstance(value, int):
        return _integer(verb, value, flags)
    if isinstance(value, float):
        return _real(verb, value, flags, precision)
    if isinstance(value, str):
        return _string(verb, value, precision)
    return None


def _integer(verb: str, value: int, flags: str) -> str | None:
    if verb in "dxXob":
        sign = "+" if "+" in flags else " " if " " in flags else ""
        return format(value, f"{sign}{'#' if '#' in flags and verb != 'd' else ''}{verb}")
    if verb == "c":
        return chr(value)
    if verb == "q":
        return "'" + chr(value) + "'"
    return f"U+{value:04X}" if verb == "U" else None


def _real(verb: str, value: float, flags: str, precision: int | None) -> str | None:
    if verb not in "fFeEgG":
        return None
    if verb in "gG" and precision is None:
        return _float(value)
    sign = "+" if "+" in flags else ""
    return format(value, f"{sign}.{6 if precision is None else precision}{verb}")


def _string(verb: str, value: str, precision: int | None) -> str | None:
    text = value if precision is None else value[:precision]
    if verb == "s":
        return text
    if verb == "q":
        return quote(text)
    if verb in "xX":
        digits = text.encode("utf-8", "surrogateescape").hex()
        return digits if verb == "x" else digits.upper()
    return None
