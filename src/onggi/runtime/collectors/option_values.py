"""Values of log options, with Go's and go-units' complaints. Each function raises ValueError."""

from __future__ import annotations

import re

__all__ = ["boolean", "human_bytes", "integer"]

_SIZE = r"(\d+(?:\.\d+)?) ?([kKmMgGtTpP])?[iI]?[bB]?"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def human_bytes(text: str, *, binary: bool = False) -> int:
    """``10m``: powers of 1000, or (``binary``) of 1024; Docker has both."""
    match = re.fullmatch(_SIZE, text)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    exponent = " kmgtp".index((match[2] or " ").lower())
    return int(float(match[1]) * (1024 if binary else 1000) ** exponent)


def boolean(text: str) -> bool:
    """strconv.ParseBool."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def integer(text: str, *, unsigned: bool = False, function: str = "Atoi") -> int:
    """strconv.Atoi and its like."""
    if re.fullmatch(r"\d+" if unsigned else r"[+-]?\d+", text, re.ASCII) is None:
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax')
    return int(text)
