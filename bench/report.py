"""Numbers as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from statistics import median

__all__ = ["machine", "ratio", "spread", "table"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are set to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def spread(values: Sequence[float], unit: float = 1.0, digits: int = 2) -> str:
    """``median (least–most)``, each divided by ``unit``."""
    low, middle, high = (f"{value / unit:.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low}–{high})"


def ratio(values: Sequence[float], base: Sequence[float] | None) -> str:
    """How the medians compare: ``0.25×`` is a quarter of ``base``."""
    return "–" if not base else f"{median(values) / median(base):.2f}×"


def machine() -> str:
    """What it was measured on."""
    names = [
        line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")
    ]
    cpu = names[0] if names else platform.machine()
    cores = len(os.sched_getaffinity(0))
    return f"{cpu}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}\n"


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()
