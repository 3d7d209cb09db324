"""Durations as Docker words them (go-units): seconds in, text out."""

from __future__ import annotations

__all__ = ["human_duration"]

# Hours; go-units changes from days to weeks to months to years after two of each.
_DAYS_UNTIL, _WEEKS_UNTIL, _MONTHS_UNTIL = 24 * 14, 24 * 60, 24 * 730


def human_duration(seconds: float) -> str:
    """go-units ``HumanDuration``: ``About a minute``, ``4 days``."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if whole < 120:
        return "About a minute"
    if whole < 3600:
        return f"{whole // 60} minutes"
    return _hours_and_more(seconds)


def _hours_and_more(seconds: float) -> str:
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < _DAYS_UNTIL:
        return f"{hours // 24} days"
    if hours < _WEEKS_UNTIL:
        return f"{hours // 24 // 7} weeks"
    if hours < _MONTHS_UNTIL:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"
