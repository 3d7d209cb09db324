"""What a supervisor is told about a container's log (supervisor/log.py), and where logs lie.

::

    containers/<id>/<id>-json.log             json-file
    containers/<id>/local-logs/container.log  local

Source: moby ``container/container.go`` (StartLogger), ``jsonfilelog.go``, ``local/config.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onggi.engine.containers.log_details import extra_attributes, log_tag
from onggi.engine.containers.log_drivers import DEFAULT_DRIVER, InvalidLogOption, check_log_config
from onggi.engine.containers.log_values import boolean, human_bytes, integer
from onggi.errors import FailedPrecondition
from onggi.oci.go_json import dump
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LogFailed", "log_driver", "log_file", "log_settings"]

# Docker never rotates json-file unless told to; a disk filled by one container is nobody's wish.
_JSON_MAX_BYTES, _JSON_MAX_FILES = 100 * 1024 * 1024, 5
_LOCAL_MAX_BYTES, _LOCAL_MAX_FILES = 20 * 1024 * 1024, 5

Options = Mapping[str, str]


class LogFailed(FailedPrecondition):
    """The log cannot be opened, so the container does not start."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"failed to initialize logging driver: {reason}", hint="see its --log-driver and --log-opt"
        )


def log_driver(stored: StoredContainer) -> tuple[str, dict[str, str]]:
    """Name and options."""
    given = stored.host_config.get("LogConfig") or {}
    return given.get("Type") or DEFAULT_DRIVER, given.get("Config") or {}


def log_file(stored: StoredContainer, directory: Path) -> Path | None:
    """Where its log can be read; ``directory`` is the container's own. None: it cannot."""
    kind, _ = log_driver(stored)
    if kind == "json-file":
        return directory / f"{stored.id}-json.log"
    return directory / "local-logs" / "container.log" if kind == "local" else None


def log_settings(stored: StoredContainer, directory: Path) -> dict[str, Any]:
    """The supervisor's instructions. Raises LogFailed."""
    kind, options = log_driver(stored)
    if kind == "none":
        return {"type": "none"}
    try:
        check_log_config(kind, options)
        if kind == "local":
            return {"type": kind, "path": str(log_file(stored, directory)), **local_rotation(options)}
        return {"type": kind, "path": str(log_file(stored, directory)), **_json_settings(stored, options)}
    except (ValueError, InvalidLogOption) as error:
        raise LogFailed(str(error)) from error


def _json_settings(stored: StoredContainer, options: Options) -> dict[str, Any]:
    attributes = extra_attributes(stored, options)
    if options.get("tag"):
        attributes["tag"] = log_tag(stored, options)
    files = integer(options["max-file"]) if "max-file" in options else None
    if files is not None and files < 1:
        raise ValueError("max-file cannot be less than 1")
    files = files or (1 if "max-size" in options else _JSON_MAX_FILES)
    compress = boolean(options.get("compress", "false"))
    if compress and files == 1:
        raise ValueError("compress cannot be true when max-file is less than 2 or max-size is not set")
    text = dump(dict(sorted(attributes.items()))).decode() if attributes else ""
    return {
        "max_bytes": _json_max_bytes(options.get("max-size")),
        "max_files": files,
        "compress": compress,
        "attributes": text,
    }


def _json_max_bytes(text: str | None) -> int:
    """0 for no limit (``-1``)."""
    if text is None:
        return _JSON_MAX_BYTES
    if text == "-1":
        return 0
    size = human_bytes(text)
    if size <= 0:
        raise ValueError("max-size must be a positive number")
    return size


def local_rotation(options: Options) -> dict[str, Any]:
    """Size, count and compression of the driver ``local``. Raises ValueError."""
    size = _valued(options, "max-size", human_bytes, _LOCAL_MAX_BYTES)
    files = _valued(options, "max-file", integer, _LOCAL_MAX_FILES)
    try:
        compress = boolean(options.get("compress", "true"))
    except ValueError as error:
        raise ValueError(f"invalid boolean value for compress: {error}") from error
    if files < 0:
        raise ValueError("max-file must not be negative")
    if compress and files <= 1:
        raise ValueError("compression cannot be enabled when max file count is 1")
    return {"max_bytes": size, "max_files": files, "compress": compress}


def _valued(options: Options, name: str, read: Any, default: int) -> int:
    if name not in options:
        return default
    try:
        return int(read(options[name]))
    except ValueError as error:
        raise ValueError(f"invalid value for {name}: {options[name]}: {error}") from error
