"""Starting a supervisor: a new interpreter, its instructions, and what it says of the start."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from onggi.errors import DeadlineExceeded, FailedPrecondition
from onggi.runtime.oci_runtime import runtime_error
from onggi.runtime.supervisor.protocol import VERSION

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LogFailed", "SupervisorFailed", "launch_supervisor"]

# The supervisor finds its socket here; low numbers are the standard streams.
_SOCKET_FD = 9
_START = (
    "import sys; sys.path.append({package!r}); from onggi.runtime.supervisor.main import main; main({fd})"
)
_START_TIMEOUT_S = 120.0
"""Seconds for a container to start: the OCI runtime on a loaded machine, with many mounts."""


class SupervisorFailed(FailedPrecondition):
    """The supervisor could not be started, or died before the container ran."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(f"start supervisor: {reason}", hint=hint)


class LogFailed(FailedPrecondition):
    """The log cannot be opened, so the container does not start."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"failed to initialize logging driver: {reason}", hint="see its --log-driver and --log-opt"
        )


def launch_supervisor(
    instructions: Mapping[str, Any],
    descriptors: Sequence[int],
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Start it, and wait until the container runs.

    ``descriptors`` stay the caller's: lease, root, the connection of who is attached, and what
    holds its network. ``ready`` waits for what is made meanwhile, and raises when that fails.
    Raises SupervisorFailed, and for what the runtime refuses its errors (oci_runtime.py).
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            pid = _spawn(theirs.fileno())
        try:
            ready()
            _send(ours, {"version": VERSION, **instructions}, descriptors)
            answer = _receive(ours)
        except BaseException:
            # One that was told nothing waits for its instructions, or for the end of who has them.
            ours.close()
            raise
        finally:
            # Its first process ends at once; the one that stays is nobody's child.
            _wait(pid)
    if "error" in answer:
        if answer.get("by") == "runtime":
            raise runtime_error("start container", instructions["id"], answer["error"])
        if answer.get("by") == "log":
            raise LogFailed(answer["error"])
        raise SupervisorFailed(answer["error"])


def _spawn(fd: int) -> int:
    if not sys.executable:
        raise SupervisorFailed("this Python does not know its own executable (sys.executable is empty)")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, fd, _SOCKET_FD),
    ]
    # At the end of the path: nothing beside this package may stand in for the standard library.
    package = str(Path(__file__).resolve().parents[2])
    words = [sys.executable, "-I", "-S", "-c", _START.format(package=package, fd=_SOCKET_FD)]
    try:
        return os.posix_spawn(sys.executable, words, {"LC_ALL": "C.UTF-8"}, file_actions=actions)
    except OSError as error:
        raise SupervisorFailed(error.strerror or str(error)) from error


def _send(ours: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    data = json.dumps(message).encode()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(data))
    try:
        socket.send_fds(ours, [data], list(descriptors))
    except OSError as error:
        raise SupervisorFailed(error.strerror or str(error)) from error


def _receive(ours: socket.socket) -> dict[str, Any]:
    ours.settimeout(_START_TIMEOUT_S)
    try:
        data = ours.recv(64 * 1024)
    except TimeoutError as error:
        raise DeadlineExceeded(f"start container: no answer within {_START_TIMEOUT_S:g} s") from error
    if not data:
        raise SupervisorFailed("it died", hint="its last words are in supervisor.log below the exec root")
    answer: dict[str, Any] = json.loads(data)
    return answer


def _wait(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
