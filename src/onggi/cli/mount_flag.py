"""The value of ``--mount``: ``type=bind,source=/a,target=/b,readonly``, and ``-v``'s, as far as the caller's
directory matters.

::

    value = field { "," field }           CSV: a field in quotes may hold commas
    field = key [ "=" text ]

Texts are Docker's. Source: docker/cli ``opts/mount.go``, ``cli/compose/loader/volume.go``.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from typing import Any

from onggi.cli.flag_values import memory

__all__ = ["parse_mount_flag", "volume_word"]

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_LONE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")
_OCTAL = re.compile(r"[0-7]+")


def parse_mount_flag(text: str) -> dict[str, Any]:
    """Docker's ``Mount`` object. Raises ValueError."""
    if not text:
        raise ValueError("EOF")
    mount = _Mount()
    for field in next(csv.reader([text], strict=True)):
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals and key not in _LONE:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        take = _KEYS.get(key)
        if take is None:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
        take(mount, key, value if equals else "true")
    return mount.checked()


class _Mount:
    """The object so far; ``options`` are those of each type."""

    def __init__(self) -> None:
        self.plain: dict[str, Any] = {"Type": "volume"}
        self.options: dict[str, dict[str, Any]] = {}

    def of(self, kind: str) -> dict[str, Any]:
        """The options of a type, which must be that of the mount in the end."""
        fresh: dict[str, Any] = {"DriverConfig": {}} if kind == "volume" else {}
        return self.options.setdefault(kind, fresh)

    def checked(self) -> dict[str, Any]:
        kind = self.plain["Type"]
        if not kind:
            raise ValueError("type is required")
        if not self.plain.get("Target"):
            raise ValueError("target is required")
        for other in self.options:
            if other != kind:
                raise ValueError(f"cannot mix '{other}-*' options with mount type '{kind}'")
        self._check_recursive(self.options.get("bind", {}))
        named = {f"{kind.capitalize()}Options": options for kind, options in self.options.items()}
        return {**self.plain, **named}

    def _check_recursive(self, options: dict[str, Any]) -> None:
        for field, word in (("ReadOnlyNonRecursive", "writable"), ("ReadOnlyForceRecursive", "readonly")):
            if options.get(field) and not self.plain.get("ReadOnly"):
                raise ValueError(
                    f"option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction"
                )
        if options.get("ReadOnlyForceRecursive") and options.get("Propagation") != "rprivate":
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in "
                "conjunction"
            )


_Take = Callable[[_Mount, str, str], None]


def _boolean(key: str, text: str) -> bool:
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f"invalid value for {key}: {text}")
    return text in _TRUE


def _plain(field: str, *, lower: bool = False) -> _Take:
    def take(mount: _Mount, key: str, text: str) -> None:
        mount.plain[field] = text.lower() if lower else text

    return take


def _option(kind: str, field: str, *, lower: bool = False) -> _Take:
    def take(mount: _Mount, key: str, text: str) -> None:
        mount.of(kind)[field] = text.lower() if lower else text

    return take


def _switch(kind: str, field: str) -> _Take:
    def take(mount: _Mount, key: str, text: str) -> None:
        mount.of(kind)[field] = _boolean(key, text)

    return take


def _source(mount: _Mount, key: str, text: str) -> None:
    mount.plain["Source"] = os.path.abspath(text) if text == "." or text.startswith("./") else text


def _readonly(mount: _Mount, key: str, text: str) -> None:
    mount.plain["ReadOnly"] = _boolean(key, text)


_RECURSIVE = {
    **dict.fromkeys(("enabled", *_TRUE), ""),
    **dict.fromkeys(("disabled", *_FALSE), "NonRecursive"),
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}


def _recursive(mount: _Mount, key: str, text: str) -> None:
    if text not in _RECURSIVE:
        raise ValueError(
            f'invalid value for {key}: {text} (must be "enabled", "disabled", "writable", or "readonly")'
        )
    if _RECURSIVE[text]:
        mount.of("bind")[_RECURSIVE[text]] = True


def _pair(target: dict[str, str], text: str) -> None:
    name, _, value = text.partition("=")
    if name:
        target[name] = value


def _label(mount: _Mount, key: str, text: str) -> None:
    _pair(mount.of("volume").setdefault("Labels", {}), text)


def _driver(mount: _Mount, key: str, text: str) -> None:
    mount.of("volume")["DriverConfig"]["Name"] = text


def _driver_option(mount: _Mount, key: str, text: str) -> None:
    _pair(mount.of("volume")["DriverConfig"].setdefault("Options", {}), text)


def _size(mount: _Mount, key: str, text: str) -> None:
    try:
        mount.of("tmpfs")["SizeBytes"] = memory(text)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {text}") from None


def _mode(mount: _Mount, key: str, text: str) -> None:
    if not _OCTAL.fullmatch(text) or int(text, 8) >= 1 << 32:
        raise ValueError(f"invalid value for {key}: {text}")
    mount.of("tmpfs")["Mode"] = int(text, 8)


_KEYS: dict[str, _Take] = {
    "type": _plain("Type", lower=True),
    **dict.fromkeys(("source", "src"), _source),
    **dict.fromkeys(("target", "dst", "destination"), _plain("Target")),
    **dict.fromkeys(("readonly", "ro"), _readonly),
    "consistency": _plain("Consistency", lower=True),
    "bind-propagation": _option("bind", "Propagation", lower=True),
    "bind-nonrecursive": _switch("bind", "NonRecursive"),
    "bind-recursive": _recursive,
    "volume-subpath": _option("volume", "Subpath"),
    "volume-nocopy": _switch("volume", "NoCopy"),
    "volume-label": _label,
    "volume-driver": _driver,
    "volume-opt": _driver_option,
    "image-subpath": _option("image", "Subpath"),
    "tmpfs-size": _size,
    "tmpfs-mode": _mode,
}


# --- -v -----------------------------------------------------------------------------------------


def volume_word(text: str) -> tuple[str, bool]:
    """A value of ``-v`` as Docker's API gets it, and whether it is a bind; else it is a path alone.

    A source that begins with a dot is taken from the caller's directory. Raises ValueError.
    """
    if not text:
        raise ValueError("invalid empty volume spec")
    parts = text.split(":")
    if "" in parts:
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"invalid spec: {text}: too many colons")
    if len(parts) == 1:
        return text, False
    source, rest = text.split(":", 1)
    return (f"{os.path.abspath(source)}:{rest}" if source.startswith(".") else text), True
