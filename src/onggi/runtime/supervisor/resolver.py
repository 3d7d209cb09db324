"""aardvark-dns, told of changes: whether it has taken notice.

netavark writes what is to be resolved to files and sends SIGHUP. aardvark-dns then closes its sockets
and begins anew; a second SIGHUP on the way there is lost (1.4), and with it the change. So whoever
changed something waits, holding the lock ``networks``, until it has other sockets, and reminds it.
"""

from __future__ import annotations

import os
import signal

__all__ = ["PATIENCE_S", "POLL_S", "REMIND_AFTER", "has_reloaded", "remind", "replace", "resolver_state"]

POLL_S, PATIENCE_S = 0.005, 1.0
REMIND_AFTER = 100
"""Looks without a change after which SIGHUP is sent again."""

_NAME = "aardvark-dns"
_PORT = ":0035"  # 53, as /proc/net/udp has it
_TABLES = ("/proc/net/udp", "/proc/net/udp6")

State = tuple[int, frozenset[str]]
"""Its process (0: none), and the sockets of the port it serves."""


def resolver_state(directory: str) -> State:
    """Of the one whose files are in ``directory``."""
    pid = _pid(directory)
    return (pid, _sockets() & _open_sockets(pid)) if pid else (0, frozenset())


def has_reloaded(directory: str, before: State) -> bool:
    """True when it has begun anew since ``before``, has ended, or was not there to be told.

    While it closes one socket after the other it has not: it listens to SIGHUP again when it has
    new ones, and none of the old ones.
    """
    now = resolver_state(directory)
    if not before[0] or now[0] != before[0]:
        return True
    return bool(now[1]) and not now[1] & before[1]


def remind(before: State) -> None:
    """Send SIGHUP once more."""
    try:
        os.kill(before[0], signal.SIGHUP)
    except OSError:
        return


def replace(before: State, words: list[str], environment: dict[str, str]) -> None:
    """End one that hangs on its way to begin anew (1.4 can), and start another."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    try:
        os.kill(before[0], signal.SIGKILL)
        os.posix_spawn(words[0], words, environment, file_actions=actions, setsid=True)
    except OSError:
        return


def _pid(directory: str) -> int:
    try:
        with open(os.path.join(directory, "aardvark.pid")) as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/comm") as file:
            return pid if file.read().strip() == _NAME else 0
    except (OSError, ValueError):
        return 0


def _open_sockets(pid: int) -> frozenset[str]:
    """Inodes of a process's sockets."""
    found: set[str] = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    except OSError:
        pass  # it has just closed one, or ended
    return frozenset(found)


def _sockets() -> frozenset[str]:
    """Inodes of everybody's sockets of the port."""
    found: set[str] = set()
    for table in _TABLES:
        try:
            with open(table) as file:
                lines = file.read().splitlines()[1:]
        except OSError:
            continue
        fields = (line.split() for line in lines)
        found.update(each[9] for each in fields if each[1].endswith(_PORT))
    return frozenset(found)
