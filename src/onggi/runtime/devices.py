"""Devices of a container: which nodes it gets, which it may use.

The runtime itself makes null, zero, full, random, urandom, tty, ptmx and console. Everything
else comes by ``--device``, ``--device-cgroup-rule`` or ``--privileged``.

Source: OCI runtime-spec, config-linux.md "Devices", "Device allow list"; moby ``oci/devices_linux.go``.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from onggi.errors import InvalidArgument
from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DEFAULT_RULES",
    "DeviceNode",
    "InvalidDevice",
    "allow",
    "cgroup_rules",
    "host_devices",
    "mapped_devices",
    "node_entry",
]

_RULE = r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})"
_FUSE = (10, 229)
# null, zero … by major and minor, in Docker's order: zero, null, urandom, random, tty, console.
_USABLE = ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))
# Below /dev; what they hold belongs to the host's own terminals, queues and containers.
_SKIPPED = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"})


class InvalidDevice(InvalidArgument):
    """A device that is not there, or a rule that is none."""


@record
class DeviceNode:
    """A device special file of the host. ``kind`` is c, b or p; ``mode`` permission bits."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int


def _rule(
    allowed: bool, access: str, kind: str = "", major: int | None = None, minor: int | None = None
) -> Any:
    rule: dict[str, Any] = {"allow": allowed}
    optional = {"type": kind or None, "major": major, "minor": minor}
    rule |= {key: value for key, value in optional.items() if value is not None}
    return {**rule, "access": access}


DEFAULT_RULES: tuple[dict[str, Any], ...] = (
    _rule(False, "rwm"),
    *(_rule(True, "rwm", "c", major, minor) for major, minor in _USABLE),
    _rule(False, "rwm", "c", *_FUSE),
)
"""``linux.resources.devices`` of a container that asks for nothing; the last rule that fits holds."""

ANY: tuple[dict[str, Any], ...] = (_rule(True, "rwm"),)
"""The same for a privileged one."""


def cgroup_rules(rules: Iterable[str]) -> list[dict[str, Any]]:
    """``--device-cgroup-rule``: ``c 42:* rmw``. Raises InvalidDevice."""
    return [_parse_rule(rule) for rule in rules]


def _parse_rule(text: str) -> dict[str, Any]:
    match = re.fullmatch(_RULE, text)
    if match is None:
        raise InvalidDevice(
            f"invalid device cgroup rule format: '{text}'", hint="the form is 'TYPE MAJOR:MINOR ACCESS'"
        )
    kind, major, minor, access = match.groups()
    # The runtime takes -1 for every number.
    numbers = (-1 if number == "*" else int(number) for number in (major, minor))
    return _rule(True, access, kind, *numbers)  # type: ignore[no-any-return]


def allow(node: DeviceNode, access: str) -> dict[str, Any]:
    """The rule that lets a container use ``node``; ``access`` is made of r, w, m."""
    return _rule(True, access, node.kind, node.major, node.minor)  # type: ignore[no-any-return]


def node_entry(node: DeviceNode) -> dict[str, Any]:
    """An entry of ``linux.devices``."""
    return {
        "path": node.path,
        "type": node.kind,
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
    }


# --- looking at the host --------------------------------------------------------------------


def mapped_devices(on_host: str, in_container: str) -> list[DeviceNode]:
    """The nodes of ``--device HOST:CONTAINER``: one, or every node below a directory.

    Raises InvalidDevice.
    """
    path = os.path.realpath(on_host)
    try:
        if not os.path.isdir(path):
            node = _node(path, in_container)
            if node is None:
                raise InvalidDevice(_gathering(on_host, "not a device node"))
            return [node]
        found = list(_below(path, in_container))
    except OSError as error:
        raise InvalidDevice(_gathering(on_host, (error.strerror or str(error)).lower())) from error
    if not found:
        raise InvalidDevice(_gathering(on_host, "no device nodes in it"))
    return found


def _gathering(path: str, reason: str) -> str:
    return f'error gathering device information while adding custom device "{path}": {reason}'


def _below(directory: str, in_container: str) -> Iterator[DeviceNode]:
    for parent, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            node = _node(path, os.path.join(in_container, os.path.relpath(path, directory)))
            if node is not None:
                yield node


def host_devices(directory: Path = Path("/dev")) -> list[DeviceNode]:
    """Every device node of the host but those of its terminals: what ``--privileged`` gives."""
    return list(_all_below(directory))


def _all_below(directory: Path) -> Iterator[DeviceNode]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return  # it went away, or is somebody else's
    for name in names:
        path = directory / name
        if name in _SKIPPED:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _all_below(path)
        else:
            node = _node_if_readable(str(path))
            if node is not None:
                yield node


def _node_if_readable(path: str) -> DeviceNode | None:
    try:
        return _node(path, path)
    except OSError:
        return None


def _node(path: str, shown: str) -> DeviceNode | None:
    """None for what is no device; symbolic links are none."""
    status = os.lstat(path)
    kinds = ((stat.S_ISCHR, "c"), (stat.S_ISBLK, "b"), (stat.S_ISFIFO, "p"))
    kind = next((letter for test, letter in kinds if test(status.st_mode)), None)
    if kind is None:
        return None
    return DeviceNode(
        shown,
        kind,
        os.major(status.st_rdev),
        os.minor(status.st_rdev),
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
    )
