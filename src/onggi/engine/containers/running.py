"""What says that a container runs, and what says that its supervisor was killed.

Asked of every container in a list, so this knows files and locks only. The rule, and what is
done about it, are in removal.py.
"""

from __future__ import annotations

import os

from onggi.runtime.directories import running_directory, runtime_root

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from pathlib import Path

    from onggi.engine.containers.networking import Networks
    from onggi.engine.core import Core
    from onggi.store.containers import StoredContainer

__all__ = ["has_run", "is_doomed", "is_running", "is_unsettled", "met", "runtime_state", "supervisor_lock"]


def supervisor_lock(id: str) -> str:
    """Held by a container's supervisor, and by who starts or removes it."""
    return f"supervisor-{id}"


def is_running(core: Core, stored: StoredContainer) -> bool:
    """True when a supervisor watches it. What the file alone says may be older than a crash."""
    return bool(stored.state.get("Running")) and core.locks.is_held(supervisor_lock(stored.id))


def runtime_state(core: Core, stored: StoredContainer) -> Path:
    """Where the runtime keeps what it knows of a container: there from its creation to its deletion."""
    runtime = stored.host_config.get("Runtime") or core.config.default_runtime
    return runtime_root(core.config.exec_root, runtime) / stored.id


def has_run(core: Core, stored: StoredContainer) -> bool:
    """True when something says that it runs."""
    if stored.state.get("Running") or stored.state.get("Pid"):
        return True
    exec_root = core.config.exec_root
    places = (running_directory(exec_root, stored.id), runtime_state(core, stored))
    return any(os.path.lexists(path) for path in places)


def is_doomed(stored: StoredContainer) -> bool:
    """True when it was to go, or was going."""
    state, ran = stored.state, stored.document.get("HasBeenStartedBefore")
    return bool(state.get("Dead") or state.get("RemovalInProgress") or (stored.auto_remove and ran))


def is_unsettled(core: Core, stored: StoredContainer) -> bool:
    """True when it runs, or a crash has left it so."""
    return is_doomed(stored) or has_run(core, stored)


def met(core: Core, networks: Networks, stored: StoredContainer) -> StoredContainer | None:
    """A container that somebody looks at, settled if it is to be; None when it is gone by that.

    Where this process may not change the data root it is told as it is: :func:`is_running` is true.
    """
    lock = supervisor_lock(stored.id)
    if not is_unsettled(core, stored) or core.locks.is_held(lock) or not core.locks.path(lock).exists():
        return stored
    from onggi.engine.containers.removal import settle
    from onggi.errors import OnggiError

    try:
        with core.writing():
            return settle(core, networks, stored)
    except (OnggiError, OSError):
        return stored
