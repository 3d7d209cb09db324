"""Flags after Docker's rules (spf13/pflag).

Grammar of one argument::

    long  = "--" name [ "=" value ] ;       (a bool takes its value only with "=")
    short = "-" letter { letter } [ [ "=" ] value ] ;
    end   = "--" ;                           (everything after it is an argument)

``--name value`` and ``-n value`` take the next argument. Flags and arguments may be mixed,
unless a command turns that off: then the first argument ends the flags. A lone ``-`` is an
argument. A flag given twice: the last one holds, except for lists, which grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Flag", "FlagError", "HelpRequested", "parse_flags"]

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class FlagError(Exception):
    """An argument that does not parse; the text is pflag's."""


class HelpRequested(Exception):
    """``--help`` or ``-h`` was given."""


class Flag:
    """One flag. ``kind`` is bool, string, int, size (bytes), list, strings, or filter (name=value).

    A value of ``strings`` may be several, with commas between them.

    The kind's name is what help shows for the value, unless ``metavar`` is set.
    ``choices`` are the values it takes, for errors and completion; ``suggests`` those that
    completion offers where the command itself says what is wrong with others; ``completes`` is
    the kind of thing its value names (container, network, file, directory). ``check`` names a
    function of flag_values that takes the text and gives the value, for each one given.
    ``shown_default`` is what help says where Go's types have words for nothing (``[]``). A
    ``hidden`` flag is taken as ever, but no help, reference or completion names it.
    """

    __slots__ = (
        "check",
        "choices",
        "completes",
        "default",
        "help",
        "hidden",
        "kind",
        "metavar",
        "name",
        "short",
        "shown_default",
        "suggests",
    )

    def __init__(
        self,
        name: str,
        kind: str,
        help: str,
        *,
        short: str = "",
        default: Any = None,
        metavar: str = "",
        choices: Sequence[str] = (),
        suggests: Sequence[str] = (),
        completes: str = "",
        check: str = "",
        shown_default: str = "",
        hidden: bool = False,
    ) -> None:
        self.hidden = hidden
        self.check = check
        self.shown_default = shown_default
        self.name = name
        self.kind = kind
        self.help = help
        self.short = short
        self.default = _EMPTY[kind] if default is None else default
        self.metavar = metavar
        self.choices = choices
        self.suggests = suggests or choices
        self.completes = completes

    @property
    def label(self) -> str:
        """As errors name it: ``-f, --filter``."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    @property
    def value_name(self) -> str:
        """What help shows after the name; empty for a bool."""
        if self.kind == "bool":
            return ""
        return self.metavar or ("bytes" if self.kind == "size" else self.kind)

    def convert(self, text: str) -> Any:
        """The value of ``text``. Raises ValueError with pflag's reason."""
        value = _CONVERTERS[self.kind](text)
        if self.check:
            from onggi.cli import flag_values

            value = getattr(flag_values, self.check)(value)
        if self.choices and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}")
        return value


def _bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {_quoted(text)}: invalid syntax")


def _int(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"strconv.ParseInt: parsing {_quoted(text)}: invalid syntax") from None


def _size(text: str) -> int:
    from onggi.cli.units import parse_size

    try:
        size = parse_size(text)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    if size <= 0:
        raise ValueError("must be greater than zero")
    return size


def _filter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return f"{name.strip().lower()}={value.strip()}"


def _strings(text: str) -> list[str]:
    """One line of comma-separated values, after pflag's readAsCSV."""
    if '"' not in text:
        return text.split(",") if text else []
    from csv import reader

    return next(reader([text]))


_CONVERTERS: Mapping[str, Any] = {
    "bool": _bool,
    "string": str,
    "int": _int,
    "size": _size,
    "list": str,
    "strings": _strings,
    "filter": _filter,
}
_EMPTY: Mapping[str, Any] = {
    "bool": False,
    "string": "",
    "int": 0,
    "size": 0,
    "list": (),
    "strings": (),
    "filter": (),
}
_GROWING = ("list", "filter")


def parse_flags(
    flags: Iterable[Flag], arguments: Sequence[str], *, interspersed: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """Values by flag name (only of flags that were given), and the arguments left.

    Raises FlagError, HelpRequested.
    """
    parser = _Parser(flags)
    rest = list(arguments)
    left: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            return parser.values, left + rest
        if len(word) < 2 or not word.startswith("-"):
            left.append(word)
            if not interspersed:
                return parser.values, left + rest
        elif word.startswith("--"):
            parser.long(word[2:], rest)
        else:
            parser.short(word[1:], rest)
    return parser.values, left


class _Parser:
    """Values so far; ``rest`` in its methods are the arguments not looked at yet."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self.values: dict[str, Any] = {}
        self._long = {flag.name: flag for flag in flags}
        self._short = {flag.short: flag for flag in self._long.values() if flag.short}

    def long(self, word: str, rest: list[str]) -> None:
        """``name``, ``name=value``."""
        if word.startswith(("-", "=")):
            raise FlagError(f"bad flag syntax: --{word}")
        name, equals, value = word.partition("=")
        flag = self._long.get(name)
        if flag is None:
            if name == "help":
                raise HelpRequested
            raise FlagError(f"unknown flag: --{name}")
        if equals:
            self._set(flag, value)
        elif flag.kind == "bool":
            self._set(flag, "true")
        elif rest:
            self._set(flag, rest.pop(0))
        else:
            raise FlagError(f"flag needs an argument: --{name}")

    def short(self, letters: str, rest: list[str]) -> None:
        """``a``, ``ab``, ``fvalue``, ``f=value``."""
        while letters:
            letter, after = letters[0], letters[1:]
            flag = self._short.get(letter)
            if flag is None:
                if letter == "h":
                    raise HelpRequested
                raise FlagError(f"unknown shorthand flag: '{letter}' in -{letters}")
            if after.startswith("=") and len(after) > 1:
                self._set(flag, after[1:])
                return
            if flag.kind != "bool":
                if not after and not rest:
                    raise FlagError(f"flag needs an argument: '{letter}' in -{letters}")
                self._set(flag, after or rest.pop(0))
                return
            self._set(flag, "true")
            letters = after

    def _set(self, flag: Flag, text: str) -> None:
        try:
            value = flag.convert(text)
        except ValueError as error:
            raise FlagError(f'invalid argument {_quoted(text)} for "{flag.label}" flag: {error}') from None
        if flag.kind == "strings":
            self.values.setdefault(flag.name, []).extend(value)
        elif flag.kind in _GROWING:
            self.values.setdefault(flag.name, []).append(value)
        else:
            self.values[flag.name] = value


def _quoted(text: str) -> str:
    from onggi.cli.gofmt import quote

    return quote(text)
