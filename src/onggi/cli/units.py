"""Sizes and times as Docker's command line words them (go-units and Go's ``time`` layouts).

Sizes are bytes, moments are seconds since 1970, durations are seconds. Times are shown in
the local zone, as Docker's client does.
"""

from __future__ import annotations

import time

from onggi.oci.durations import human_duration

__all__ = [
    "NO_DATE",
    "ago",
    "bytes_size",
    "ellipsis",
    "event_time",
    "go_time",
    "human_duration",
    "human_size",
    "parse_size",
    "rfc3339",
    "short_id",
    "table_size",
]

# What stands for a moment nobody recorded.
NO_DATE = "N/A"

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_SUFFIXES = "kmgtp"
_ZONE_DIGITS = 5


def human_size(size_bytes: float, digits: int = 4) -> str:
    """go-units ``HumanSizeWithPrecision``: ``1982411`` → ``1.982MB``."""
    return _scaled(size_bytes, 1000.0, _DECIMAL, digits)


def table_size(size_bytes: float) -> str:
    """The three digits of SIZE columns: ``1982411`` → ``1.98MB``."""
    return human_size(size_bytes, 3)


def bytes_size(size_bytes: float) -> str:
    """go-units ``BytesSize``: ``25276514304`` → ``23.54GiB``."""
    return _scaled(size_bytes, 1024.0, _BINARY, 4)


def _scaled(size: float, base: float, units: tuple[str, ...], digits: int) -> str:
    step = 0
    while size >= base and step < len(units) - 1:
        size /= base
        step += 1
    return f"{size:.{digits}g}{units[step]}"


def parse_size(text: str) -> int:
    """Bytes from ``512``, ``10MB``, ``1.5GiB``, ``300k/s``: decimal units, binary with an ``i``.

    Raises ValueError.
    """
    number = text.strip().lower().removesuffix("/s").strip()
    number = number.removesuffix("b")
    base = 1000
    if number.endswith("i"):
        number, base = number[:-1], 1024
    exponent = 0
    if number[-1:] and number[-1] in _SUFFIXES:
        exponent = _SUFFIXES.index(number[-1]) + 1
        number = number[:-1].strip()
    size = float(number)
    if (base == 1024 and not exponent) or not 0 <= size < float("inf"):
        raise ValueError(text)
    return int(size * base**exponent)


def ago(moment: float | None) -> str:
    """``4 days ago``, or NO_DATE."""
    return NO_DATE if moment is None else human_duration(time.time() - moment) + " ago"


def go_time(moment: float | None) -> str:
    """Go's ``Time.String`` in whole seconds: ``2026-11-24 02:34:41 +0000 UTC``, or NO_DATE."""
    if moment is None:
        return NO_DATE
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(int(moment)))


def rfc3339(moment: float | None) -> str:
    """``2026-11-24T01:54:14Z``, or NO_DATE."""
    if moment is None:
        return NO_DATE
    local = time.localtime(int(moment))
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + _zone(local)


def event_time(time_ns: int) -> str:
    """The nine digits of ``docker events``: ``2026-11-24T04:29:26.581920558Z``."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    local = time.localtime(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{nanoseconds:09d}{_zone(local)}"


def _zone(local: time.struct_time) -> str:
    zone = time.strftime("%z", local)
    return "Z" if zone == "+0000" or len(zone) < _ZONE_DIGITS else f"{zone[:3]}:{zone[3:5]}"


def short_id(digest: str) -> str:
    """Docker's TruncateID: what follows the first colon, 12 characters of it."""
    return digest.partition(":")[2][:12] if ":" in digest else digest[:12]


def ellipsis(text: str, width: int) -> str:
    """At most ``width`` columns, the last one ``…`` when something was cut; wide letters count two."""
    if text.isascii():
        return text if len(text) <= width else text[: width - 1] + "…"
    from unicodedata import east_asian_width

    ends, end = [], 0
    for letter in text:
        end += 2 if east_asian_width(letter) in "WF" else 1
        ends.append(end)
    if end <= width:
        return text
    return text[: sum(end <= width - 1 for end in ends)] + "…"
