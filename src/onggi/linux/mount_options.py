"""Options of a mount as fstab writes them, and the mount they ask for.

``ro,nosuid,size=1m`` is flags for the kernel and, what is no flag, words for the file system; of
two flags that exclude each other the last one holds. Source: moby ``sys/mount/flags_unix.go``.
"""

from __future__ import annotations

from onggi.linux.mount_calls import MS_BIND, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, mount
from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.linux.mount_calls import Name

__all__ = ["MountOptions", "mount_with", "parse_mount_options"]

_NOSUID, _NODEV, _NOEXEC, _SYNCHRONOUS, _MANDLOCK, _DIRSYNC = 2, 4, 8, 16, 64, 128
_NOATIME, _NODIRATIME, _RELATIME, _STRICTATIME = 1 << 10, 1 << 11, 1 << 21, 1 << 24
_UNBINDABLE, _SLAVE, _SHARED = 1 << 17, 1 << 19, 1 << 20
_SET = {
    "ro": MS_RDONLY,
    "nosuid": _NOSUID,
    "nodev": _NODEV,
    "noexec": _NOEXEC,
    "sync": _SYNCHRONOUS,
    "dirsync": _DIRSYNC,
    "remount": MS_REMOUNT,
    "mand": _MANDLOCK,
    "noatime": _NOATIME,
    "nodiratime": _NODIRATIME,
    "bind": MS_BIND,
    "rbind": MS_BIND | MS_REC,
    "relatime": _RELATIME,
    "strictatime": _STRICTATIME,
}
_CLEARED = {
    "rw": MS_RDONLY,
    "suid": _NOSUID,
    "dev": _NODEV,
    "exec": _NOEXEC,
    "async": _SYNCHRONOUS,
    "nomand": _MANDLOCK,
    "atime": _NOATIME,
    "diratime": _NODIRATIME,
    "norelatime": _RELATIME,
    "nostrictatime": _STRICTATIME,
    "defaults": 0,
}
_PROPAGATION = {
    "unbindable": _UNBINDABLE,
    "runbindable": _UNBINDABLE | MS_REC,
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": _SLAVE,
    "rslave": _SLAVE | MS_REC,
    "shared": _SHARED,
    "rshared": _SHARED | MS_REC,
}


@record
class MountOptions:
    """``flags`` and ``propagation`` are MS_*; ``data`` is for the file system."""

    flags: int
    propagation: int
    data: str


def parse_mount_options(text: str) -> MountOptions:
    """The options in ``text``, separated by commas."""
    flags, propagation, data = 0, 0, []
    for option in text.split(",") if text else ():
        if option in _SET:
            flags |= _SET[option]
        elif option in _CLEARED:
            flags &= ~_CLEARED[option]
        elif option in _PROPAGATION:
            propagation = _PROPAGATION[option]
        else:
            data.append(option)
    return MountOptions(flags, propagation, ",".join(data))


def mount_with(source: Name, target: Name, filesystem: str, options: MountOptions) -> None:
    """mount(2), and again for what a first call does not do: propagation, a bind that is read-only.

    Raises MountError.
    """
    mount(source, target, filesystem, options.flags, options.data)
    if options.propagation:
        mount("none", target, "", options.propagation)
    if options.flags & MS_BIND and options.flags & MS_RDONLY:
        mount("none", target, "", options.flags | MS_REMOUNT)
