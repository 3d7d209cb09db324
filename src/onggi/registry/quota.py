"""How many pulls a registry still allows (Docker Hub's ``ratelimit-*`` headers)."""

from __future__ import annotations

import re

from onggi.record import record
from onggi.registry.answers import Answer

__all__ = ["Quota", "quota_of"]

# ratelimit-remaining: 76;w=21600
_VALUE = re.compile(r"\s*(\d{1,12})\s*(?:;\s*w\s*=\s*(\d{1,12}))?")


@record
class Quota:
    """``remaining`` of ``limit`` pulls in a window of ``window_s`` seconds (0: not told)."""

    limit: int
    remaining: int
    window_s: int


def quota_of(answer: Answer) -> Quota | None:
    """The quota an answer tells of, or None."""
    limit = _VALUE.match(answer.headers.get("ratelimit-limit", ""))
    remaining = _VALUE.match(answer.headers.get("ratelimit-remaining", ""))
    if limit is None or remaining is None:
        return None
    return Quota(int(limit[1]), int(remaining[1]), int(remaining[2] or limit[2] or 0))
