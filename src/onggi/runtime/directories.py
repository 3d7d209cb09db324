"""Where running containers are, below the exec root."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["running_directory", "runtime_root"]


def running_directory(exec_root: Path, id: str) -> Path:
    """Where a running container's bundle, control socket and pid files are."""
    return exec_root.joinpath("containers", id)


def runtime_root(exec_root: Path, runtime: str) -> Path:
    """Where an OCI runtime keeps what it knows of its containers, by its name or path."""
    return exec_root.joinpath("runtime", runtime.rpartition("/")[2])
