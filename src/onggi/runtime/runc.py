"""runc, and every runtime with its command line (crun, youki), called and waited for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from onggi.runtime.oci_runtime import (
    RuntimeContainerGone,
    RuntimeFailed,
    RuntimeMissing,
    RuntimeState,
    RuntimeTimeout,
    runtime_error,
)

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    import subprocess
    from typing import Any

__all__ = ["DEFAULT_RUNTIME", "Runc", "find_program", "find_runtime", "runtime_environment"]

DEFAULT_RUNTIME = "runc"
_TIMEOUT_S = 60.0
# Docker's daemon on Debian finds its helpers in these too, whatever a user's PATH says.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_runtime(name: str) -> str:
    """The program of a runtime given by name or path. Raises RuntimeMissing."""
    path = find_program(name)
    if path is None:
        raise RuntimeMissing(name)
    return path


def find_program(name: str) -> str | None:
    """A program of the host by name or path, or None."""
    places = [""] if "/" in name else _PATH.split(":")
    for place in places:
        path = os.path.join(place, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def runtime_environment() -> dict[str, str]:
    """All that a runtime sees of this process's environment: nothing (a container must not inherit it)."""
    return {"PATH": _PATH, "LC_ALL": "C.UTF-8"}


class Runc:
    """``program`` on the state directory ``root``; see :class:`OCIRuntime` for what is raised."""

    def __init__(
        self,
        program: str,
        root: Path,
        *,
        systemd_cgroup: bool = False,
        arguments: Sequence[str] = (),
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self.name = os.path.basename(program)
        self._program = program
        self._root = root
        self._flags = [*arguments, *(("--systemd-cgroup",) if systemd_cgroup else ())]
        self._timeout_s = timeout_s

    @property
    def command(self) -> list[str]:
        """Program and global flags: how a supervisor calls it."""
        return [self._program, "--root", str(self._root), *self._flags]

    def plain_state(self, id: str) -> str:
        """Where its state of a container is, if that is runc's own and nothing else is to be told.

        Empty for another runtime, and where systemd makes the control groups.
        """
        return "" if self.name != "runc" or self._flags else str(self._root / id)

    # --- life -------------------------------------------------------------------------------

    def create(self, id: str, bundle: Path, pid_file: Path, *, console: Path | None = None) -> None:
        words = ["create", "--bundle", str(bundle), "--pid-file", str(pid_file)]
        if console is not None:
            words += ["--console-socket", str(console)]
        self._call("create container", id, *words, id, inherit=True)

    def start(self, id: str) -> None:
        self._call("start container", id, "start", id)

    def state(self, id: str) -> RuntimeState:
        document = json.loads(self._call("look at container", id, "state", id))
        return RuntimeState(id, document["status"], int(document.get("pid") or 0), document["bundle"])

    def kill(self, id: str, signal: str | int, *, all: bool = False) -> None:
        self._call("signal container", id, "kill", *(("--all",) if all else ()), id, str(signal))

    def delete(self, id: str, *, force: bool = False) -> None:
        try:
            self._call("delete container", id, "delete", *(("--force",) if force else ()), id)
        except RuntimeContainerGone:
            if not force:
                raise

    def exec(self, id: str, process: Mapping[str, Any], *, timeout_s: float | None = None) -> int:
        import subprocess
        import tempfile

        with tempfile.NamedTemporaryFile("w", prefix="onggi-process-", suffix=".json") as file:
            json.dump(process, file)
            file.flush()
            words = [*self.command, "exec", "--process", file.name, id]
            try:
                done = subprocess.run(words, env=runtime_environment(), timeout=timeout_s, check=False)
            except subprocess.TimeoutExpired as error:
                raise RuntimeTimeout("exec in container", error.timeout) from error
            except FileNotFoundError as error:
                raise RuntimeMissing(self._program) from error
        return done.returncode

    def pause(self, id: str) -> None:
        self._call("pause container", id, "pause", id)

    def resume(self, id: str) -> None:
        self._call("resume container", id, "resume", id)

    # --- what it uses -------------------------------------------------------------------------

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        self._call("update container", id, "update", "--resources", "-", id, given=json.dumps(resources))

    def statistics(self, id: str) -> Mapping[str, Any]:
        document = json.loads(self._call("read statistics of container", id, "events", "--stats", id))
        data: Mapping[str, Any] = document["data"]
        return data

    def processes(self, id: str) -> list[int]:
        return list(
            json.loads(self._call("list processes of container", id, "ps", "--format", "json", id)) or ()
        )

    # --- the program --------------------------------------------------------------------------

    def _call(self, action: str, id: str, *words: str, given: str = "", inherit: bool = False) -> str:
        """Standard output. With ``inherit`` the standard streams are this process's; errors go to a file."""
        import tempfile

        with tempfile.NamedTemporaryFile("r", prefix="onggi-runtime-", suffix=".log") as log:
            command = [self._program, "--log", log.name, "--log-format", "json", *self.command[1:], *words]
            done = self._run(f"{action} {id[:12]}", command, given, inherit)
            if done.returncode == 0:
                return done.stdout or ""
            from onggi.runtime.supervisor.runtime import last_error

            said = (done.stderr or "").strip().splitlines()
            reason = last_error(log.name) or (said[-1] if said else f"exit status {done.returncode}")
            raise runtime_error(f"{action} {id[:12]}", id, reason)

    def _run(
        self, action: str, command: list[str], given: str, inherit: bool
    ) -> subprocess.CompletedProcess[str]:
        import subprocess  # supervisors call the runtime by themselves: most commands never come here

        try:
            return subprocess.run(
                command,
                input=None if inherit else given,
                capture_output=not inherit,
                text=True,
                env=runtime_environment(),
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeTimeout(action, error.timeout) from error
        except FileNotFoundError as error:
            raise RuntimeMissing(self._program) from error
        except OSError as error:
            raise RuntimeFailed(action, error.strerror or str(error)) from error
