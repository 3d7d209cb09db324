"""``--security-opt``: no-new-privileges, seccomp, apparmor, SELinux labels.

option  = "no-new-privileges" [ ( ":" | "=" ) bool ]
        | "seccomp" ( ":" | "=" ) ( "unconfined" | "builtin" | JSON )
        | "apparmor" ( ":" | "=" ) name
        | "label" ( ":" | "=" ) text
        | "systempaths=unconfined" ;        (the door turns that into MaskedPaths, ReadonlyPaths)

Source: moby ``daemon/daemon_unix.go`` (parseSecurityOpt).
"""

from __future__ import annotations

from collections.abc import Iterable

from onggi.errors import InvalidArgument
from onggi.record import record

__all__ = ["UNCONFINED", "InvalidSecurityOption", "Security", "parse_security_options"]

UNCONFINED = "unconfined"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class InvalidSecurityOption(InvalidArgument):
    """A security option that is none."""

    def __init__(self, option: str, reason: str = "") -> None:
        super().__init__(
            f'invalid --security-opt {reason or "2"}: "{option}"',
            hint="known: no-new-privileges, seccomp=…, apparmor=…, label=…, systempaths=unconfined",
        )


@record
class Security:
    """``seccomp`` is empty (the default profile), ``unconfined``, or a profile's JSON text."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    labels: tuple[str, ...] = ()


def parse_security_options(options: Iterable[str], *, no_new_privileges: bool = False) -> Security:
    """The settings; ``no_new_privileges`` is the engine's default. Raises InvalidSecurityOption."""
    values = {"seccomp": "", "apparmor": ""}
    labels: list[str] = []
    for option in options:
        key, value = _split(option)
        if key == "no-new-privileges":
            no_new_privileges = _bool(option, value)
        elif key == "label":
            labels.append(value)
        elif key in values:
            values[key] = "" if (key, value) == ("seccomp", "builtin") else value
        else:
            raise InvalidSecurityOption(option)
    return Security(no_new_privileges, values["seccomp"], values["apparmor"], tuple(labels))


def _split(option: str) -> tuple[str, str]:
    """At the first ``=``, else (Docker before 1.11) at the first colon."""
    if option == "no-new-privileges":
        return option, "true"
    for separator in "=:":
        key, found, value = option.partition(separator)
        if found:
            return key, value
    raise InvalidSecurityOption(option, "1")


def _bool(option: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise InvalidSecurityOption(option)
    return value in _TRUE
