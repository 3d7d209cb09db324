"""Removing containers, and settling those that a crash left behind.

The rule. A supervisor holds its container's lease for life, and the kernel takes it away whenever
it dies; who starts or removes a container holds it meanwhile. So when something says that a
container runs (its file, its directory or the runtime's below the exec root) and the lease is free, its
supervisor was killed, or the host was switched off. Whoever meets such a container, by its
name or in a list, settles it before anything else:

1. What still runs of it is ended: its output would go nowhere and its exit code to nobody. It is
   found by the name of its control group, never by a process number out of a file, which may be
   somebody else's by now. The runtime, which dies with the supervisor, cannot bring it back.
2. The runtime's state, the network, mounts and the running directory go.
3. Its file says so: exit code 137 if it was running. A start that was cut off leaves what was.
4. What was to go at its end (``--rm``), or was being removed (``Dead``), is removed.

Containers that a Docker daemon ran here, which have no lock of ours, are settled by commands that
name them to change them, not by looks.

A container that is to go is marked ``Dead`` first; whoever finds it so goes on removing it.
"""

from __future__ import annotations

import os
import time

from onggi.engine.containers.container_events import emit
from onggi.engine.containers.networking import Networks
from onggi.engine.containers.running import has_run, is_doomed, is_unsettled, supervisor_lock
from onggi.engine.containers.start import end_processes
from onggi.engine.containers.start_mounts import remove_bundle
from onggi.engine.core import Core
from onggi.errors import Conflict, OnggiError
from onggi.linux.filesystem import is_mountpoint
from onggi.oci.timestamps import format_ns
from onggi.runtime.directories import running_directory
from onggi.runtime.supervisor.network import clear_settings
from onggi.store.containers import CorruptContainer, StoredContainer
from onggi.store.locks import Lease

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ContainerIsRunning", "remove_container", "settle"]

_KILLED = 137
# Seconds between two looks at a container that somebody has: the supervisor of 'run --rm' ends in a few
# thousandths.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.0005, 0.1


class ContainerIsRunning(Conflict):
    """A running container is not removed unasked."""

    def __init__(self, id: str, name: str, compat: str) -> None:
        if compat == "20.10":
            message = (
                f"You cannot remove a running container {id}. Stop the container before attempting "
                "removal or force remove"
            )
        else:
            message = (
                f'cannot remove container "/{name}": container is running: stop the container before '
                "removing or force remove"
            )
        super().__init__(message)


def settle(core: Core, networks: Networks, stored: StoredContainer) -> StoredContainer | None:
    """Give a container that a crash left behind a true state, by the rule above.

    Returns it as it is then, None when it is gone. Inside :meth:`Core.writing`.
    """
    if not is_unsettled(core, stored):
        return stored
    lease = core.locks.try_acquire(supervisor_lock(stored.id), exclusive=True)
    if lease is None:
        return stored
    with lease:
        current = core.containers.get(stored.id)
        if current is None:
            lease.release(remove=True)
            return None
        if has_run(core, current):
            _end(core, networks, current)
        if is_doomed(current):
            _remove(core, networks, current)
            lease.release(remove=True)
            return None
    return core.containers.get(stored.id)


def _end(core: Core, networks: Networks, stored: StoredContainer) -> None:
    """Kill what is left of it, and say so."""
    end_processes(core, stored)
    networks.disconnect(stored.id)
    _clear(core, stored)
    if not (stored.state.get("Running") or stored.state.get("Pid")):
        return
    killed = bool(stored.state.get("Pid"))

    def change(document: dict[str, Any]) -> None:
        document["State"].update(Running=False, Paused=False, Restarting=False, Pid=0)
        if killed:
            document["State"].update(ExitCode=_KILLED, FinishedAt=format_ns(time.time_ns()))
        if document["State"].get("Health"):
            document["State"]["Health"]["Status"] = "unhealthy"  # as of every container that does not run
        clear_settings(document)

    core.containers.update(stored.id, change)
    if killed:
        emit(core, "die", stored, exitCode=str(_KILLED))


