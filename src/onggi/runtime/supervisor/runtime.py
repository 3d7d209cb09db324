"""The OCI runtime's command line, as a supervisor uses it: started, not waited for."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence

from onggi.runtime.supervisor.loop import Loop

__all__ = ["Runtime", "last_error"]

_NULL = "/dev/null"
Done = Callable[[str], None]
"""Called with the runtime's complaint, empty when there is none."""


class Runtime:
    """``command`` is the runtime with its global flags; ``directory`` takes its logs and pid files."""

    def __init__(
        self, loop: Loop, command: Sequence[str], directory: str, environment: dict[str, str]
    ) -> None:
        self._loop = loop
        self._command = list(command)
        self._directory = directory
        self._environment = environment
        self._count = 0

    def run(self, *words: str, done: Done, stdio: Sequence[int] = (-1, -1, -1)) -> None:
        """Start the runtime; ``stdio`` are the process's streams (-1: /dev/null)."""
        self._count += 1
        log = os.path.join(self._directory, f"runtime-{self._count}.log")
        command = [self._command[0], "--log", log, "--log-format", "json", *self._command[1:], *words]
        try:
            pid = _spawn(command, stdio, self._environment)
        except OSError as error:
            done(f"{self._command[0]}: {error.strerror}")
            return
        self._loop.on_exit(pid, lambda status: done(_outcome(status, log)))

    def pid_file(self, name: str) -> str:
        """Where the runtime writes the number of a process it started."""
        return os.path.join(self._directory, f"{name}.pid")


def _spawn(command: list[str], stdio: Sequence[int], environment: dict[str, str]) -> int:
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
    for number, fd in enumerate(stdio):
        if fd < 0:
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY
            actions.append((os.POSIX_SPAWN_OPEN, number, _NULL, flags, 0))
        else:
            actions.append((os.POSIX_SPAWN_DUP2, fd, number))
    # Python ignores SIGPIPE; what is ignored stays so over exec, down to the container.
    return os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=actions,
        setsigdef=(signal.SIGPIPE, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM),
        setsigmask=(),
    )


def _outcome(status: int, log: str) -> str:
    code = os.waitstatus_to_exitcode(status)
    complaint = "" if code == 0 else last_error(log) or f"exit status {code}"
    try:
        os.unlink(log)
    except FileNotFoundError:
        pass
    return complaint


def last_error(log: str) -> str:
    """The last error of a runtime's JSON log, or an empty string."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 20).splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg", ""))
    return ""
