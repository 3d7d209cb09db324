"""Whether the kernel killed something in the container for want of memory."""

from __future__ import annotations

__all__ = ["oom_kills"]


def oom_kills(file: str) -> int:
    """The count in ``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1); 0 when there is none."""
    if not file:
        return 0
    try:
        with open(file) as lines:
            for line in lines:
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
    except (OSError, ValueError):
        return 0
    return 0
