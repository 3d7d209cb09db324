"""The end of a supervisor, as commands wait for it and bring it about."""

from __future__ import annotations

import time

from onggi.engine.containers.networking import Networks
from onggi.engine.containers.removal import settle
from onggi.engine.containers.running import supervisor_lock
from onggi.engine.containers.start import end_processes
from onggi.engine.core import Core
from onggi.errors import Conflict
from onggi.runtime.client import NoSupervisor, SupervisorClient
from onggi.store.containers import CorruptContainer

__all__ = ["kill_supervised", "settle_now", "wait_for_supervisor"]

_PATIENCE_S = 10
_POLL_S = 0.002


def settle_now(core: Core, networks: Networks, id: str) -> None:
    """Nobody answers for a container: make its files say so, if they do not."""
    stored = core.containers.get(id)
    if stored is not None:
        with core.writing():
            settle(core, networks, stored)


def wait_for_supervisor(core: Core, id: str) -> None:
    """Until mounts and locks are given back, or it answers: what follows must not find it ending.

    A supervisor that nobody can ask, since its directory was deleted, hears of the end all the same.
    """
    end = time.monotonic() + _PATIENCE_S
    while core.locks.is_held(supervisor_lock(id)) and not _answers(core, id):
        stored = core.containers.get(id)
        if time.monotonic() > end and stored is not None:
            end_processes(core, stored)
        time.sleep(_POLL_S)


def _answers(core: Core, id: str) -> bool:
    """True when a container of that id runs under a supervisor."""
    try:
        return bool(SupervisorClient(core.config.exec_root, id).request("status", timeout_s=1.0)["pid"])
    except (NoSupervisor, Conflict):
        return False


def kill_supervised(core: Core, networks: Networks, id: str) -> None:
    """Kill what runs and wait for the end, for who removes it."""
    while True:
        try:
            SupervisorClient(core.config.exec_root, id).request("stop", signal=9, timeout=0)
            return
        except NoSupervisor:
            try:
                settle_now(core, networks, id)
                wait_for_supervisor(core, id)
            except CorruptContainer:
                return
        if not core.locks.is_held(supervisor_lock(id)):
            return  # else somebody has just started it
