"""Health checks: from Docker's Healthcheck to what a supervisor is told (supervisor/health.py).

Test = [ ] | [ "NONE" ] | [ "CMD", word … ] | [ "CMD-SHELL", text ]; times are nanoseconds, 0 is the
default.

Source: moby ``daemon/health.go`` (getProbe, monitor), ``daemon/container.go`` (verifyHealthcheck).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from onggi.errors import InvalidArgument
from onggi.oci.timestamps import duration_text
from onggi.runtime.user import User
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["check_health", "health_command", "health_checks"]

_SECOND = 10**9
_LEAST_NS = 10**6
_INTERVAL_NS, _TIMEOUT_NS, _START_INTERVAL_NS, _RETRIES = 30 * _SECOND, 30 * _SECOND, 5 * _SECOND, 3
_DURATIONS = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_SHELL = ("/bin/sh", "-c")


def check_health(config: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for times that are too short."""
    given: Mapping[str, Any] = config.get("Healthcheck") or {}
    for name in _DURATIONS:
        value = given.get(name) or 0
        if value and value < _LEAST_NS:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if (given.get("Retries") or 0) < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def health_command(config: Mapping[str, Any]) -> list[str]:
    """What is run; empty when nothing is checked."""
    kind, *words = (config.get("Healthcheck") or {}).get("Test") or ("NONE",)
    if kind == "CMD-SHELL":
        return [*(config.get("Shell") or _SHELL), *words[:1]]
    return words if kind == "CMD" else []


def health_checks(stored: StoredContainer, user: User, bundle: Path, compat: str) -> dict[str, Any] | None:
    """The supervisor's instructions, or None; writes the process that it runs into ``bundle``."""
    command = health_command(stored.config)
    if not command:
        return None
    from onggi.engine.containers.executions import ExecOptions, process_entry

    path = bundle / "health.json"
    process = process_entry(stored, ExecOptions(tuple(command)), user)
    path.write_text(json.dumps(process), "utf-8", "surrogateescape")
    given: Mapping[str, Any] = stored.config["Healthcheck"]
    interval, timeout = given.get("Interval") or _INTERVAL_NS, given.get("Timeout") or _TIMEOUT_NS
    # Docker 20.10 knows one interval only.
    first = interval if compat == "20.10" else given.get("StartInterval") or _START_INTERVAL_NS
    return {
        "process_file": str(path),
        "words": " ".join(command),
        "interval_s": interval / _SECOND,
        "timeout_s": timeout / _SECOND,
        "timeout_text": duration_text(timeout),
        "tells_output": compat != "20.10",
        "start_period_s": (given.get("StartPeriod") or 0) / _SECOND,
        "start_interval_s": first / _SECOND,
        "retries": given.get("Retries") if (given.get("Retries") or 0) > 0 else _RETRIES,
    }
