"""What log drivers say of a container beside its words: attributes chosen by name, and a tag.

Source: moby ``daemon/logger/loginfo.go`` (ExtraAttributes, Info), ``loggerutils/log_tag.go``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping

from onggi.engine.containers.log_drivers import InvalidLogOption
from onggi.store.containers import StoredContainer

__all__ = ["command_text", "extra_attributes", "log_tag"]

DEFAULT_TAG = "{{.ID}}"
_ACTION = r"(?s)\{\{-?\s*(.*?)\s*-?\}\}"

Options = Mapping[str, str]


def extra_attributes(stored: StoredContainer, options: Options) -> dict[str, str]:
    """Labels and environment variables that ``labels``, ``labels-regex``, ``env``, ``env-regex`` choose."""
    labels: Mapping[str, str] = stored.config.get("Labels") or {}
    entries: Iterable[str] = stored.config.get("Env") or ()
    environment = {
        name: value for name, equals, value in (entry.partition("=") for entry in entries) if equals
    }
    return {**_chosen(labels, options, "labels"), **_chosen(environment, options, "env")}


def _chosen(values: Mapping[str, str], options: Options, option: str) -> dict[str, str]:
    names = [name for name in options.get(option, "").split(",") if name]
    found = {name: values[name] for name in names if name in values}
    pattern = options.get(f"{option}-regex")
    if pattern:
        matches = _pattern(pattern)
        found |= {name: value for name, value in values.items() if matches(name)}
    return found


def _pattern(text: str) -> Callable[[str], object]:
    try:
        return re.compile(text).search
    except re.error as error:
        raise InvalidLogOption(f"error parsing regexp: {error}: `{text}`") from error


def log_tag(stored: StoredContainer, options: Options, default: str = DEFAULT_TAG) -> str:
    """The option ``tag``, Docker's fields in it filled in: ``{{.Name}}/{{.ID}}``. Raises InvalidLogOption."""
    template = options.get("tag") or default
    text = re.sub(_ACTION, lambda match: _field(stored, match[1]), template)
    if "{{" in text.replace(template, ""):
        raise InvalidLogOption(f"template: log-tag:1: unclosed action: {template}")
    return text


def _field(stored: StoredContainer, action: str) -> str:
    """One action; only fields are known, no functions."""
    name = action.removeprefix(".")
    read = _FIELDS.get(name)
    if not action.startswith(".") or read is None:
        raise InvalidLogOption(
            f'template: log-tag:1:2: executing "log-tag" at <{action}>: can\'t evaluate field {name} in type '
            "*logger.Info",
            hint=f"known: {', '.join(f'.{known}' for known in _FIELDS)}",
        )
    return read(stored)


def command_text(stored: StoredContainer) -> str:
    """Program and arguments."""
    return " ".join([stored.document["Path"], *(stored.document.get("Args") or ())])


_FIELDS: Mapping[str, Callable[[StoredContainer], str]] = {
    "ID": lambda stored: stored.id[:12],
    "FullID": lambda stored: stored.id,
    "Name": lambda stored: stored.name,
    "ContainerID": lambda stored: stored.id,
    "ContainerName": lambda stored: f"/{stored.name}",
    # Docker cuts the id with its algorithm in front.
    "ImageID": lambda stored: str(stored.document["Image"])[:12],
    "ImageFullID": lambda stored: str(stored.document["Image"]),
    "ImageName": lambda stored: str(stored.config.get("Image") or ""),
    "ContainerImageID": lambda stored: str(stored.document["Image"]),
    "ContainerImageName": lambda stored: str(stored.config.get("Image") or ""),
    "Command": command_text,
    "DaemonName": lambda stored: "docker",
    "Hostname": lambda stored: os.uname().nodename,
}
