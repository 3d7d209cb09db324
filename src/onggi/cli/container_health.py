"""Flags of ``run`` and ``create`` that say how a container's health is checked, and what they ask for.

Source: docker/cli ``cli/command/container/opts.go``.
"""

from __future__ import annotations

from onggi.cli.flags import Flag

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.session import Session

__all__ = ["health_config", "health_flags"]

# Flag, field of Healthcheck.
_NUMBERS = (
    ("health-interval", "Interval"),
    ("health-timeout", "Timeout"),
    ("health-retries", "Retries"),
    ("health-start-period", "StartPeriod"),
    ("health-start-interval", "StartInterval"),
)


def health_flags() -> tuple[Flag, ...]:
    """The flags."""
    return (
        Flag("health-cmd", "string", "Command to run to check health"),
        _time("health-interval", "Time between running the check (ms|s|m|h)"),
        Flag("health-retries", "int", "Consecutive failures needed to report unhealthy"),
        _time("health-start-interval", "Time between running the check during the start period (ms|s|m|h)"),
        _time(
            "health-start-period",
            "Start period for the container to initialize before starting health-retries countdown "
            "(ms|s|m|h)",
        ),
        _time("health-timeout", "Maximum time to allow one check to run (ms|s|m|h)"),
        Flag("no-healthcheck", "bool", "Disable any container-specified HEALTHCHECK"),
    )


def _time(name: str, help: str) -> Flag:
    return Flag(name, "string", help, check="duration", metavar="duration", shown_default="0s")


def health_config(session: Session) -> dict[str, Any] | None:
    """Docker's Healthcheck; None when nothing is said. Raises Failure."""
    from onggi.cli.container_options import refuse

    numbers = {field: session.flag(flag) for flag, field in _NUMBERS if session.given(flag)}
    numbers = {field: value for field, value in numbers.items() if value}
    command = session.flag("health-cmd")
    if session.flag("no-healthcheck"):
        if command or numbers:
            raise refuse(session, "--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not command and not numbers:
        return None
    for flag, field in _NUMBERS:
        if numbers.get(field, 0) < 0:
            raise refuse(session, f"--{flag} cannot be negative")
    return {"Test": ["CMD-SHELL", command] if command else None, **numbers}
