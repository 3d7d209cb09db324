"""What a supervisor is told about a container's log (supervisor/log.py), and where logs lie.

::

    containers/<id>/<id>-json.log             json-file
    containers/<id>/local-logs/container.log  local
    containers/<id>/container-cached.log      those that send it away: what ``logs`` shows, in local's form

Source: moby ``container/container.go`` (StartLogger), ``jsonfilelog.go``, ``local/config.go``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from onggi.config import caller_environment
from onggi.engine.containers.log_details import command_text, extra_attributes, log_tag
from onggi.engine.containers.log_drivers import DEFAULT_DRIVER, InvalidLogOption, check_log_config
from onggi.oci.go_json import dump
from onggi.runtime.collectors.option_values import boolean, human_bytes, integer
from onggi.runtime.launch import LogFailed
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["log_driver", "log_file", "log_settings"]

# Docker never rotates json-file unless told to; a disk filled by one container is nobody's wish.
_JSON_MAX_BYTES, _JSON_MAX_FILES = 100 * 1024 * 1024, 5
_LOCAL_MAX_BYTES, _LOCAL_MAX_FILES = 20 * 1024 * 1024, 5

_BUFFER = "1m"

Options = Mapping[str, str]


def log_driver(stored: StoredContainer) -> tuple[str, dict[str, str]]:
    """Name and options."""
    given = stored.host_config.get("LogConfig") or {}
    return given.get("Type") or DEFAULT_DRIVER, given.get("Config") or {}


def log_file(stored: StoredContainer, directory: Path) -> Path | None:
    """Where its log can be read; ``directory`` is the container's own. None: it cannot."""
    kind, options = log_driver(stored)
    if kind == "json-file":
        return directory / f"{stored.id}-json.log"
    if kind == "local":
        return directory / "local-logs" / "container.log"
    return directory / "container-cached.log" if kind != "none" and _is_cached(options) else None


def _is_cached(options: Options) -> bool:
    try:
        return not boolean(options.get("cache-disabled", "false"))
    except ValueError:
        return False


def log_settings(stored: StoredContainer, directory: Path) -> dict[str, Any]:
    """The supervisor's instructions. Raises LogFailed."""
    kind, options = log_driver(stored)
    path = log_file(stored, directory)
    try:
        check_log_config(kind, options)
        if kind == "none":
            return {"type": kind}
        if kind == "local":
            return {"type": kind, "path": str(path), **_local_rotation(options)}
        if kind == "json-file":
            return {"type": kind, "path": str(path), **_json_settings(stored, options)}
        return _remote_settings(stored, kind, options, path)
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


def _local_rotation(options: Options) -> dict[str, Any]:
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


# --- those that send it away --------------------------------------------------------------------

_COLLECTOR = "import sys; sys.path.extend({paths!r}); from onggi.runtime.collectors.main import main; main()"


def _remote_settings(
    stored: StoredContainer, kind: str, options: Options, cache: Path | None
) -> dict[str, Any]:
    about = {
        "id": stored.id,
        "name": stored.name,
        "image_id": str(stored.document["Image"]),
        "image_name": str(stored.config.get("Image") or ""),
        "command": command_text(stored),
        "created": stored.document["Created"],
        "tag": log_tag(stored, options),
        "attributes": extra_attributes(stored, options),
    }
    return {
        "type": "remote",
        "command": _command(kind),
        "environment": {"LC_ALL": "C.UTF-8", **_environment(kind, options)},
        "collector": {"driver": kind, "options": dict(options), "about": about},
        "buffer_bytes": _buffer_bytes(options),
        "cache": {"path": str(cache), **_local_rotation(_cache_options(options))} if cache else None,
    }


def _command(kind: str) -> list[str]:
    """Drivers that stand on an SDK see this process's packages."""
    package = str(Path(__file__).resolve().parents[3])
    others = [path for path in sys.path if os.path.isabs(path) and path != package] if kind in _SDKS else []
    return [sys.executable, "-I", "-S", "-c", _COLLECTOR.format(paths=[package, *others])]


# What SDKs look for credentials in, and how they get out.
_SDKS = {"awslogs": ("AWS_",), "gcplogs": ("GOOGLE_", "GCLOUD_", "CLOUDSDK_")}
_FOR_SDKS = ("HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


# These say who somebody is; a credentials endpoint is asked instead of all of them.
_IDENTITIES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


def _environment(kind: str, options: Options) -> dict[str, str]:
    """What an SDK gets to see of this process's environment."""
    prefixes = _SDKS.get(kind)
    if prefixes is None:
        return {}
    given = caller_environment()
    seen = {name: given[name] for name in given if name.startswith(prefixes) or name in _FOR_SDKS}
    if "AWS_REGION" in seen:
        seen.setdefault("AWS_DEFAULT_REGION", seen["AWS_REGION"])
    endpoint = options.get("awslogs-credentials-endpoint")
    if endpoint:
        seen = {name: value for name, value in seen.items() if name not in _IDENTITIES}
        seen["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = endpoint
    return seen


def _buffer_bytes(options: Options) -> int:
    if options.get("mode") != "non-blocking":
        return 0
    return human_bytes(options.get("max-buffer-size", _BUFFER), binary=True)


def _cache_options(options: Options) -> dict[str, str]:
    return {
        name.removeprefix("cache-"): value for name, value in options.items() if name.startswith("cache-")
    }
