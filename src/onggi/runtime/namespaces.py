"""Which namespaces a container has for itself, and which it shares.

Modes are Docker's: empty or ``private``, ``host``, ``container:<id>``; for ipc also
``shareable`` and ``none``; for the network any name of a network.

Source: moby ``daemon/oci_linux.go`` (WithNamespaces); ``api/types/container/hostconfig.go``.
"""

from __future__ import annotations

from collections.abc import Mapping

from onggi.errors import InvalidArgument

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "OWN_SYSCTLS",
    "OWN_SYSCTL_PREFIXES",
    "InvalidMode",
    "check_modes",
    "is_mode",
    "is_private_network",
    "namespaces",
    "shared_container",
]

_CONTAINER = "container:"
_FIELDS = {
    "ipc": "IpcMode",
    "pid": "PidMode",
    "uts": "UTSMode",
    "cgroup": "CgroupnsMode",
    "user": "UsernsMode",
}
_WORDS = {
    "ipc": ("", "private", "host", "shareable", "none"),
    "pid": ("", "host"),
    "uts": ("", "host"),
    "cgroup": ("", "private", "host"),
    "user": ("", "host"),
}
_JOINABLE = ("ipc", "pid")
_NAMES = {"ipc": "IPC", "pid": "PID", "uts": "UTS", "cgroup": "cgroup namespace", "user": "USER"}

OWN_SYSCTLS = tuple(
    f"kernel.{name}"
    for name in ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"]
)
OWN_SYSCTL_PREFIXES = ("net.", "fs.mqueue.")
"""Settings of the kernel that belong to a namespace; every other one is the host's."""


class InvalidMode(InvalidArgument):
    """A mode that does not exist."""

    def __init__(self, kind: str, mode: str) -> None:
        words = ", ".join(word for word in _WORDS[kind] if word)
        joined = ", container:NAME" if kind in _JOINABLE else ""
        super().__init__(f"invalid {_NAMES[kind]} mode: {mode}", hint=f"possible: {words}{joined}")


def check_modes(host_config: Mapping[str, Any]) -> None:
    """Raises InvalidMode."""
    for kind, field in _FIELDS.items():
        mode = host_config.get(field) or ""
        if not _is_mode(kind, mode):
            raise InvalidMode(kind, mode)


_FLAGS = {"ipc": "ipc", "pid": "pid", "uts": "uts", "cgroupns": "cgroup", "userns": "user"}


def is_mode(flag: str, mode: str) -> bool:
    """True for a mode that exists; ``flag`` is Docker's word (``userns``)."""
    return _is_mode(_FLAGS[flag], mode)


def _is_mode(kind: str, mode: str) -> bool:
    joined = kind in _JOINABLE and mode.startswith(_CONTAINER) and len(mode) > len(_CONTAINER)
    return joined or mode in _WORDS[kind]


def shared_container(mode: str | None) -> str | None:
    """The container that ``container:<id>`` names, or None."""
    return mode.removeprefix(_CONTAINER) if mode and mode.startswith(_CONTAINER) else None


def is_private_network(mode: str | None) -> bool:
    """True when the container's network namespace is its own."""
    return mode != "host" and shared_container(mode) is None


def namespaces(host_config: Mapping[str, Any], joined: Mapping[str, str]) -> list[dict[str, str]]:
    """``linux.namespaces``.

    ``joined`` maps a kind (network, ipc, pid) to the path of a namespace made elsewhere:
    another container's, or one with its interfaces already in it. A shared kind without a
    path is the host's. Raises InvalidMode.
    """
    check_modes(host_config)
    shared = {
        "network": host_config.get("NetworkMode") == "host",
        "uts": host_config.get("UTSMode") == "host",
        "pid": host_config.get("PidMode") == "host",
        "ipc": host_config.get("IpcMode") == "host",
        "cgroup": host_config.get("CgroupnsMode") != "private",
    }
    found = [{"type": "mount"}]
    for kind, is_shared in shared.items():
        if kind in joined:
            found.append({"type": kind, "path": joined[kind]})
        elif not is_shared:
            found.append({"type": kind})
    return found
