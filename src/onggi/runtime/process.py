"""The first process of a container: its words, environment and limits.

Source: moby ``daemon/oci_linux.go`` (WithCommonOptions, WithRlimits), ``container/env.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DEFAULT_PATH", "INIT_IN_CONTAINER", "environment", "merged_environment", "rlimits", "with_init"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT_IN_CONTAINER = "/sbin/docker-init"
"""Where ``--init`` shows the init program of the host."""


def environment(hostname: str, given: Iterable[str], *, tty: bool, linked: Iterable[str] = ()) -> list[str]:
    """``NAME=value`` in order: Docker's own first, replaced by what is given; a lone ``NAME`` removes.

    ``linked`` are those of other containers (``--link``).
    """
    base = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={hostname}"]
    if tty:
        base.append("TERM=xterm")
    return merged_environment([*base, *linked], given)


def merged_environment(base: Iterable[str], given: Iterable[str]) -> list[str]:
    """``base`` with the names in ``given`` replaced in place, new ones at the end."""
    values = {entry.partition("=")[0]: entry for entry in base}
    for entry in given:
        name, equals, _ = entry.partition("=")
        if equals:
            values[name] = entry
        else:
            values.pop(name, None)
    return list(values.values())


def rlimits(
    ulimits: Sequence[Mapping[str, Any]], defaults: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """``process.rlimits`` of HostConfig's Ulimits; ``defaults`` are the engine's, for names not given."""
    named = {ulimit["Name"] for ulimit in ulimits}
    merged = [*ulimits, *(ulimit for ulimit in defaults if ulimit["Name"] not in named)]
    return [
        {
            "type": f"RLIMIT_{ulimit['Name'].upper()}",
            "hard": _unsigned(ulimit["Hard"]),
            "soft": _unsigned(ulimit["Soft"]),
        }
        for ulimit in merged
    ]


def _unsigned(value: int) -> int:
    """-1 is RLIM_INFINITY, all ones."""
    return value & 0xFFFF_FFFF_FFFF_FFFF


def with_init(args: Sequence[str]) -> list[str]:
    """The words that start ``args`` under the init program."""
    return [INIT_IN_CONTAINER, "--", *args]
