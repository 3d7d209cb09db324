"""Removing containers, and settling those whose supervisor was killed.

A container that is to go is marked ``Dead`` first; whoever finds it so goes on removing it.
"""

from __future__ import annotations

import os

from onggi.engine.containers.networking import Networks
from onggi.engine.containers.start import container_runtime, event_attributes, supervisor_lock
from onggi.engine.core import Core
from onggi.errors import Conflict, OnggiError
from onggi.linux.filesystem import is_mountpoint
from onggi.oci.timestamps import format_ns
from onggi.runtime.client import running_directory
from onggi.runtime.supervisor.network import clear_settings
from onggi.store.atomic import remove_tree
from onggi.store.containers import CorruptContainer, StoredContainer
from onggi.store.journal import Event

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ContainerIsRunning", "is_running", "remove_container", "settle"]

_KILLED = 137


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


def is_running(core: Core, stored: StoredContainer) -> bool:
    """True when a supervisor watches it. What the file alone says may be older than a crash."""
    return bool(stored.state.get("Running")) and core.locks.is_held(supervisor_lock(stored.id))


def settle(core: Core, networks: Networks, stored: StoredContainer) -> StoredContainer | None:
    """Give a container whose supervisor was killed, or that a crash left half removed, a true state.

    Rule: what runs without a supervisor is ended (its output goes nowhere, its exit code to
    nobody); what was to be removed at its end, or was being removed, is removed. Returns it
    as it is then, None when it is gone. Inside :meth:`Core.writing`.
    """
    state = stored.state
    stale = state.get("Running") or state.get("Pid")
    doomed = state.get("Dead") or state.get("RemovalInProgress")
    if not (stale or doomed or (stored.auto_remove and stored.document.get("HasBeenStartedBefore"))):
        return stored
    lease = core.locks.try_acquire(supervisor_lock(stored.id), exclusive=True)
    if lease is None:
        return stored
    with lease:
        current = core.containers.get(stored.id)
        if current is None:
            lease.release(remove=True)
            return None
        if current.state.get("Running") or current.state.get("Pid"):
            _end(core, networks, current)
        if doomed or current.auto_remove:
            _remove(core, networks, current)
            lease.release(remove=True)
            return None
    return core.containers.get(stored.id)


def _end(core: Core, networks: Networks, stored: StoredContainer) -> None:
    """Kill what is left of it; the runtime knows its processes by more than their numbers."""
    try:
        container_runtime(core, stored.host_config).delete(stored.id, force=True)
    except OnggiError:
        pass  # the runtime is gone, or never knew it: after a reboot there is nothing to kill
    networks.disconnect(stored.id)
    _clear(core, stored.id)

    def change(document: dict[str, Any]) -> None:
        from time import time_ns

        document["State"].update(
            Running=False,
            Paused=False,
            Restarting=False,
            Pid=0,
            ExitCode=_KILLED,
            FinishedAt=format_ns(time_ns()),
        )
        clear_settings(document)

    core.containers.update(stored.id, change)
    _emit(core, "die", stored, exitCode=str(_KILLED))


def _clear(core: Core, id: str) -> None:
    """The running directory, and mounts that were made in the host's own namespace."""
    remove_tree(running_directory(core.config.exec_root, id))
    try:
        layer = core.writable.get(id)
    except OnggiError:
        return
    _unmount(str(core.writable.rootfs(layer)))
    _unmount(str(core.containers.path(id) / "mounts" / "shm"))


def _unmount(path: str) -> None:
    from onggi.linux.mount import unmount

    if os.path.isdir(path) and is_mountpoint(path):
        unmount(path)


def remove_container(core: Core, networks: Networks, id: str, *, force: bool = False) -> None:
    """Delete it; inside :meth:`Core.writing`. Raises ContainerIsRunning (without ``force``: stop first)."""
    try:
        stored = core.containers.get(id)
    except CorruptContainer:
        if not force:
            raise
        stored = None
    lease = core.locks.try_acquire(supervisor_lock(id), exclusive=True)
    if lease is None:
        if stored is not None and stored.state.get("Running"):
            raise ContainerIsRunning(id, stored.name, core.config.compat)
        # It is ending, starting or being removed by somebody else: that is over soon.
        lease = core.locks.acquire(supervisor_lock(id), exclusive=True)
    with lease:
        if stored is None:
            _remove_files(core, id)
        else:
            _remove(core, networks, stored)
        lease.release(remove=True)


def _remove(core: Core, networks: Networks, stored: StoredContainer) -> None:
    if not stored.auto_remove:
        core.containers.update(stored.id, _doom)
    networks.disconnect(stored.id)
    _clear(core, stored.id)
    _remove_files(core, stored.id)
    _emit(core, "destroy", stored)


def _doom(document: dict[str, Any]) -> None:
    document["State"].update(Running=False, RemovalInProgress=True, Dead=True)


def _remove_files(core: Core, id: str) -> None:
    core.writable.remove(id)
    core.trash.discard(core.containers.path(id))
    core.containers.lock_path(id).unlink(missing_ok=True)


def _emit(core: Core, action: str, stored: StoredContainer, **more: str) -> None:
    from time import time_ns

    attributes = {**event_attributes(stored), **more}
    core.journal.append(Event("container", action, stored.id, attributes, time_ns()))
