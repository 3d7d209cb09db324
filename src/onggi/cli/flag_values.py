"""Values of container flags, each in Docker's form and with Docker's complaint.

Each function takes the text of one value and gives what Docker's API would be sent, or raises
ValueError. Source: docker/cli ``opts``, moby ``docker/go-units``.
"""

from __future__ import annotations

import re

from onggi.runtime.namespaces import OWN_SYSCTL_PREFIXES, OWN_SYSCTLS

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "attach",
    "bytes_or_none",
    "cpus",
    "device",
    "device_cgroup_rule",
    "domain",
    "duration",
    "environment",
    "extra_host",
    "gpus",
    "ip_address",
    "label",
    "memory",
    "mount",
    "option",
    "pair",
    "read_rate",
    "restart",
    "security",
    "sysctl",
    "tmpfs",
    "ulimit",
    "weight",
    "weight_device",
    "write_count",
]

_NANO = 10**9
_ULIMITS = frozenset(
    {"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"}
    | {"rtprio", "rttime", "sigpending", "stack"}
)
_STREAMS = ("stdin", "stdout", "stderr")
_MODE = r"[rwm]{1,3}"
_CGROUP_RULE = r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}"
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*\.?"
_DOMAIN_LENGTH = 255


def memory(text: str) -> int:
    """Bytes: ``64m``, ``1.5g``, in powers of 1024."""
    return _ram(text)


def bytes_or_none(text: str) -> int:
    """Bytes, or -1 for no limit."""
    return -1 if text == "-1" else _ram(text)


