"""The control groups of a container: ended and removed by name.

After a crash a number in a file may be any process's; a group that is named after a container has
that container's processes in it and nobody else's. So what a killed supervisor or runtime left is
found here, also where the runtime's own state is gone.

::

    /sys/fs/cgroup/<controller>/docker/<id>/            version 1 (also below ``unified`` and ``systemd``)
    /sys/fs/cgroup/docker/<id>/                         version 2
    /sys/fs/cgroup/system.slice/docker-<id>.scope/      version 2, made by systemd

Source: cgroups(7); Linux Documentation/admin-guide/cgroup-v2.rst (cgroup.kill, cgroup.freeze).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from onggi.runtime.host import HostFacts

__all__ = ["end_groups", "group_path"]

_ROOT = Path("/sys/fs/cgroup")
# Seconds for killed processes to be gone, and between two looks.
_PATIENCE_S, _POLL_S = 10.0, 0.01


def group_path(parent: str, id: str, host: HostFacts) -> str:
    """Where a container's group is below each hierarchy; ``parent`` is HostConfig's, or empty."""
    if not host.systemd:
        return f"{(parent or '/docker').rstrip('/')}/{id}"
    words = (parent or "system.slice").removesuffix(".slice").split("-")
    slices = ["-".join(words[:length]) + ".slice" for length in range(1, len(words) + 1)]
    return f"/{'/'.join(slices)}/docker-{id}.scope"


def end_groups(path: str, *, root: Path = _ROOT) -> bool:
    """Kill every process of the groups at ``path``, frozen ones too, and remove them.

    False when some process does not go (it hangs in the kernel); what is gone already is no error.
    """
    groups = [group for hierarchy in _hierarchies(root) if (group := Path(f"{hierarchy}{path}")).is_dir()]
    end = time.monotonic() + _PATIENCE_S
    while groups:
        for group in groups:
            _kill(group)
        groups = [group for group in groups if not _removed(group)]
        if groups and time.monotonic() > end:
            return False
        if groups:
            time.sleep(_POLL_S)
    return True


def _hierarchies(root: Path) -> Iterator[Path]:
    """The root itself, and the mounts below it where version 1 has one for each controller."""
    yield root
    if not (root / "cgroup.controllers").exists():
        yield from (path for path in _listed(root) if not path.is_symlink())


def _listed(directory: Path) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _kill(group: Path) -> None:
    for below in _listed(group):
        _kill(below)
    if _write(group / "cgroup.kill", "1"):
        return
    for pid in _processes(group):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    # What is frozen dies when it thaws.
    _write(group / "freezer.state", "THAWED")
    _write(group / "cgroup.freeze", "0")


def _processes(group: Path) -> list[int]:
    """Those in sight: a process of another pid namespace is 0."""
    try:
        numbers = (group / "cgroup.procs").read_text().split()
    except OSError:
        return []
    return [int(number) for number in numbers if number != "0"]


def _removed(group: Path) -> bool:
    for below in _listed(group):
        _removed(below)
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: Path, text: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
