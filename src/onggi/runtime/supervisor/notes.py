"""What ``config.v2.json`` says of a container's life: started, failed to start, ended.

Source: moby ``container/state.go``, ``daemon/start.go``, ``daemon/monitor.go``.
"""

from __future__ import annotations

from onggi.runtime.supervisor.network import clear_settings
from onggi.runtime.supervisor.state import now_text

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FAILED", "Ending", "failure_code", "note_exit", "note_failure", "note_start"]

FAILED = 128
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class Ending:
    """How the container's first process ended; ``health`` are fields of its state then."""

    __slots__ = ("code", "error", "health", "oom")

    def __init__(self, code: int, *, oom: bool = False, error: str = "") -> None:
        self.code = code
        self.oom = oom
        self.error = error
        self.health: dict[str, Any] = {}

    def fields(self) -> dict[str, Any]:
        """For an answer."""
        return {"exit": self.code, "oom": self.oom, "error": self.error}


def failure_code(complaint: str) -> int:
    """The exit code that Docker gives a container whose start failed with these words of runc."""
    lower = complaint.lower()
    if "permission denied" in lower:
        return _NOT_EXECUTABLE
    missing = ("executable file not found", "no such file or directory", "not a directory")
    if any(words in lower for words in missing):
        return _NOT_FOUND
    return FAILED


def note_start(document: dict[str, Any], pid: int, restarts: int) -> None:
    """It runs; ``restarts`` times its restart policy has brought it back."""
    document["State"].update(
        Running=True,
        Paused=False,
        Restarting=False,
        OOMKilled=False,
        Dead=False,
        Pid=pid,
        ExitCode=0,
        Error="",
        StartedAt=now_text(),
    )
    document["HasBeenStartedBefore"] = True
    document["HasBeenManuallyStopped"] = False
    document["RestartCount"] = restarts


def note_failure(document: dict[str, Any], code: int, complaint: str) -> None:
    """It could not be started."""
    document["State"].update(Running=False, Restarting=False, Pid=0, ExitCode=code, Error=complaint)
    clear_settings(document)


def note_exit(document: dict[str, Any], ending: Ending, *, again: bool, restarts: int) -> None:
    """It has ended; ``again``: it will be restarted, and Docker calls one that waits for that running."""
    document["State"].update(
        Running=again,
        Paused=False,
        Restarting=again,
        OOMKilled=ending.oom,
        Pid=0,
        ExitCode=ending.code,
        FinishedAt=now_text(),
        **ending.health,
    )
    if again:
        document["RestartCount"] = restarts + 1
    else:
        clear_settings(document)
