"""What is mounted in a container besides its root: the kernel's file systems, binds, tmpfs.

A user's mount at a default's place replaces it; one at ``/dev`` replaces all below as well.

Source: moby ``daemon/oci_linux.go`` (WithMounts), ``oci/defaults.go``, ``pkg/mount`` (MergeTmpfsOptions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onggi.errors import InvalidArgument
from onggi.oci.quoting import quoted
from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "InvalidTmpfsOption",
    "Mount",
    "NotDeep",
    "masked_paths",
    "merged_tmpfs_options",
    "mount_entries",
    "readonly_paths",
    "tmpfs_size_options",
]


@record
class Mount:
    """One mount of a user or of the engine.

    ``source`` is an absolute path of the host, or ``tmpfs``; then ``options`` are tmpfs's.
    ``propagation`` is empty or one of private, rprivate, shared, rshared, slave, rslave. Of what is
    not ``writable``: what is mounted below it is not either, where that is possible (``deep`` None),
    stays as it is (False), or must not be (True).
    """

    source: str
    destination: str
    writable: bool = True
    propagation: str = "rprivate"
    options: str = ""
    recursive: bool = True
    deep: bool | None = None

    @property
    def is_tmpfs(self) -> bool:
        """True for memory instead of a place on the host."""
        return self.source == "tmpfs"


_NO_NO_NO = ("nosuid", "noexec", "nodev")
_SHM = "/dev/shm"  # noqa: S108  a place in the container
_DEFAULTS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("/proc", "proc", "proc", _NO_NO_NO),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("/sys", "sysfs", "sysfs", (*_NO_NO_NO, "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", *_NO_NO_NO)),
    ("/dev/mqueue", "mqueue", "mqueue", _NO_NO_NO),
    (_SHM, "tmpfs", "shm", (*_NO_NO_NO, "mode=1777")),
)
# Stay writable in a container whose root is not.
_ALWAYS_WRITABLE = frozenset({"/proc", "/dev", "/dev/pts", _SHM, "/dev/mqueue"})
DEFAULT_SHM_BYTES = 64 * 1024 * 1024

_MASKED_20 = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
)
_MASKED_28 = (*_MASKED_20, "/proc/interrupts", "/sys/devices/virtual/powercap")
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def masked_paths(host_config: Mapping[str, Any], thermal: Sequence[str], compat: str) -> list[str]:
    """``linux.maskedPaths``; ``thermal`` are the throttle counters of this host (GHSA-6fw5-f8r9-fgfm)."""
    if host_config.get("Privileged"):
        return []
    if host_config.get("MaskedPaths") is not None:
        return list(host_config["MaskedPaths"])
    return list(_MASKED_20) if compat == "20.10" else [*_MASKED_28, *thermal]


def readonly_paths(host_config: Mapping[str, Any]) -> list[str]:
    """``linux.readonlyPaths``."""
    if host_config.get("Privileged"):
        return []
    given = host_config.get("ReadonlyPaths")
    return list(_READ_ONLY if given is None else given)


def mount_entries(
    host_config: Mapping[str, Any], mounts: Iterable[Mount], *, deep: bool = False
) -> list[dict[str, Any]]:
    """``mounts`` of the runtime spec: defaults first, then the others, shallow ones first.

    ``deep``: the kernel makes what is mounted below a mount read-only too. Raises
    InvalidTmpfsOption, NotDeep.
    """
    wanted = sorted(mounts, key=lambda mount: _depth(mount.destination))
    taken = {mount.destination for mount in wanted}
    entries = _defaults(host_config, taken)
    entries += [_entry(mount, deep) for mount in wanted]
    if host_config.get("ReadonlyRootfs"):
        _make_read_only(entries, taken)
    if host_config.get("Privileged"):
        _make_writable(entries)
    return entries


def _depth(destination: str) -> int:
    return len([part for part in destination.split("/") if part])


def _defaults(host_config: Mapping[str, Any], taken: set[str]) -> list[dict[str, Any]]:
    entries = []
    for destination, kind, source, options in _DEFAULTS:
        if destination in taken or ("/dev" in taken and destination.startswith("/dev/")):
            continue
        given = list(options)
        if destination == _SHM:
            if host_config.get("IpcMode") == "none":
                continue
            given.append(f"size={host_config.get('ShmSize') or DEFAULT_SHM_BYTES}")
        entries.append({"destination": destination, "type": kind, "source": source, "options": given})
    return entries


class NotDeep(InvalidArgument):
    """What is mounted below a mount cannot be made read-only."""

    def __init__(self, destination: str) -> None:
        super().__init__(
            f"mount on {destination}: recursively read-only mounts are not supported here",
            hint="they need Linux 5.12 (and compat 28); bind-recursive=writable does without",
        )


def _read_only(mount: Mount, deep: bool) -> str:
    if mount.deep and not deep:
        raise NotDeep(mount.destination)
    return "rro" if deep and mount.deep is not False else "ro"


def _entry(mount: Mount, deep: bool) -> dict[str, Any]:
    if mount.is_tmpfs:
        base = ["noexec", "nosuid", "nodev", "rprivate"]
        options = merged_tmpfs_options([*base, *(option for option in mount.options.split(",") if option)])
        return {"destination": mount.destination, "type": "tmpfs", "source": "tmpfs", "options": options}
    options = ["rbind" if mount.recursive else "bind"]
    if not mount.writable:
        options.append(_read_only(mount, deep))
    if mount.propagation:
        options.append(mount.propagation)
    return {"destination": mount.destination, "type": "bind", "source": mount.source, "options": options}


def _make_read_only(entries: list[dict[str, Any]], taken: set[str]) -> None:
    for entry in entries:
        destination = entry["destination"]
        if destination not in _ALWAYS_WRITABLE and destination not in taken and "ro" not in entry["options"]:
            entry["options"].append("ro")


def _make_writable(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        if entry["destination"] == "/sys" or entry["type"] == "cgroup":
            entry["options"] = [option for option in entry["options"] if option != "ro"]


# --- tmpfs options ----------------------------------------------------------------------------

_PROPAGATION = frozenset(
    {"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"}
)
# What excludes each other: of each pair the last one given holds.
_FLAGS = {
    "ro": "ro",
    "rw": "ro",
    "suid": "suid",
    "nosuid": "suid",
    "dev": "dev",
    "nodev": "dev",
    "exec": "exec",
    "noexec": "exec",
    "sync": "sync",
    "async": "sync",
    "dirsync": "dirsync",
    "remount": "remount",
    "mand": "mand",
    "nomand": "mand",
    "atime": "atime",
    "noatime": "atime",
    "diratime": "diratime",
    "nodiratime": "diratime",
    "relatime": "relatime",
    "norelatime": "relatime",
    "strictatime": "strictatime",
    "nostrictatime": "strictatime",
    "bind": "bind",
    "rbind": "rbind",
    **dict.fromkeys(_PROPAGATION, "propagation"),
}
_DATA = frozenset({"", "size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})


class InvalidTmpfsOption(InvalidArgument):
    """An option that a tmpfs does not have."""

    def __init__(self, option: str) -> None:
        words = " ".join(quoted(word) for word in option.split("=", 1))
        super().__init__(
            f"Invalid tmpfs option [{words}]", hint="tmpfs takes size, mode, uid, gid and mount flags"
        )


def merged_tmpfs_options(options: Sequence[str]) -> list[str]:
    """``options`` without those that a later one overrides. Raises InvalidTmpfsOption."""
    kept: list[str] = []
    seen: set[str] = set()
    for option in reversed(options):
        if option == "defaults":
            continue
        key = _tmpfs_key(option)
        if key not in seen:
            seen.add(key)
            kept.append(option)
    return kept[::-1]


def _tmpfs_key(option: str) -> str:
    flag = _FLAGS.get(option)
    if flag is not None:
        return f"flag {flag}"
    name, equals, _ = option.partition("=")
    if not equals or name not in _DATA:
        raise InvalidTmpfsOption(option)
    return f"data {name}"


def tmpfs_size_options(size_bytes: int, mode: int, *, read_only: bool) -> str:
    """The options of ``--mount type=tmpfs``; a size is written in the largest unit that fits exactly."""
    options = ["ro"] if read_only else []
    if mode:
        options.append(f"mode={mode:o}")
    if size_bytes:
        size, suffix = size_bytes, ""
        for unit in "kmg":
            if size % 1024:
                break
            size, suffix = size // 1024, unit
        options.append(f"size={size}{suffix}")
    return ",".join(options)
