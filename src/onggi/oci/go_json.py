"""JSON as Go's ``encoding/json`` writes it: no spaces, ``<>&`` and line separators escaped.

What is hashed in Docker's formats is hashed as these bytes.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["dump"]

_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
# Go before 1.22 has no short form of these two; escapes are matched in pairs, so that \\b is no match.
_SHORT = re.compile(r"\\(?:\\|b|f)")
_LONG = {"\\b": "\\u0008", "\\f": "\\u000c"}


def dump(document: Any, *, compat: str = "28") -> bytes:
    """The bytes for a document of dicts (in their order), lists, strings, numbers; ``compat`` is Config's."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).translate(_ESCAPES)
    if compat == "20.10":
        text = _SHORT.sub(lambda match: _LONG.get(match[0], match[0]), text)
    return text.encode("utf-8", "surrogatepass")
