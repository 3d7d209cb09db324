"""JSON from strangers, read as Go's encoding/json reads it.

Docker decides by Go's rules what a manifest or a config says. Who reads the same bytes by
other rules sees another image under the same digest, so these are followed: UTF-8 only,
bytes and surrogates that are not Unicode become U+FFFD, no ``NaN``, keys fit a known name
whatever their case.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["load_object", "spelled", "spelling"]


def load_object(raw: bytes, *, unique_keys: bool = False) -> dict[str, Any]:
    """The object in ``raw``. With ``unique_keys``, a key given twice in any object is an error.

    Raises ValueError, its message one line.
    """
    # Not json.loads(bytes): that guesses UTF-16 and UTF-32, and skips a byte order mark.
    text = raw.decode("utf-8", "replace")
    hook = _unique if unique_keys else None
    try:
        document = json.loads(text, object_pairs_hook=hook, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("not an object")
    if "\\ud" in text or "\\uD" in text:
        return {_unicode(key): _cleaned(value) for key, value in document.items()}
    return document


def spelling(*names: str) -> dict[str, str]:
    """The table for :func:`spelled`: case-folded name → name."""
    return {name.casefold(): name for name in names}


def spelled(document: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """``document`` with the keys that fit a name but for their case under that name.

    Raises ValueError when two keys fit the same name: readers would not agree on its value.
    """
    result: dict[str, Any] = {}
    for key, value in document.items():
        name = names.get(key.casefold(), key)
        if name in result:
            raise ValueError(f"{name} is given twice")
        result[name] = value
    return result


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"{key!r} is given twice")
        document[key] = value
    return document


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _unicode(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_unicode(key): _cleaned(item) for key, item in value.items()}
    return value


def _unicode(text: str) -> str:
    """Without halves of surrogate pairs, which no output would take."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