def _clear(core: Core, stored: StoredContainer) -> None:
    """The running directory, and mounts that were made in the host's own namespace."""
    id = stored.id
    _let_go_of_volumes(core, stored)
    remove_bundle(running_directory(core.config.exec_root, id))
    try:
        layer = core.writable.get(id)
    except OnggiError:
        return
    rootfs = str(core.writable.rootfs(layer))
    _unmount(rootfs)
    _unmount(str(core.containers.path(id) / "mounts" / "shm"))
    try:
        os.rmdir(rootfs)
    except OSError:
        pass  # it is not there


def _let_go_of_volumes(core: Core, stored: StoredContainer) -> None:
    """A supervisor that was killed unmounted none."""
    if not stored.document.get("MountPoints"):
        return
    from onggi.engine.containers.mount_points import volumes_of
    from onggi.engine.volume_mounts import VolumeMounts

    for name in volumes_of(stored):
        if core.volumes.exists(name):
            VolumeMounts(core).let_go(core.volumes.get(name))


def _unmount(path: str) -> None:
    from onggi.linux.mount import unmount

    if os.path.isdir(path) and is_mountpoint(path):
        unmount(path)


def remove_container(
    core: Core, networks: Networks, id: str, *, force: bool = False, volumes: bool = False
) -> None:
    """Delete it, with ``volumes`` also those that are its own; inside :meth:`Core.writing`.

    Raises ContainerIsRunning (without ``force``: stop first).
    """
    try:
        stored = core.containers.get(id)
    except CorruptContainer:
        if not force:
            raise
        stored = None
    lease = _lease_of(core, id, stored)
    with lease:
        if stored is None:
            _remove_files(core, id)
        elif (current := core.containers.get(id)) is not None:  # else somebody was quicker
            _remove(core, networks, current, volumes=volumes)
        lease.release(remove=True)


def _lease_of(core: Core, id: str, stored: StoredContainer | None) -> Lease:
    """Of a container that is ending, being started or being removed by somebody else once that is over.

    Whoever starts it hands the lease on for as long as it runs, so nobody waits for that blindly.
    Raises ContainerIsRunning.
    """
    wait_s = _FIRST_WAIT_S
    while (lease := core.locks.try_acquire(supervisor_lock(id), exclusive=True)) is None:
        if stored is not None and stored.state.get("Running"):
            raise ContainerIsRunning(id, stored.name, core.config.compat)
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, _LONGEST_WAIT_S)
        stored = core.containers.get(id) if stored is not None else None
    return lease


def _remove(core: Core, networks: Networks, stored: StoredContainer, *, volumes: bool = False) -> None:
    if not stored.auto_remove:
        core.containers.update(stored.id, _doom)
    if has_run(core, stored):
        end_processes(core, stored)
    networks.disconnect(stored.id)
    _clear(core, stored)
    _remove_files(core, stored.id)
    if volumes or stored.auto_remove:
        _remove_volumes(core, stored)
    emit(core, "destroy", stored)


def _remove_volumes(core: Core, stored: StoredContainer) -> None:
    """Those that nobody named, unless another container has them too; a failure leaves them to prune."""
    if not stored.document.get("MountPoints"):
        return
    from onggi.engine.containers.mount_points import volumes_of

    own = [name for name, unnamed in volumes_of(stored).items() if unnamed]
    if not own:
        return
    from onggi.engine.volumes import remove_volume

    for name in own:
        try:
            remove_volume(core, name)
        except OnggiError:
            continue


def _doom(document: dict[str, Any]) -> None:
    document["State"].update(Running=False, RemovalInProgress=True, Dead=True)


def _remove_files(core: Core, id: str) -> None:
    core.writable.remove(id)
    core.trash.discard(core.containers.path(id))
    core.containers.lock_path(id).unlink(missing_ok=True)
