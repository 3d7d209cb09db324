"""A stranger's text inside a message of ours: it stays on its line and cannot steer the terminal."""

from __future__ import annotations

__all__ = ["printable", "quoted"]


def printable(text: str) -> str:
    """``text`` with what does not print escaped; the rest as it is."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def quoted(text: str) -> str:
    """``text`` as Go's ``%q`` writes it."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{printable(escaped)}"'


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
