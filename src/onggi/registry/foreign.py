"""Texts and addresses that the other side chose: read with care, shown without harm."""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

__all__ = ["http_address", "next_address", "one_line"]


def one_line(text: str) -> str:
    """A message of the other side, which must not draw on our terminal."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def http_address(url: str) -> SplitResult | None:
    """An absolute http or https address with a host and a port that can be; None for anything else."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def next_address(url: str, reference: str) -> SplitResult | None:
    """Where a ``Location`` or ``Link`` leads from ``url``; None when that is no http address."""
    try:
        return http_address(urljoin(url, reference))
    except ValueError:
        return None
