"""JSON as Go's ``encoding/json`` writes it: no spaces, ``<>&`` and line separators escaped.

What is hashed in Docker's formats is hashed as these bytes.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["dump", "raw_members"]

_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
# Go before 1.22 has no short form of these two; escapes are matched in pairs, so that \\b is no match.
_SHORT = r"\\(?:\\|b|f)"
_SPACE = re.compile(r"[ \t\r\n]*")
_STRING_OR_SPACE = r'"(?:[^"\\]|\\.)*"|[ \t\r\n]+'
_LONG = {"\\b": "\\u0008", "\\f": "\\u000c"}


def dump(document: Any, *, compat: str = "28") -> bytes:
    """The bytes for a document of dicts (in their order), lists, strings, numbers; ``compat`` is Config's."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).translate(_ESCAPES)
    if compat == "20.10":
        text = re.sub(_SHORT, lambda match: _LONG.get(match[0], match[0]), text)
    return text.encode("utf-8", "surrogatepass")


def raw_members(raw: bytes) -> dict[str, bytes]:
    """The values of the object in ``raw`` as Go's ``RawMessage`` keeps and writes them, by their keys.

    Nothing in them changes but the white space, which goes, and ``<>&`` and line separators, which are
    escaped; of a key given twice the last counts. ``raw`` is known to be good (json_document).
    """
    text = raw.decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder()
    found: dict[str, bytes] = {}
    position = _beyond_space(text, text.index("{") + 1)
    while text[position] != "}":
        key, position = decoder.raw_decode(text, position)
        start = _beyond_space(text, _beyond_space(text, position) + 1)
        _, position = decoder.raw_decode(text, start)
        found[key] = _compact(text[start:position])
        position = _beyond_space(text, position)
        if text[position] == ",":
            position = _beyond_space(text, position + 1)
    return found


def _beyond_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _compact(text: str) -> bytes:
    short = re.sub(_STRING_OR_SPACE, lambda match: match[0] if match[0][0] == '"' else "", text)
    return short.translate(_ESCAPES).encode("utf-8", "surrogateescape")
