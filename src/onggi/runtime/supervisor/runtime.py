"""The OCI runtime's command line, as a supervisor uses it: started, not waited for.

A runtime dies with its supervisor: nobody comes to start a container behind the back of who has
cleared up after a killed supervisor.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Callable, Sequence

from onggi.runtime.supervisor import kernel
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
        if not os.access(command[0], os.X_OK):
            done(f"{command[0]}: not found, or not executable")
            return
        try:
            pid = _spawn(command, stdio, self._environment)
        except OSError as error:
            done(f"{self._command[0]}: {error.strerror}")
            return
        self._loop.on_exit(pid, lambda status: done(_outcome(status, log)))

    def pid_file(self, name: str) -> str:
        """Where the runtime writes the number of a process it started."""
        return os.path.join(self._directory, f"{name}.pid")


# Python ignores two of them; what is ignored stays so over exec, down to the container.
_RESET_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
)


def _spawn(command: list[str], stdio: Sequence[int], environment: dict[str, str]) -> int:
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with(supervisor)
            _set_streams(stdio)
            signal.set_wakeup_fd(-1)
            for number in _RESET_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execve(command[0], command, environment)  # noqa: S606  no shell is wanted
        finally:
            os._exit(127)
    return pid


def _set_streams(stdio: Sequence[int]) -> None:
    """The supervisor's own low descriptors may be among those given: no copy is made before all are safe."""
    safe = [fd if fd < 0 else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in stdio]
    for number, fd in enumerate(safe):
        given = fd if fd >= 0 else os.open(_NULL, os.O_RDONLY if number == 0 else os.O_WRONLY)
        if given == number:
            os.set_inheritable(given, True)
        else:
            os.dup2(given, number)


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
