"""What is accepted for a setting: one function for each kind of value.

Each takes what ``daemon.json``, a flag or a caller gives, and returns the value of the
:class:`~onggi.config.Config` field, or raises ``ValueError(reason[, hint])``. :data:`KINDS` gives
each its name, for the table of settings in config.py, which loads this module only when a
setting is there to be read.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

TYPE_CHECKING = False  # typing is not needed at run time, and this module is on many a start-up path
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["KINDS", "insecure_registry", "mirror_url", "read_text"]

_COMPAT = ("28", "20.10")
# What strconv.ParseBool takes, which reads dockerd's flags.
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _path(value: object) -> Path:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError("must be the name of a file or directory")
    return Path(os.path.abspath(value))


def _items(value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list")
    return list(value)


def _paths(value: object) -> tuple[Path, ...]:
    return tuple(_path(item) for item in _items(value))


def _texts(value: object) -> tuple[str, ...]:
    texts = tuple(item for item in _items(value) if isinstance(item, str))
    if len(texts) != len(_items(value)):
        raise ValueError("must be a list of strings")
    return texts


def _texts_by_name(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("must be an object of strings")
    return dict(value)


def _runtimes(value: object) -> dict[str, tuple[str, tuple[str, ...]]]:
    """``{"name": {"path": …, "runtimeArgs": [ … ]}}``."""
    if not isinstance(value, dict):
        raise ValueError("must be an object: name → path and runtimeArgs")
    return {_text(name): _runtime(name, entry) for name, entry in value.items()}


def _runtime(name: str, entry: object) -> tuple[str, tuple[str, ...]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or not entry["path"]:
        raise ValueError(f"runtime {name}: a path is needed", 'like {"crun": {"path": "/usr/bin/crun"}}')
    return entry["path"], _texts(entry.get("runtimeArgs") or [])


def _cgroup_driver(value: object) -> str:
    """Of ``exec-opts``, the one option there is on Linux."""
    driver = ""
    for option in _texts(value):
        key, equals, text = option.partition("=")
        if key.strip().lower() != "native.cgroupdriver" or not equals:
            raise ValueError(f"invalid option {key or option!r}", "native.cgroupdriver=systemd or cgroupfs")
        if text not in ("systemd", "cgroupfs"):
            raise ValueError("option native.cgroupdriver is only cgroupfs or systemd")
        driver = text
    return driver


def _ulimits(value: object) -> tuple[dict[str, object], ...]:
    """``{"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}}``."""
    if not isinstance(value, dict):
        raise ValueError("must be an object: name → Name, Hard, Soft")
    found = []
    for name, entry in value.items():
        if not isinstance(entry, dict):
            raise ValueError(f"ulimit {name}: Hard and Soft are needed")
        hard, soft = (entry.get(key, 0) for key in ("Hard", "Soft"))
        if not all(isinstance(limit, int) and not isinstance(limit, bool) for limit in (hard, soft)):
            raise ValueError(f"ulimit {name}: limits are whole numbers")
        if hard != -1 and (soft == -1 or soft > hard):
            raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
        found.append({"Name": entry.get("Name") or name, "Hard": hard, "Soft": soft})
    return tuple(found)


def _bytes(value: object) -> int:
    """A number, or a text like ``64M``."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = (
        re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKmMgGtT])?[iI]?[bB]?", value) if isinstance(value, str) else None
    )
    if match is None:
        raise ValueError(f"invalid size: '{value}'")
    return int(float(match[1]) * 1024 ** " kmgt".index((match[2] or " ").lower()))


def _ipc_mode(value: object) -> str:
    if value not in ("private", "shareable"):
        raise ValueError(f'IPC mode "{value}" is not supported as default value for container IPC mode')
    return str(value)


def _cgroup_namespace(value: object) -> str:
    if value not in ("host", "private"):
        raise ValueError(f'default cgroup namespace mode ("{value}") is invalid. Use "host" or "private"')
    return str(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")
    if value < 0:
        raise ValueError(f"must not be negative: {value}")
    return value


def _positive(value: object) -> int:
    count = _count(value)
    if count == 0:
        raise ValueError("must be greater than 0")
    return count


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ValueError("must be a number of seconds greater than 0")
    return float(value)


def _compat(value: object) -> str:
    if value not in _COMPAT:
        raise ValueError(f"must be one of {', '.join(_COMPAT)}: {value!r}")
    return str(value)


def _labels(value: object) -> tuple[str, ...]:
    """``key=value`` each; the same twice is one, one key with two values an error, as in dockerd."""
    known: dict[str, str] = {}
    for label in _texts(value):
        key, equals, text = label.partition("=")
        if not equals:
            raise ValueError(f"bad attribute format: {label}", "write it as key=value")
        if known.setdefault(key, text) != text:
            raise ValueError(f"conflict labels for {key}={text} and {key}={known[key]}")
    return tuple(f"{key}={text}" for key, text in known.items())


def _mirrors(value: object) -> tuple[str, ...]:
    return _unique(mirror_url(text) for text in _texts(value))


def _mirrors_by_registry(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise ValueError("must be an object: registry → list of mirrors")
    return {_registry(host): _mirrors(mirrors) for host, mirrors in value.items()}


def _registry(host: object) -> str:
    if not isinstance(host, str) or not _is_host_and_port(host):
        raise ValueError(f'invalid host "{host}"', "name a registry as references do: host[:port]")
    return "docker.io" if host == "index.docker.io" else host


def _pools(value: object) -> tuple[tuple[str, int], ...]:
    """``[{"base": "10.10.0.0/16", "size": 24}]``, or pairs of both."""
    found = []
    for item in _items(value):
        pair = (item.get("base"), item.get("size")) if isinstance(item, dict) else item
        base, size = pair if isinstance(pair, list | tuple) and len(pair) == 2 else (None, None)
        if not isinstance(base, str) or not isinstance(size, int) or _network(base) is None:
            raise ValueError(f"invalid pool: {item}", 'e.g. {"base": "10.10.0.0/16", "size": 24}')
        if not int(base.partition("/")[2]) <= size <= 128:
            raise ValueError(f"invalid pool: {base} has no parts of length {size}")
        found.append((base, size))
    return tuple(found)


def _insecure(value: object) -> tuple[str, ...]:
    return _unique(insecure_registry(text) for text in _texts(value))


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def mirror_url(text: str) -> str:
    """Check a mirror as dockerd does and end it in one slash.

    Raises ValueError(reason, hint); a password in the URL is not repeated there.
    """
    hint = "e.g. https://mirror.example"
    either = "must use either 'https://' or 'http://'"
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if at:
        text = f"{scheme}{separator}{user.partition(':')[0]}:xxxxx@{rest[len(user) + 1 :]}"
    if not scheme:
        raise ValueError(f'invalid mirror: no scheme specified for "{text}": {either}', hint)
    match = re.fullmatch(r"([^/?#]*)([^?#]*)([?#].*)?", rest)
    if match is None or not text.isprintable() or " " in text or not match[1]:
        raise ValueError(f'invalid mirror: "{text}" is not a valid URI', hint)
    authority, path, extra = match.groups()
    if scheme.lower() not in ("http", "https"):
        raise ValueError(f'invalid mirror: unsupported scheme "{scheme}" in "{text}": {either}', hint)
    if extra:
        raise ValueError(f'invalid mirror: query or fragment at end of the URI "{text}"', hint)
    if at:
        reason = f'invalid mirror: username/password not allowed in URI "{text}"'
        raise ValueError(reason, "log in to the mirror instead: onggi login")
    if not _is_host_and_port(authority):
        raise ValueError(f'invalid mirror: "{text}" is not a valid URI', hint)
    return f"{scheme.lower()}://{authority}{path.rstrip('/')}/"


def insecure_registry(text: str) -> str:
    """Check ``host[:port]`` or a network in CIDR notation, as dockerd does.

    ``http://`` and ``https://`` in front are dropped; a network is returned with its host
    bits cleared. Raises ValueError(reason, hint).
    """
    hint = "list it as host[:port], or as a network like 10.0.0.0/8"
    if text.startswith("-") or text.endswith("-"):
        raise ValueError(f"invalid index name ({text}). Cannot begin or end with a hyphen", hint)
    scheme, separator, host = text.rpartition("://")
    if separator and scheme.lower() not in ("http", "https"):
        raise ValueError(f"insecure registry {text} should not contain '://'", hint)
    network = _network(host)
    if network is None and not _is_host_and_port(host):
        raise ValueError(f'insecure registry {text} is not valid: invalid host "{host}"', hint)
    return network or host


def _network(text: str) -> str | None:
    """The network of a CIDR notation, or None when it is none."""
    if not re.fullmatch(r"[0-9a-fA-F:.]+/[0-9]{1,3}", text):
        return None
    import ipaddress  # only those who list networks pay for it

    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


def _is_host_and_port(text: str) -> bool:
    """``host[:port]``: a host name, an IPv4 address, or an IPv6 address in brackets (bare without port)."""
    match = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*)(?::([0-9]{1,5}))?", text)
    if match is None:
        return re.fullmatch(r"(?=.*:.*:)[0-9a-fA-F:.]+", text) is not None
    return match[1] is None or int(match[1]) <= 65535


# --- kinds by name ------------------------------------------------------------------------------

KINDS: dict[str, Callable[[object], object]] = {
    "boolean": _boolean,
    "bytes": _bytes,
    "cgroup driver": _cgroup_driver,
    "cgroup namespace": _cgroup_namespace,
    "compat": _compat,
    "count": _count,
    "insecure registries": _insecure,
    "ipc mode": _ipc_mode,
    "labels": _labels,
    "mirrors": _mirrors,
    "mirrors by registry": _mirrors_by_registry,
    "path": _path,
    "paths": _paths,
    "pools": _pools,
    "positive count": _positive,
    "runtimes": _runtimes,
    "seconds": _seconds,
    "text": _text,
    "texts": _texts,
    "texts by name": _texts_by_name,
    "ulimits": _ulimits,
}
_LISTS = ("cgroup driver", "insecure registries", "labels", "mirrors", "paths", "texts")
_READERS: dict[str, Callable[[str], Any]] = {
    "count": int,
    "mirrors by registry": json.loads,
    "pools": json.loads,
    "positive count": int,
    "runtimes": json.loads,
    "seconds": float,
    "texts by name": json.loads,
    "ulimits": json.loads,
}


def read_text(text: str, kind: str) -> object:
    """An environment variable's text as the type that ``kind`` takes; left alone if it does not fit.

    Items of a list are separated by commas, an object is JSON.
    """
    if kind in _LISTS:
        return [item.strip() for item in text.split(",") if item.strip()]
    if kind == "boolean" and text in (*_TRUE, *_FALSE):
        return text in _TRUE
    try:
        return _READERS.get(kind, str)(text)
    except ValueError:
        return text
