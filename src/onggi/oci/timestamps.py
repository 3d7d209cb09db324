"""Times with nanoseconds, as Go reads and writes them.

A moment is an integer, nanoseconds since 1970-01-01T00:00:00Z, negative before; a float has no
room for it. Texts are RFC 3339 with a fraction of up to nine digits, no trailing zeros
(Go's ``time.RFC3339Nano``).
"""

from __future__ import annotations

import re
import time

__all__ = [
    "ZERO_TIME",
    "duration_text",
    "format_ns",
    "normalise",
    "parse_duration_ns",
    "parse_moment",
    "parse_ns",
    "to_unix",
]

# Go's zero time: what Docker prints where a time is unknown.
ZERO_TIME = "0001-01-01T00:00:00Z"
_ZERO_NS = -62135596800 * 10**9
_SECOND = 10**9

_RFC3339 = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
# What --since, --until and until= take beside durations and Unix times (Docker's GetTimestamp):
# a date, then optionally hours, minutes, seconds and a fraction, then optionally a zone.
_PARTIAL = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?)?)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
# Twenty digits hold any 64-bit number.
_UNIX_TIME = r"([0-9]{1,20})(?:\.([0-9]{0,20}))?"
_AMOUNT = r"([0-9]{0,20})(?:\.([0-9]{0,20}))?(ns|us|µs|μs|ms|s|m|h)"
_UNIT_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "μs": 10**3,  # U+03BC, the Greek letter
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def parse_ns(text: str) -> int | None:
    """Nanoseconds since 1970 (UTC), or None when the text is no RFC 3339 time.

    Digits of the fraction after the ninth are cut.
    """
    match = re.fullmatch(_RFC3339, text)
    if match is None:
        return None
    seconds = _utc_seconds(*(int(part) for part in match.groups()[:6]))
    offset = _offset_seconds(match[8])
    if seconds is None or offset is None:
        return None
    return (seconds - offset) * _SECOND + _fraction_ns(match[7])


def format_ns(ns: int) -> str:
    """RFC3339Nano in UTC."""
    return f"{_date_time(ns)}Z"


def normalise(text: str | None) -> str | None:
    """A time as Docker prints it back, in its own zone; None when absent, unreadable or Go's zero."""
    ns = None if text is None else parse_ns(text)
    if text is None or ns is None or ns == _ZERO_NS:
        return None
    zone = "Z" if text[-1] in "Zz" else text[-6:]
    offset = _offset_seconds(zone)
    if not offset:
        return format_ns(ns)
    return f"{_date_time(ns + offset * _SECOND)}{zone}"


def to_unix(text: str | None) -> float | None:
    """Seconds since 1970, to about a microsecond; None when absent, unreadable or Go's zero."""
    ns = None if text is None else parse_ns(text)
    return None if ns is None or ns == _ZERO_NS else ns / _SECOND


def parse_moment(text: str, now: float) -> float | None:
    """A moment as users write it for ``--since`` and ``until=``; seconds since 1970, or None.

    moment = Go duration (before ``now``) | Unix seconds [ "." fraction ]
           | date [ "T" hh [ ":" mm [ ":" ss [ "." fraction ] ] ] ] [ zone ]

    A time without a zone is local.
    """
    duration = None if text == "0" else parse_duration_ns(text)
    if duration is not None:
        return now - duration / _SECOND
    match = re.fullmatch(_UNIX_TIME, text)
    if match is not None:
        return (int(match[1]) * _SECOND + _fraction_ns(match[2])) / _SECOND
    return _parse_partial(text)


def parse_duration_ns(text: str) -> int | None:
    """A Go duration (``1h30m``, ``-1.5s``, ``0``) in nanoseconds; None when the text is none."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total = 0
    while rest:
        match = re.match(_AMOUNT, rest)
        if match is None or not (match[1] or match[2]):
            return None
        unit = _UNIT_NS[match[3]]
        digits = match[2] or ""
        total += int(match[1] or 0) * unit + int(digits or 0) * unit // 10 ** len(digits)
        rest = rest[match.end() :]
    return sign * total if text not in ("", "+", "-") else None


def duration_text(ns: int) -> str:
    """As Go prints a duration: ``1h0m0.5s``, ``200ms``, ``1.5µs``, ``0s``."""
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    if ns < _SECOND:
        unit = next((unit for unit in ("ms", "µs") if ns >= _UNIT_NS[unit]), "ns")
        return f"{sign}{_decimal(ns, _UNIT_NS[unit])}{unit}" if ns else "0s"
    minutes, rest = divmod(ns, 60 * _SECOND)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes}m" if hours or minutes else ""
    return f"{sign}{f'{hours}h' if hours else ''}{text}{_decimal(rest, _SECOND)}s"


def _decimal(amount: int, unit: int) -> str:
    """``amount`` in ``unit`` (a power of ten), without trailing zeros."""
    whole, fraction = divmod(amount, unit)
    digits = str(unit + fraction)[1:].rstrip("0") if unit > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _parse_partial(text: str) -> float | None:
    match = re.fullmatch(_PARTIAL, text)
    if match is None:
        return None
    fields = [int(part or 0) for part in match.groups()[:6]]
    seconds = _utc_seconds(*fields)
    if seconds is None:
        return None
    offset = _local_offset_seconds(fields, seconds) if match[8] is None else _offset_seconds(match[8])
    return None if offset is None else seconds - offset + _fraction_ns(match[7]) / _SECOND


def _utc_seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    """Seconds since 1970, or None for a day or time that does not exist (Go knows no leap second)."""
    if not (1 <= month <= 12 and 1 <= day <= _MONTH_DAYS[month - 1]):
        return None
    if (month, day) == (2, 29) and (year % 4 or (year % 100 == 0 and year % 400)):
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    return _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar.

    Years are counted from March, so that the leap day is the last: months then have the
    lengths of 153 days in five. (``calendar.timegm`` would load datetime and locale.)
    """
    year -= month <= 2
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719468


def _offset_seconds(zone: str) -> int | None:
    if zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        return None
    seconds = hours * 3600 + minutes * 60
    return seconds if zone[0] == "+" else -seconds


def _local_offset_seconds(fields: list[int], utc_seconds: int) -> int | None:
    """How far local clocks were ahead of UTC when they showed ``fields``."""
    try:
        return utc_seconds - int(time.mktime((*fields, 0, 0, -1)))  # type: ignore[arg-type]
    except OverflowError:
        return None


def _fraction_ns(digits: str | None) -> int:
    return int((digits or "")[:9].ljust(9, "0"))


def _date_time(ns: int) -> str:
    seconds, fraction = divmod(ns, _SECOND)
    moment = time.gmtime(seconds)
    text = (
        f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}"
        f"T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}"
    )
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}" if digits else text
