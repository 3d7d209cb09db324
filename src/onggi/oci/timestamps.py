"""RFC 3339 times with nanoseconds, as Go writes them."""

from __future__ import annotations

import re
from calendar import timegm
from time import gmtime

__all__ = ["ZERO_TIME", "format_ns", "normalise", "parse_moment", "parse_ns", "to_unix"]

# Go's zero time: what Docker prints where a time is unknown.
ZERO_TIME = "0001-01-01T00:00:00Z"

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_ns(text: str) -> int | None:
    """Nanoseconds since 1970 (UTC), or None when the text is no RFC 3339 time."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    seconds = timegm((year, month, day, hour, minute, second, 0, 0, 0))
    zone = match[8]
    if zone not in "Zz":
        offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds * 10**9 + int((match[7] or "").ljust(9, "0"))


def format_ns(ns: int) -> str:
    """RFC3339Nano in UTC: trailing zeros of the fraction are cut, as Go does."""
    seconds, fraction = divmod(ns, 10**9)
    moment = gmtime(seconds)
    text = (
        f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}"
        f"T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}"
    )
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def normalise(text: str | None) -> str | None:
    """A time as Docker prints it back, or None when unknown (absent, unreadable, Go's zero)."""
    ns = None if text is None else parse_ns(text)
    if ns is None or text is None or text.startswith("0001-01-01T00:00:00"):
        return None
    if text[-1] in "Zz":
        return format_ns(ns)
    return text


def to_unix(text: str | None) -> float | None:
    """Seconds since 1970; None when unknown."""
    if normalise(text) is None or text is None:
        return None
    ns = parse_ns(text)
    return None if ns is None else ns / 1e9


def parse_moment(text: str, now: float) -> float | None:
    """A moment as users of Docker's ``--since``/``until`` write it; seconds since 1970.

    moment = unix seconds [ "." fraction ] | Go duration before ``now`` | RFC 3339, also
    without zone, without time (local midnight is taken as UTC).
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if text and _DURATION.sub("", text) == "":
        return now - sum(float(amount) * _UNIT_S[unit] for amount, unit in _DURATION.findall(text))
    for candidate in (text, text + "Z", text + ":00Z", text + "T00:00:00Z"):
        ns = parse_ns(candidate)
        if ns is not None:
            return ns / 1e9
    return None
