"""Which capabilities a container has: Docker's fourteen, what is added and dropped, what the host can give.

Source: moby ``oci/caps``; capabilities(7).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onggi.errors import InvalidArgument

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DEFAULT", "UnknownCapability", "clamped", "container_capabilities", "granted", "normalised"]

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
"""What a container has when nothing is said, in Docker's order."""

_ALL = "ALL"


class UnknownCapability(InvalidArgument):
    """A word after ``--cap-add`` or ``--cap-drop`` that names no capability."""

    def __init__(self, field: str, name: str) -> None:
        super().__init__(
            f'invalid {field}: unknown capability: "{name}"',
            hint="names are those of capabilities(7), with or without CAP_; ALL means every one",
        )
        self.name = name


def normalised(names: Iterable[str], known: Sequence[str], field: str) -> list[str]:
    """``names`` with prefix and in capitals; ``ALL`` stays. ``field`` is CapAdd or CapDrop, for the error.

    Raises UnknownCapability.
    """
    found = []
    for name in names:
        upper = name.upper()
        if upper != _ALL and not upper.startswith("CAP_"):
            upper = f"CAP_{upper}"
        if upper != _ALL and upper not in known:
            raise UnknownCapability(field, upper)
        found.append(upper)
    return found


def granted(
    known: Sequence[str], *, add: Iterable[str] = (), drop: Iterable[str] = (), privileged: bool = False
) -> list[str]:
    """The capabilities of a container; ``known`` are all that this kernel has, by number.

    ``ALL`` among the added wins over ``ALL`` among the dropped. Raises UnknownCapability.
    """
    if privileged:
        return list(known)
    adds, drops = normalised(add, known, "CapAdd"), normalised(drop, known, "CapDrop")
    if _ALL in adds:
        return [name for name in known if name not in drops]
    if _ALL in drops:
        return adds
    return [name for name in DEFAULT if name not in drops] + adds


def clamped(names: Iterable[str], bounding: frozenset[str]) -> tuple[list[str], list[str]]:
    """``names`` once each, in order, that this process can pass on; and those it cannot."""
    unique = list(dict.fromkeys(names))
    kept = [name for name in unique if name in bounding]
    return kept, [name for name in unique if name not in bounding]


def container_capabilities(
    host_config: Mapping[str, Any], known: Sequence[str], bounding: frozenset[str]
) -> tuple[list[str], list[str]]:
    """What a container gets, and what this host cannot give. Raises UnknownCapability."""
    wanted = granted(
        known,
        add=host_config.get("CapAdd") or (),
        drop=host_config.get("CapDrop") or (),
        privileged=bool(host_config.get("Privileged")),
    )
    return clamped(wanted, bounding)