def _ram(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s?(?:([kmgtp])(?:i?b)?|b)?", text.strip().lower())
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    exponent = " kmgtp".index(match[2] or " ")
    return int(float(match[1]) * 1024**exponent)


def cpus(text: str) -> int:
    """Billionths of a processor."""
    from decimal import Decimal, InvalidOperation

    try:
        value = Decimal(text) * _NANO
    except InvalidOperation:
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if value != value.to_integral_value():
        raise ValueError("value is too precise")
    return int(value)


def weight(text: str) -> int:
    """``--blkio-weight``: 16 bits."""
    if not text.isdigit():
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 0xFFFF:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def environment(text: str) -> str:
    """``NAME=value``; a lone ``NAME`` has the caller's value, if it has one."""
    from onggi.config import caller_environment

    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if equals:
        return text
    value = caller_environment().get(name)
    return text if value is None else f"{name}={value}"


def duration(text: str) -> int:
    """Nanoseconds: ``1m30s``."""
    from onggi.cli.gofmt import quote
    from onggi.oci.timestamps import parse_duration_ns

    value = parse_duration_ns(text)
    if value is None:
        missing = text.lstrip("+-").replace(".", "", 1).isdigit()
        raise ValueError(f"time: {'missing unit in' if missing else 'invalid'} duration {quote(text)}")
    return value


def label(text: str) -> tuple[str, str]:
    """``name[=value]``."""
    name, _, value = text.partition("=")
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    if any(letter in name for letter in " \t\n\v\f\r"):
        raise ValueError(f"label '{name}' contains whitespaces")
    return name, value


def pair(text: str) -> tuple[str, str]:
    """``key=value``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"invalid key=value pair: {text}")
    return key, value


def ulimit(text: str) -> dict[str, Any]:
    """``nofile=1024:2048``; one number is both limits."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = limits.split(":")
    if len(parts) > 2:
        raise ValueError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    numbers = [_limit(part) for part in parts]
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Hard": hard, "Soft": soft}


def _limit(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def device(text: str) -> dict[str, str]:
    """``HOST[:CONTAINER[:rwm]]``; a second part of only r, w, m is the permissions."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not parts[0]:
        raise ValueError(f"bad format for path: {text}")
    inside, access = parts[0], "rwm"
    for part in parts[1:]:
        if re.fullmatch(_MODE, part) and len(set(part)) == len(part):
            access = part
        else:
            inside = part
    if len(parts) == 3 and not re.fullmatch(_MODE, parts[2]):
        raise ValueError(f"bad mode specified: {parts[2]}")
    for path in (parts[0], inside):
        if not path.startswith("/"):
            raise ValueError(f"{path} is not an absolute path")
    return {"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": access}


def device_cgroup_rule(text: str) -> str:
    """``c 42:* rwm``."""
    if re.fullmatch(_CGROUP_RULE, text) is None:
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


def sysctl(text: str) -> tuple[str, str]:
    """``name=value`` of a setting that a namespace has for itself."""
    name, equals, value = text.partition("=")
    if not equals or not (name in OWN_SYSCTLS or name.startswith(OWN_SYSCTL_PREFIXES)):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return name, value


def read_rate(text: str) -> dict[str, Any]:
    """``/dev/sda:1mb``, bytes per second."""
    path, rate = _device_value(text)
    try:
        return {"Path": path, "Rate": _ram(rate)}
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number "
            "must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ) from None


def write_count(text: str) -> dict[str, Any]:
    """``/dev/sda:1000``, operations per second."""
    path, rate = _device_value(text)
    if not rate.isdigit():
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(rate)}


def weight_device(text: str) -> dict[str, Any]:
    """``/dev/sda:200``."""
    path, number = _device_value(text)
    if not number.isdigit() or (int(number) and not 10 <= int(number) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(number)}


def _device_value(text: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon or not value:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


def restart(text: str) -> dict[str, Any]:
    """``no``, ``always``, ``unless-stopped``, ``on-failure[:count]``."""
    name, colon, count = text.partition(":")
    if colon and not count.lstrip("-").isdigit():
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    if not name and colon:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def attach(text: str) -> str:
    """A stream's name."""
    if text.lower() not in _STREAMS:
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def gpus(text: str) -> dict[str, Any]:
    """A request for devices of a driver."""
    from onggi.cli.gpus import device_request

    return device_request(text)


def ip_address(text: str) -> str:
    """An address as the API has it: the shortest spelling."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError(f"IP address is not correctly formatted: {text}") from None


def domain(text: str) -> str:
    """A search domain; a lone dot means none."""
    trimmed = text.strip()
    if trimmed == ".":
        return trimmed
    if len(trimmed) > _DOMAIN_LENGTH or re.fullmatch(_DOMAIN, trimmed) is None:
        raise ValueError(f"{text} is not a valid domain")
    return trimmed


def extra_host(text: str) -> str:
    """``name:address`` (or ``name=address``), as the API has it."""
    import ipaddress

    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    if not found or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    address = address.removeprefix("[").removesuffix("]")
    if address != "host-gateway":
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ValueError(f'invalid IP address in add-host: "{address}"') from None
    return f"{name}:{address}"


def option(text: str) -> tuple[str, str]:
    """``key=value``, or a key alone."""
    key, _, value = text.partition("=")
    return key, value


def mount(text: str) -> dict[str, Any]:
    """``--mount``: an object of Docker's API."""
    from onggi.cli.mount_flag import parse_mount_flag

    return parse_mount_flag(text)


def network(text: str) -> tuple[str, dict[str, list[str]]]:
    """``--network``: a name, and what the long form says."""
    from onggi.cli.network_options import parse_network

    return parse_network(text)


def tmpfs(text: str) -> tuple[str, str]:
    """``/path[:options]``."""
    path, _, options = text.partition(":")
    return path, options


def security(text: str) -> str:
    """A security option; a seccomp profile is read here, and sent whole."""
    key, equals, value = text.partition("=")
    if not equals:
        key, equals, value = text.partition(":")
    if not equals and text != "no-new-privileges":
        raise ValueError(f'Invalid --security-opt: "{text}"')
    if key != "seccomp" or value in ("unconfined", "builtin"):
        return text
    import json

    try:
        with open(value, encoding="utf-8") as file:
            return f"seccomp={json.dumps(json.load(file), separators=(',', ':'))}"
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"opening seccomp profile ({value}) failed: open {value}: {reason}") from error
    except ValueError as error:
        raise ValueError(f"compacting json for seccomp profile ({value}) failed: {error}") from error
