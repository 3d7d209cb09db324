"""Docker's ``container.Config`` as Go writes it: every field, in declaration order (docker-engine §8.1)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["complete_config"]

# In declaration order: name, value when absent, left out when empty.
_FIELDS: tuple[tuple[str, Any, bool], ...] = (
    ("Hostname", "", False),
    ("Domainname", "", False),
    ("User", "", False),
    ("AttachStdin", False, False),
    ("AttachStdout", False, False),
    ("AttachStderr", False, False),
    ("ExposedPorts", None, True),
    ("Tty", False, False),
    ("OpenStdin", False, False),
    ("StdinOnce", False, False),
    ("Env", None, False),
    ("Cmd", None, False),
    ("Healthcheck", None, True),
    ("ArgsEscaped", None, True),
    ("Image", "", False),
    ("Volumes", None, False),
    ("WorkingDir", "", False),
    ("Entrypoint", None, False),
    ("NetworkDisabled", None, True),
    ("MacAddress", None, True),
    ("OnBuild", None, False),
    ("Labels", None, False),
    ("StopSignal", None, True),
    ("StopTimeout", None, True),
    ("Shell", None, True),
)
_HEALTH_CHECK = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")


def complete_config(config: Mapping[str, Any], compat: str = "20.10") -> dict[str, Any]:
    """``config`` (known keys in Docker's spelling), absent fields filled in, maps sorted as Go does.

    Docker 20.10 knows no ``StartInterval``.
    """
    result = {}
    for key, absent, omit in _FIELDS:
        value = config.get(key)
        if omit and not value and not (key == "StopTimeout" and value == 0):
            continue
        result[key] = absent if value is None else _ordered(key, value, compat)
    return result


def _ordered(key: str, value: Any, compat: str) -> Any:
    if key == "Healthcheck":
        known = [name for name in _HEALTH_CHECK if name != "StartInterval" or compat != "20.10"]
        return {name: value[name] for name in known if value.get(name)}
    return dict(sorted(value.items())) if isinstance(value, dict) else value
