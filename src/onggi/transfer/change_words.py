"""Words of a Dockerfile line: how they are cut, and what is put in for variables.

Cutting keeps quotes and escapes; expanding takes them away::

    word      = { character | "'" text "'" | '"' text '"' | "\\\\" character | variable }
    variable  = "$" name | "${" name [ [ ":" ] modifier word ] "}"        modifier = "-" | "+" | "?"
    name      = ( letter | "_" ) { letter | digit | "_" } | digit { digit } | one of @*#?-$!

Source: buildkit ``frontend/dockerfile/{parser,shell}``; checked against dockerd 20.10.
"""

from __future__ import annotations

from collections.abc import Mapping

from onggi.errors import InvalidArgument
from onggi.oci.quoting import quoted

__all__ = ["InvalidChange", "cut_words", "expand", "expand_words"]

_ESCAPE = "\\"
_UNENDED = "unexpected end of statement while looking for matching "
_SPECIAL = "@*#?-$!"


class InvalidChange(InvalidArgument):
    """A change that Docker refuses too; its words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, hint="a change is one Dockerfile instruction, e.g. 'CMD [\"sh\"]'")


def cut_words(text: str) -> list[str]:
    """The words of ``text``, at white space outside of quotes; quotes and escapes stay."""
    words: list[str] = []
    word, quote, started = "", "", False
    position = 0
    while position < len(text):
        character = text[position]
        if not quote and character.isspace():
            if started:
                words.append(word)
            word, started = "", False
        elif character == _ESCAPE and quote != "'":
            # An escape keeps its character together with it; alone at the end it is nothing.
            word += text[position : position + 2] if position + 1 < len(text) else ""
            started = started or bool(word)
            position += 1
        else:
            quote = _next_quote(quote, character)
            word, started = word + character, True
        position += 1
    return [*words, word] if started else words


def _next_quote(quote: str, character: str) -> str:
    if quote:
        return "" if character == quote else quote
    return character if character in "'\"" else ""


def expand(word: str, variables: Mapping[str, str]) -> str:
    """``word`` without quotes and escapes, variables put in. Raises InvalidChange."""
    return _Expansion(word, variables).run()


def expand_words(word: str, variables: Mapping[str, str]) -> list[str]:
    """The same, for a place that takes several words: what a variable puts in is cut at white space."""
    return expand(word, variables).split()


class _Expansion:
    """One pass over a word."""

    def __init__(self, word: str, variables: Mapping[str, str]) -> None:
        self._word = word
        self._variables = variables
        self._at = 0

    def run(self, stop: str = "") -> str:
        """Up to the end, or to the character ``stop``, which is passed."""
        result = ""
        while self._at < len(self._word):
            character = self._take()
            if character == stop:
                return result
            if character == "'":
                result += self._single()
            elif character == '"':
                result += self._double()
            elif character == "$":
                result += self._dollar()
            elif character == _ESCAPE:
                result += self._take()
            else:
                result += character
        if stop:
            raise self._wrong(_UNENDED, stop)
        return result

    def _wrong(self, *cause: str) -> InvalidChange:
        return InvalidChange(f"failed to process {quoted(self._word)}: {''.join(cause)}")

    def _take(self) -> str:
        character = self._word[self._at : self._at + 1]
        self._at += 1
        return character

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _single(self) -> str:
        end = self._word.find("'", self._at)
        if end < 0:
            raise self._wrong(_UNENDED, "single-quote")
        text, self._at = self._word[self._at : end], end + 1
        return text

    def _double(self) -> str:
        result = ""
        while self._at < len(self._word):
            character = self._take()
            if character == '"':
                return result
            if character == "$":
                result += self._dollar()
            elif character == _ESCAPE and self._peek() in ('"', "$", _ESCAPE):
                result += self._take()
            else:
                result += character
        raise self._wrong(_UNENDED, "double-quote")

    def _dollar(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._take()
        name = self._name()
        if not name:
            raise self._wrong("syntax error: bad substitution")
        operator = self._take()
        if operator == "}":
            return self._variables.get(name, "")
        colon = operator == ":"
        modifier = self._take() if colon else operator
        if modifier not in ("+", "-", "?"):
            raise self._wrong(
                f"unsupported modifier ({modifier})" if colon else "missing ':'", " in substitution"
            )
        return self._modified(name, modifier, colon=colon)

    def _modified(self, name: str, modifier: str, *, colon: bool) -> str:
        word = self.run("}")
        value = self._variables.get(name)
        is_set = bool(value) if colon else value is not None
        if modifier == "+":
            return word if is_set else ""
        if not is_set and modifier == "?":
            raise self._wrong(f"{name}: ", word or "not allowed to be unset")
        return (value or "") if is_set else word

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first and first in _SPECIAL:
            return self._take()
        kind = str.isdigit if first.isdigit() else _is_name_character
        while self._peek() and kind(self._peek()):
            self._at += 1
        return self._word[start : self._at]


def _is_name_character(character: str) -> bool:
    return character.isalnum() or character == "_"
