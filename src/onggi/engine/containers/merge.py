"""A container's Config: what the caller says, over what the image says.

Source: moby ``daemon/commit.go`` (merge), ``daemon/create.go``; docker-engine §10.3.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from onggi.errors import InvalidArgument

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NoCommand", "command_line", "merged_config"]


class NoCommand(InvalidArgument):
    """Neither the caller nor the image says what to run."""

    def __init__(self) -> None:
        super().__init__("No command specified", hint="name one after the image, or give the image a CMD")


def merged_config(given: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """Docker's Config of the container. Raises NoCommand, InvalidArgument (working directory)."""
    config = dict(given)
    for field in ("User", "WorkingDir", "StopSignal"):
        config[field] = given.get(field) or image.get(field) or ""
    config["ExposedPorts"] = {**(image.get("ExposedPorts") or {}), **(given.get("ExposedPorts") or {})}
    config["Volumes"] = {**(given.get("Volumes") or {}), **(image.get("Volumes") or {})} or None
    config["Env"] = _environment(given.get("Env"), image.get("Env"))
    config["Labels"] = {**(image.get("Labels") or {}), **(given.get("Labels") or {})}
    config["Healthcheck"] = _health_check(given.get("Healthcheck"), image.get("Healthcheck"))
    _command(config, given, image)
    _working_directory(config)
    return config


def _environment(given: list[str] | None, image: list[str] | None) -> list[str] | None:
    """The caller's first, then those of the image's names that the caller does not have."""
    if not given:
        return list(image) if image else None
    names = {entry.partition("=")[0] for entry in given}
    return [*given, *(entry for entry in image or () if entry.partition("=")[0] not in names)]


def _health_check(given: Mapping[str, Any] | None, image: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not image:
        return dict(given) if given else None
    return {**image, **{key: value for key, value in (given or {}).items() if value}}


def _command(config: dict[str, Any], given: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    """An entrypoint of the caller makes the image's command void; ``[""]`` takes the image's away."""
    entrypoint, command = given.get("Entrypoint"), given.get("Cmd")
    if not entrypoint:
        command = command or image.get("Cmd")
        if entrypoint is None:
            entrypoint = image.get("Entrypoint")
    if entrypoint == [""]:
        entrypoint = None
    config["Entrypoint"], config["Cmd"] = entrypoint or None, command or None
    if not config["Entrypoint"] and not config["Cmd"]:
        raise NoCommand


def _working_directory(config: dict[str, Any]) -> None:
    path = config["WorkingDir"]
    if not path:
        return
    if not path.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{path}' is invalid, it needs to be an absolute path",
            hint="begin it with a slash",
        )
    # normpath keeps two slashes in front, which POSIX lets mean something else.
    config["WorkingDir"] = "/" + posixpath.normpath(path).lstrip("/")


def command_line(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Program and arguments."""
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    return words[0], words[1:]
