"""Words of a Go template.

Grammar of the surface (Go ``text/template``)::

    template = { text | action } ;
    action   = "{{" [ "- " ] ( comment | words ) [ " -" ] "}}" ;
    comment  = "/*" … "*/" ;
    word     = field | variable | name | number | string | raw string | char | sign ;
    field    = "." [ name ] ;      variable = "$" [ name ] ;
    sign     = "|" | ":=" | "=" | "," | "(" | ")" ;

``{{-`` eats the white space before it, ``-}}`` that after it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

__all__ = ["KEYWORDS", "TemplateSyntaxError", "Token", "line_of", "tokenize"]

KEYWORDS = frozenset(
    {"if", "else", "end", "range", "with", "break", "continue", "define", "template", "block"}
)
_SPACE = " \t\r\n"
_NUMBER = "0123456789abcdefABCDEFxXoO_.+-"


class TemplateSyntaxError(Exception):
    """A template that does not parse; the text is Go's, without ``template: :LINE:``."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"template: :{line}: {reason}")


class Token:
    """``kind`` is text, field, variable, name, keyword, number, string, char, sign, close or eof.

    ``position`` is an offset into the source; ``spaced`` tells white space before the token.
    """

    __slots__ = ("kind", "position", "spaced", "text")

    def __init__(self, kind: str, text: str, position: int, spaced: bool = False) -> None:
        self.kind = kind
        self.text = text
        self.position = position
        self.spaced = spaced


def line_of(source: str, position: int) -> int:
    """The line a position is in, from 1."""
    return source.count("\n", 0, position) + 1


def tokenize(source: str) -> Iterator[Token]:
    """Every word, in order, then one ``eof``; each action ends with ``close``. Raises TemplateSyntaxError."""
    at = 0
    trim = False
    while True:
        start = source.find("{{", at)
        text = source[at:] if start < 0 else source[at:start]
        text_at = at
        if trim:
            stripped = text.lstrip(_SPACE)
            text_at += len(text) - len(stripped)
            text = stripped
        eats_before = start >= 0 and source[start + 2 : start + 3] == "-" and _is_space(source, start + 3)
        text = text.rstrip(_SPACE) if eats_before else text
        if text:
            yield Token("text", text, text_at)
        if start < 0:
            yield Token("eof", "", len(source))
            return
        at = start + (3 if eats_before else 2)
        inside = source[at:].lstrip(_SPACE) if eats_before else source[at:]
        if inside.startswith("/*"):
            at, trim = _after_comment(source, source.index("/*", at))
            continue
        at, trim = yield from _action(source, at)


def _is_space(source: str, at: int) -> bool:
    return source[at : at + 1] in tuple(_SPACE)


def _after_comment(source: str, at: int) -> tuple[int, bool]:
    end = source.find("*/", at)
    if end < 0:
        raise TemplateSyntaxError(line_of(source, at), "unclosed comment")
    end += 2
    after = source[end:].lstrip(_SPACE)
    if source.startswith("}}", end):
        return end + 2, False
    if after.startswith("-}}") and len(after) < len(source) - end:
        return len(source) - len(after) + 3, True
    raise TemplateSyntaxError(line_of(source, at), "comment ends before closing delimiter")


def _action(source: str, at: int) -> Generator[Token, None, tuple[int, bool]]:
    """The words up to ``}}``; returns (position after it, whether it trims)."""
    opened_at = at
    while True:
        start = at
        while at < len(source) and source[at] in _SPACE:
            at += 1
        spaced = at > start
        if spaced and source.startswith("-}}", at):
            yield Token("close", "-}}", at, spaced)
            return at + 3, True
        if source.startswith("}}", at):
            yield Token("close", "}}", at, spaced)
            return at + 2, False
        if at >= len(source):
            raise TemplateSyntaxError(line_of(source, opened_at), "unclosed action")
        token, at = _word(source, at, spaced)
        yield token


def _word(source: str, at: int, spaced: bool) -> tuple[Token, int]:
    letter = source[at]
    if letter == '"' or letter == "'":
        end = _quoted_end(source, at, letter)
        return Token("string" if letter == '"' else "char", source[at:end], at, spaced), end
    if letter == "`":
        end = source.find("`", at + 1)
        if end < 0:
            raise TemplateSyntaxError(line_of(source, at), "unterminated raw quoted string")
        return Token("string", source[at : end + 1], at, spaced), end + 1
    if letter.isdigit() or (letter in "+-." and source[at + 1 : at + 2].isdigit()):
        end = _run(source, at + 1, _NUMBER)
        return Token("number", source[at:end], at, spaced), end
    if letter in ".$":
        end = _name_end(source, at + 1)
        return Token("field" if letter == "." else "variable", source[at:end], at, spaced), end
    if letter.isalpha() or letter == "_":
        end = _name_end(source, at)
        word = source[at:end]
        return Token("keyword" if word in KEYWORDS else "name", word, at, spaced), end
    return _sign(source, at, spaced)


def _sign(source: str, at: int, spaced: bool) -> tuple[Token, int]:
    for sign in (":=", "|", "=", ",", "(", ")"):
        if source.startswith(sign, at):
            return Token("sign", sign, at, spaced), at + len(sign)
    shown = f"U+{ord(source[at]):04X} '{source[at]}'"
    raise TemplateSyntaxError(line_of(source, at), f"unrecognized character in action: {shown}")


def _quoted_end(source: str, at: int, quote: str) -> int:
    end = at + 1
    while end < len(source) and source[end] != "\n":
        if source[end] == "\\":
            end += 1
        elif source[end] == quote:
            return end + 1
        end += 1
    what = "quoted string" if quote == '"' else "character constant"
    raise TemplateSyntaxError(line_of(source, at), f"unterminated {what}")


def _run(source: str, at: int, letters: str) -> int:
    while at < len(source) and source[at] in letters:
        # A sign inside a number belongs to an exponent.
        if source[at] in "+-" and source[at - 1] not in "eE":
            break
        at += 1
    return at


def _name_end(source: str, at: int) -> int:
    while at < len(source) and (source[at].isalnum() or source[at] == "_"):
        at += 1
    return at
