"""What killed commands left of volumes that are gone: notes about them, and their locks.

A volume is its directory. Whatever else names it (the database's entry, the note that it is being
filled) is written before that comes and deleted after it goes, under the lease ``volume-<name>``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from onggi.engine.core import Core
from onggi.engine.gc import Found, goes
from onggi.engine.marks import listdir
from onggi.engine.sweep_files import remove_lock
from onggi.engine.volume_mounts import volume_lock
from onggi.store.bolt import CorruptDatabase

__all__ = ["volumes"]

_PREFIXES = (volume_lock(""), "volume-")
"""Of locks: of who has it mounted, and of who makes or removes it. A volume may be called ``mount-…``."""


def volumes(core: Core) -> Iterator[Found]:
    """Notes first: they are removed under the locks."""
    for name in _noted(core):
        if not core.volumes.exists(name):
            path, reason = core.volumes.path(name).parent, "its volume is gone"
            yield goes("volume note", name[:12], path, reason, partial(_forget, core, name))
    for lock in listdir(core.layout.locks):
        names = [lock.removeprefix(prefix) for prefix in _PREFIXES if lock.startswith(prefix)]
        if names and not any(map(core.volumes.exists, names)) and not core.locks.is_held(lock):
            path, reason = core.layout.locks / lock, "what it stands for is gone"
            yield goes("lock file", lock[:20], path, reason, partial(remove_lock, core, lock))


def _noted(core: Core) -> list[str]:
    try:
        return core.volumes.noted()
    except CorruptDatabase:
        return []  # commands that need it tell of it


def _forget(core: Core, name: str) -> bool:
    lease = core.locks.try_acquire(core.volumes.lock_name(name), exclusive=True)
    if lease is None:
        return False
    with lease:
        forgotten = not core.volumes.exists(name)
        if forgotten:
            core.volumes.forget(name)
            lease.release(remove=True)
    return forgotten
