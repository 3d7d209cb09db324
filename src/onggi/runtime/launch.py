"""Starting a supervisor: a new interpreter, its instructions, and what it says of the start.

An interpreter takes about as long to come up as a container takes to be prepared. So it comes
up meanwhile, and is told later what it is for; this module, which a command line loads before
the engine, imports next to nothing.
"""

from __future__ import annotations

import os
import sys

from onggi.errors import DeadlineExceeded, FailedPrecondition
from onggi.linux.unix_socket import packet_pair, send_with
from onggi.runtime.supervisor.protocol import GIVE_UP, GO, VERSION

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

__all__ = ["LogFailed", "NewSupervisor", "SupervisorFailed"]

# The supervisor finds its socket here; low numbers are the standard streams.
_SOCKET_FD = 9
_START = (
    "import sys; sys.path.append({package!r}); from onggi.runtime.supervisor.main import main; main({fd})"
)
_ANSWER_BYTES = 64 * 1024
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


class NewSupervisor:
    """A supervisor that comes up and waits for its instructions; :meth:`close` sends it away.

    ``meanwhile`` is called while the container starts: to load what its end will need.
    Raises SupervisorFailed.
    """

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._meanwhile = meanwhile
        self._socket, theirs = packet_pair()
        try:
            self._pid = _spawn(theirs.fileno())
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()

    def __enter__(self) -> NewSupervisor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it: one that was told nothing ends. Can be repeated."""
        self._socket.close()
        if self._pid:
            # Its first process ends at once; the one that stays is nobody's child.
            _wait(self._pid)
            self._pid = 0

    def launch(
        self,
        instructions: Mapping[str, Any],
        descriptors: Sequence[int],
        ready: Callable[[], None] | None = None,
    ) -> None:
        """Give it its instructions, once, and wait until the container runs.

        ``descriptors`` stay the caller's: lease, root, the connection of who is attached, and
        what holds its network. ``ready`` waits for what is made beside, and raises when that fails:
        the container is created meanwhile, and its program waits at the door.
        Raises SupervisorFailed, LogFailed, and for what the runtime refuses its errors (oci_runtime.py).
        """
        with self:
            self._send({"version": VERSION, "gated": ready is not None, **instructions}, descriptors)
            if ready is not None:
                self._let_in_when(ready)
            self._meanwhile()
            answer = self._receive()
        if "error" not in answer:
            return
        if answer.get("by") == "runtime":
            from onggi.runtime.oci_runtime import runtime_error

            raise runtime_error("start container", instructions["id"], answer["error"])
        if answer.get("by") == "log":
            raise LogFailed(answer["error"])
        raise SupervisorFailed(answer["error"])

    def _let_in_when(self, ready: Callable[[], None]) -> None:
        """Let the program in, or have what was created taken back."""
        try:
            ready()
        except BaseException:
            self._say(GIVE_UP)
            self._wait_for_its_end()
            raise
        self._say(GO)

    def _wait_for_its_end(self) -> None:
        self._socket.settimeout(_START_TIMEOUT_S)
        try:
            while self._socket.recv(1):
                continue
        except OSError:
            return

    def _say(self, word: bytes) -> None:
        try:
            self._socket.send(word)
        except OSError:
            return  # it has died, or has told already why nothing starts

    def _send(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        import json

        try:
            send_with(self._socket, json.dumps(message).encode(), descriptors)
        except OSError as error:
            raise SupervisorFailed(error.strerror or str(error)) from error

    def _answer(self) -> bytes:
        try:
            return self._socket.recv(_ANSWER_BYTES)
        except ConnectionResetError:
            # It closed without having read our word. What it said is behind the error.
            return self._socket.recv(_ANSWER_BYTES)

    def _receive(self) -> dict[str, Any]:
        import json

        self._socket.settimeout(_START_TIMEOUT_S)
        try:
            data = self._answer()
        except TimeoutError as error:
            raise DeadlineExceeded(f"start container: no answer within {_START_TIMEOUT_S:g} s") from error
        if not data:
            raise SupervisorFailed("it died", hint="its last words are in supervisor.log below the exec root")
        answer: dict[str, Any] = json.loads(data)
        return answer


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
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    words = [sys.executable, "-I", "-S", "-c", _START.format(package=package, fd=_SOCKET_FD)]
    try:
        return os.posix_spawn(sys.executable, words, {"LC_ALL": "C.UTF-8"}, file_actions=actions)
    except OSError as error:
        raise SupervisorFailed(error.strerror or str(error)) from error


def _wait(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
