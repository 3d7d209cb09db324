"""Log drivers: which there are, and what options each takes, in dockerd's words.

Source: moby ``daemon/logger/factory.go`` (ValidateLogOpts), each driver's ``ValidateLogOpt``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onggi.errors import InvalidArgument
from onggi.record import record
from onggi.runtime.collectors.option_values import human_bytes

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DEFAULT_DRIVER", "InvalidLogOption", "LogDriver", "check_log_config", "log_config", "log_drivers"]

DEFAULT_DRIVER = "json-file"
_MODES = ("", "blocking", "non-blocking")
# Whatever the driver.
_COMMON = frozenset({"mode", "max-buffer-size"})
_ATTRIBUTES = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_FILES = frozenset({"max-size", "max-file", "compress"})

Options = Mapping[str, str]


class InvalidLogOption(InvalidArgument):
    """An option that a log driver does not take."""


@record
class LogDriver:
    """``check`` raises InvalidLogOption; ``complaint`` words an option that is not known (``{}``)."""

    name: str
    options: frozenset[str]
    check: Callable[[Options], None]
    complaint: str


def _nothing(options: Options) -> None:
    """Values are looked at when the log is opened, as dockerd does."""


def _by_collector(name: str) -> Callable[[Options], None]:
    """The driver's own look at values, loaded when it is asked for."""

    def check(options: Options) -> None:
        from importlib import import_module

        try:
            import_module(f"onggi.runtime.collectors.{name}").check_options(options)
        except ValueError as error:
            raise InvalidLogOption(str(error)) from error
        _check_cache(options)

    return check


def _check_cache(options: Options) -> None:
    from onggi.runtime.collectors.option_values import boolean

    text = options.get("cache-disabled", "false")
    try:
        boolean(text)
    except ValueError as error:
        raise InvalidLogOption(f"invalid value for option cache-disabled: {text}") from error


def _remote(name: str, *options: str) -> LogDriver:
    taken = frozenset(f"{name}-{option}" for option in options) | _ATTRIBUTES | _CACHE
    quotes = '"{}"' if name == "gelf" else "'{}'"
    complaint = f"unknown log opt {quotes} for {name} log driver"
    return LogDriver(name, taken, _by_collector(name), complaint)


_CACHE = frozenset(f"cache-{option}" for option in ("disabled", *_FILES))

_DRIVERS = {
    driver.name: driver
    for driver in (
        LogDriver(
            "json-file", _FILES | _ATTRIBUTES, _nothing, "unknown log opt '{}' for json-file log driver"
        ),
        LogDriver("local", _FILES | _ATTRIBUTES, _nothing, "unknown log opt '{}' for log driver local"),
        _remote(
            "fluentd",
            *("address", "async", "async-connect", "buffer-limit", "max-retries", "request-ack"),
            *("retry-wait", "sub-second-precision"),
        ),
        _remote(
            "gelf",
            *("address", "compression-level", "compression-type", "tcp-max-reconnect", "tcp-reconnect-delay"),
        ),
        _remote(
            "awslogs",
            *("group", "stream", "region", "endpoint", "credentials-endpoint", "create-group"),
            *("create-stream", "datetime-format", "multiline-pattern", "force-flush-interval-seconds"),
            "max-buffered-events",
        ),
        LogDriver(
            "gcplogs",
            frozenset(f"gcp-{name}" for name in ("project", "log-cmd", "meta-zone", "meta-name", "meta-id"))
            | _ATTRIBUTES - {"tag"}
            | _CACHE,
            _by_collector("gcplogs"),
            '"{}" is not a valid option for the gcplogs driver',
        ),
        _remote("journald"),
        _remote(
            "splunk",
            *("url", "token", "source", "sourcetype", "index", "capath", "caname", "insecureskipverify"),
            *("format", "verify-connection", "gzip", "gzip-level", "index-acknowledgment"),
        ),
        _remote(
            "syslog",
            *("address", "facility", "format", "tls-ca-cert", "tls-cert", "tls-key", "tls-skip-verify"),
        ),
    )
}


_SDKS = {"awslogs": "boto3", "gcplogs": "google.cloud.logging"}


def log_drivers() -> list[str]:
    """Names of those that work here, sorted; ``none`` is no driver, but can be asked for."""
    return sorted(name for name in _DRIVERS if name not in _SDKS or _is_installed(_SDKS[name]))


def _is_installed(module: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def log_config(given: Mapping[str, Any] | None, default: str, options: Options) -> dict[str, Any]:
    """HostConfig's LogConfig: what is not said is the engine's default. Raises InvalidLogOption."""
    given = given or {}
    kind, config = given.get("Type") or default, dict(given.get("Config") or {})
    if kind == default:
        config = {**options, **config}
    check_log_config(kind, config)
    return {"Type": kind, "Config": dict(sorted(config.items()))}


def check_log_config(kind: str, options: Options) -> None:
    """Raises InvalidLogOption."""
    if kind == "none":
        return
    _check_mode(options)
    driver = _DRIVERS.get(kind)
    if driver is None:
        raise InvalidLogOption(
            f"logger: no log driver named '{kind}' is registered",
            hint=f"known: {', '.join(['none', *log_drivers()])}",
        )
    if kind == "gelf":
        driver.check(options)  # dockerd asks for the address before it looks at anything else
    for name in options:
        if name not in driver.options and name not in _COMMON:
            known = ", ".join(sorted(driver.options | _COMMON))
            raise InvalidLogOption(driver.complaint.format(name), hint=f"it takes {known}")
    driver.check(options)


def _check_mode(options: Options) -> None:
    mode = options.get("mode", "")
    if mode not in _MODES:
        raise InvalidLogOption(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" not in options:
        return
    if mode != "non-blocking":
        raise InvalidLogOption("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    try:
        human_bytes(options["max-buffer-size"], binary=True)
    except ValueError as error:
        raise InvalidLogOption(f"error parsing option max-buffer-size: {error}") from error
