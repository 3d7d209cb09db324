"""aardvark-dns, which answers for the names of networks: whether it is there, and bringing it back.

netavark starts it with the first entry, and from then on signals the process that its pid file
names. Any process of that number will do for netavark: a zombie, or a stranger who got the number
later. So who changes a network looks here, before and after; and the supervisors of containers in
networks with names wait for its end, each by a pidfd, and the first to get the lock ``networks``
starts it anew with the entries there are::

    aardvark-dns/NETWORK        the entries, a file a network
    aardvark-dns/aardvark.pid   who serves them

Without an entry it ends by itself, and nobody starts it. Source: netavark ``src/dns/aardvark.rs``,
aardvark-dns ``src/commands/run.rs`` (1.4).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

    from onggi.runtime.supervisor.loop import Loop, Timer

__all__ = ["ResolverWatch", "forget_dead", "has_entries", "reread", "resolver_pid", "revive"]

_RESOLVER = "aardvark-dns"
"""The process's name."""

_PID_FILE = "aardvark.pid"
_PATIENCE_S = 10.0
"""Seconds until it serves; one whose server is killed at once waits for ever."""

_SIGHUP = 1
_TRIES = 3
_RETRY_S = 0.05
# Seconds before it is started anew; each time twice as long, for one that cannot live here.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 60.0


def resolver_pid(directory: str) -> int:
    """Who serves the entries in ``directory``; 0 when nobody does, whatever the pid file says."""
    try:
        with open(f"{directory}/{_PID_FILE}") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/stat") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
    except (OSError, ValueError):
        return 0
    return pid if name == _RESOLVER and rest.split()[0] not in "ZX" else 0


def has_entries(directory: str) -> bool:
    """True when there is something to serve."""
    try:
        return any(not name.startswith((".", _PID_FILE)) for name in os.listdir(directory))
    except FileNotFoundError:
        return False


def reread(directory: str) -> None:
    """Have it look at its entries again."""
    pid = resolver_pid(directory)
    try:
        if pid:
            os.kill(pid, _SIGHUP)
    except ProcessLookupError:
        return  # it ends, and is started anew with what the entries say now


def forget_dead(directory: str) -> bool:
    """Take away the pid file of one that has died, so that netavark starts it anew; True: it lives."""
    if resolver_pid(directory):
        return True
    try:
        os.unlink(f"{directory}/{_PID_FILE}")
    except FileNotFoundError:
        pass
    return False


def revive(command: Sequence[str], environment: Mapping[str, str], directory: str) -> None:
    """Start it when it has died and has something to serve; waits until it serves. Under the lock.

    Nothing is raised where it cannot: its networks work, but for the names.
    """
    for _ in range(_TRIES):
        if forget_dead(directory) or not has_entries(directory):
            return
        try:
            pid = _spawn(command, environment)
        except OSError:
            return
        _wait(pid)


def _spawn(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """It forks, and the parent ends when the server serves."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    return os.posix_spawn(command[0], list(command), environment, file_actions=actions)


def _wait(pid: int) -> None:
    import select

    descriptor = os.pidfd_open(pid)
    try:
        end = select.poll()
        end.register(descriptor, select.POLLIN)
        if not end.poll(_PATIENCE_S * 1000):
            os.kill(pid, 9)  # not reaped yet, so the number is its own
        os.waitpid(pid, 0)
    finally:
        os.close(descriptor)


class ResolverWatch:
    """A supervisor's eye on it. ``given``: { command, directory, environment }.

    ``lock`` gives the lock ``networks`` as a descriptor, or -1 while somebody has it.
    """

    def __init__(self, loop: Loop, given: Mapping[str, Any], lock: Callable[[], int]) -> None:
        self._loop = loop
        self._given = given
        self._lock = lock
        self._pause_s = _FIRST_PAUSE_S
        self._since = 0.0
        self._descriptor = -1
        self._stopped = False

    def begin(self) -> None:
        """Wait for its end, or start it when it has ended already."""
        if self._stopped:
            return
        pid = resolver_pid(self._given["directory"])
        try:
            self._descriptor = os.pidfd_open(pid) if pid else -1
        except OSError:
            pid = 0
        if not pid:
            self._again()
            return
        self._since = time.monotonic()
        self._loop.watch(self._descriptor, 1, lambda events: self._gone())  # 1: EPOLLIN

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        self._unwatch()

    def _unwatch(self) -> None:
        if self._descriptor >= 0:
            self._loop.unwatch(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _gone(self) -> None:
        self._unwatch()
        if time.monotonic() - self._since > _LONGEST_PAUSE_S:
            self._pause_s = _FIRST_PAUSE_S
        self._again()

    def _again(self) -> None:
        self._loop.after(self._pause_s, self._revive)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _revive(self) -> None:
        """Under the lock; who else waited for the end finds it alive then."""
        if self._stopped:
            return
        lock = self._lock()
        if lock < 0:
            self._loop.after(_RETRY_S, self._revive)
            return
        directory = self._given["directory"]
        lives = forget_dead(directory)
        try:
            pid = 0 if lives or not has_entries(directory) else self._started()
        except OSError:
            pid = 0
        if not pid:
            os.close(lock)
            if lives:
                self.begin()
            return  # or there is nothing to serve: its own entries are gone too
        stuck = self._loop.after(_PATIENCE_S, lambda: os.kill(pid, 9))
        self._loop.on_exit(pid, lambda status: self._served(lock, stuck))

    def _started(self) -> int:
        return _spawn(self._given["command"], self._given["environment"])

    def _served(self, lock: int, stuck: Timer) -> None:
        stuck.cancel()
        os.close(lock)
        self.begin()
