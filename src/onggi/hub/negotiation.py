"""Which manifest types a client takes: the Accept header (RFC 9110, 12.5.1).

::

    Accept      = [ media-range [ weight ] { "," media-range [ weight ] } ]
    media-range = ( "*/*" | type "/*" | type "/" subtype ) { ";" parameter }
    weight      = ";" "q=" qvalue

Docker sends one header line for each type. Parameters other than the weight are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["accepts"]


def accepts(lines: Iterable[str], media_type: str) -> bool:
    """True when a client with these Accept lines takes ``media_type``.

    Nothing said means anything is taken. So does ``application/json``, which old clients send
    alone, and which every manifest is.
    """
    ranges = dict(_parse(part) for line in lines for part in line.split(",") if part.strip())
    if not ranges:
        return True
    family = media_type.partition("/")[0]
    for candidate in (media_type.lower(), "application/json", f"{family}/*", "*/*"):
        if candidate in ranges:
            return ranges[candidate]
    return False


def _parse(part: str) -> tuple[str, bool]:
    """A media range and whether its weight is above zero."""
    name, *parameters = (word.strip().lower() for word in part.split(";"))
    weights = [word[2:] for word in parameters if word.startswith("q=")]
    return name, not weights or weights[0].rstrip("0").rstrip(".") not in ("", "0")
