"""Shell patterns on slash-separated names, by the rules of Go's ``path.Match``.

pattern = { "*" | "?" | class | character }
class   = "[" [ "^" ] range { range } "]"
range   = character [ "-" character ]
character: any but ``*?[\\``, or ``\\`` and any (``\\`` stands for one backslash here); inside a class
also not ``-`` or ``]`` unescaped.

``*`` and ``?`` do not match ``/``; a class does. The whole name must match.
"""

from __future__ import annotations

from onggi.errors import InvalidArgument
from onggi.oci.quoting import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    # What one character must be: in one of the ranges, or, negated, in none.
    Step: TypeAlias = tuple[bool, tuple[tuple[str, str], ...]]

__all__ = ["InvalidPattern", "match"]

_STAR = None
_NOT_SLASH: Step = (True, (("/", "/"),))


class InvalidPattern(InvalidArgument):
    """A pattern that ends too early or has an empty class; the message is Go's."""

    def __init__(self, pattern: str) -> None:
        super().__init__("syntax error in pattern", hint=f"{quoted(pattern)}: close every [ and \\")
        self.pattern = pattern


def match(pattern: str, name: str) -> bool:
    """Whether ``pattern`` matches all of ``name``. Raises InvalidPattern, matching or not."""
    steps = _parse(pattern)
    step = position = 0
    star, starred = -1, 0  # the last star's step, and where the name goes on after what it took
    while step < len(steps) or position < len(name):
        if step < len(steps) and steps[step] is _STAR:
            star, starred = step, position
            step += 1
        elif step < len(steps) and position < len(name) and _fits(steps[step], name[position]):
            step, position = step + 1, position + 1
        elif star >= 0 and starred < len(name) and name[starred] != "/":
            starred += 1
            step, position = star + 1, starred
        else:
            return False
    return True


def _fits(step: Step | None, character: str) -> bool:
    assert step is not None
    negated, ranges = step
    return any(low <= character <= high for low, high in ranges) is not negated


def _parse(pattern: str) -> list[Step | None]:
    steps: list[Step | None] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "[":
            step, position = _class(pattern, position + 1)
            steps.append(step)
            continue
        if character == "*":
            steps.append(_STAR)
        elif character == "?":
            steps.append(_NOT_SLASH)
        else:
            position = position + 1 if character == "\\" else position
            literal = _at(pattern, position)
            steps.append((False, ((literal, literal),)))
        position += 1
    return steps


def _class(pattern: str, position: int) -> tuple[Step, int]:
    """The class whose ``[`` is just before ``position``, and the position after its ``]``."""
    negated = _at(pattern, position) == "^"
    position += negated
    ranges: list[tuple[str, str]] = []
    while not ranges or _at(pattern, position) != "]":
        low, position = _class_character(pattern, position)
        high = low
        if _at(pattern, position) == "-":
            high, position = _class_character(pattern, position + 1)
        ranges.append((low, high))
    return (negated, tuple(ranges)), position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    character = _at(pattern, position)
    if character in "-]":
        raise InvalidPattern(pattern)
    if character == "\\":
        position += 1
        character = _at(pattern, position)
    return character, position + 1


def _at(pattern: str, position: int) -> str:
    if position >= len(pattern):
        raise InvalidPattern(pattern)
    return pattern[position]
