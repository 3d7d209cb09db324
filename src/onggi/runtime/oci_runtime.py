"""What Onggi asks of an OCI runtime, and how it fails.

Lifecycle: ``create`` makes the namespaces and waits at the door, ``start`` lets the program in,
``delete`` clears what a stopped container leaves. ``run`` is the first two at once. Whoever
calls ``create``, ``run`` or a detached ``exec`` must be the process (or the child subreaper)
that wants the exit status; in Onggi that is the supervisor.

Source: OCI runtime-spec, runtime.md; the command line that runc, crun and youki share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from onggi.errors import Conflict, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, OnggiError
from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = [
    "NotExecutable",
    "OCIRuntime",
    "ProgramNotFound",
    "RuntimeContainerGone",
    "RuntimeFailed",
    "RuntimeMissing",
    "RuntimeState",
    "RuntimeTimeout",
    "WrongState",
    "runtime_error",
]


class RuntimeFailed(FailedPrecondition):
    """The runtime refused; ``reason`` is its own last error.

    ``exit_code`` is the container's then, ``run_status`` that of ``run`` where it differs; both are Docker's.
    """

    exit_code = 128
    run_status = 0

    def __init__(self, action: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{action}: {reason}", hint=hint)
        self.reason = reason


class ProgramNotFound(InvalidArgument):
    """The program to run is not in the container."""

    exit_code = 127

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(
            f"{action}: {reason}", hint="the program must be in the image, under its full path or on its PATH"
        )
        self.reason = reason


class NotExecutable(InvalidArgument):
    """The program is there and may not be executed."""

    exit_code = 126

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(f"{action}: {reason}", hint="it needs execute permission, and must be no directory")
        self.reason = reason


class RuntimeMissing(FailedPrecondition):
    """No such runtime is installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"OCI runtime {name}: not found",
            hint="install one (Debian: apt-get install runc), or name another: --runtime",
        )
        self.name = name


class RuntimeTimeout(DeadlineExceeded):
    """The runtime did not answer in time."""

    def __init__(self, action: str, seconds: float) -> None:
        super().__init__(f"{action}: the OCI runtime did not answer within {seconds:g} s")


class RuntimeContainerGone(NotFound):
    """The runtime knows no container of this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"container {id[:12]}: not known to the OCI runtime (it is not running)")
        self.id = id


class WrongState(Conflict):
    """The container is in a state in which that cannot be done."""

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(f"{action}: {reason}")
        self.reason = reason


@record
class RuntimeState:
    """``status`` is creating, created, running, paused or stopped; ``pid`` 0 when there is none."""

    id: str
    status: str
    pid: int
    bundle: str


class OCIRuntime(Protocol):
    """One runtime program on one state directory. Every call may raise RuntimeFailed, RuntimeMissing,
    RuntimeTimeout; those that name a container RuntimeContainerGone."""

    name: str

    def create(self, id: str, bundle: Path, pid_file: Path, *, console: Path | None = None) -> None:
        """Make the container of a bundle; it inherits this process's standard streams, or a pty."""

    def start(self, id: str) -> None:
        """Let the program of a created container run."""

    def state(self, id: str) -> RuntimeState:
        """What the runtime knows."""

    def kill(self, id: str, signal: str | int, *, all: bool = False) -> None:
        """Signal the first process, or (``all``) every process."""

    def delete(self, id: str, *, force: bool = False) -> None:
        """Clear what is left; ``force`` kills first, and what is gone already is no error."""

    def exec(self, id: str, process: Mapping[str, Any], *, timeout_s: float | None = None) -> int:
        """Run a further process with this process's streams and wait for it; its exit status."""

    def pause(self, id: str) -> None:
        """Freeze every process. Raises WrongState."""

    def resume(self, id: str) -> None:
        """Let frozen processes go on. Raises WrongState."""

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        """Change limits; ``resources`` are ``linux.resources`` of the runtime spec."""

    def statistics(self, id: str) -> Mapping[str, Any]:
        """One reading of what it uses (``events --stats``)."""

    def processes(self, id: str) -> Sequence[int]:
        """Numbers of its processes, as this host counts."""


def runtime_error(action: str, id: str, reason: str) -> OnggiError:
    """The one place where a runtime's words become a kind: it gives nothing but text.

    ``action`` says what was tried. Docker reads exit codes from the same words.
    """
    lower = reason.lower()
    if "container does not exist" in lower or ("does not exist" in lower and id in reason):
        return RuntimeContainerGone(id)
    if "container not running" in lower or "container already stopped" in lower:
        return WrongState(action, "the container is not running")
    if "container not running or created" in lower or "container not paused" in lower:
        return WrongState(action, reason)
    if "permission denied" in lower:
        return NotExecutable(action, _plain(reason))
    missing = "no such file or directory" in lower
    if "executable file not found" in lower or (missing and "exec" in lower):
        return ProgramNotFound(action, _plain(reason))
    error = RuntimeFailed(action, _plain(reason), _MOUNT_HINT if "not a directory" in lower else "")
    if missing or "not a directory" in lower:
        error.exit_code = ProgramNotFound.exit_code
        error.run_status = 0 if missing else _CANNOT_RUN
    return error


_MOUNT_HINT = "a directory cannot be mounted on a file, nor a file on a directory"
_CANNOT_RUN = 125
_CHAIN = (
    "runc run failed: ",
    "runc create failed: ",
    "OCI runtime create failed: ",
    "exec failed: ",
    "unable to start container process: ",
)


def _plain(reason: str) -> str:
    """Without the runtime's own way there."""
    for words in _CHAIN:
        reason = reason.removeprefix(words)
    return reason
