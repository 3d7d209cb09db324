"""One container, as an object that answers questions and does as told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

from onggi.cancel import CancelToken
from onggi.engine.containers.attach_request import AttachRequest, Started
from onggi.engine.containers.container_events import emit
from onggi.engine.containers.facts import ContainerFacts
from onggi.engine.containers.names import ContainerNotFound, InvalidName, NameTaken, check_name
from onggi.engine.containers.running import is_running, supervisor_lock
from onggi.engine.containers.signals import parse_signal, stop_signal
from onggi.errors import Conflict, DeadlineExceeded, InvalidArgument
from onggi.runtime.client import Attached, NoSupervisor
from onggi.runtime.launch import NewSupervisor
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, BinaryIO, TypeVar

    T = TypeVar("T")

    from onggi.engine.containers.copying import ContainerFiles
    from onggi.engine.containers.executions import ExecOptions, Execution
    from onggi.engine.containers.log_entries import LogEntry
    from onggi.engine.containers.processes import ProcessTable
    from onggi.engine.containers.stats import ContainerStats, Reading
    from onggi.engine.image import Image
    from onggi.tree.differences import Change

__all__ = ["CannotKill", "Container"]


_STOP_TIMEOUT_S = 10
_POLL_S = 0.05
_SIGKILL = 9


class CannotKill(Conflict):
    """There is nothing to signal."""

    def __init__(self, name: str, id: str) -> None:
        super().__init__(f"Cannot kill container: {name}: Container {id} is not running")


class Container(ContainerFacts):
    """A container of the store. Facts are read when asked for; equality is by id.

    As a context manager it is stopped and removed at the end.
    """

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.remove(force=True)
        except ContainerNotFound:
            pass  # --rm was quicker

    # --- life -------------------------------------------------------------------------------

    def start(self, attach: AttachRequest | None = None, supervisor: NewSupervisor | None = None) -> Started:
        """Start it, and return when it runs; one that runs already is left alone.

        With ``attach`` the streams come along, from the first byte on. ``supervisor``: one that comes
        up already; it is this call's from here on. Raises ProgramNotFound, NotExecutable,
        UserNotFound, RuntimeFailed, …
        """
        from onggi.engine.containers.removal import settle
        from onggi.engine.containers.start import start_container

        with supervisor or NewSupervisor() as supervisor, self._core.writing():
            while True:
                stored = settle(self._core, self._networks, self.stored)
                if stored is None:
                    raise ContainerNotFound(self.id)
                lease = self._core.locks.try_acquire(supervisor_lock(self.id), exclusive=True)
                if lease is not None:
                    return start_container(self._core, self._networks, stored, lease, attach, supervisor)
                if is_running(self._core, stored):
                    return Started(None if attach is None else self._attach(attach), ())
                time.sleep(_POLL_S)  # it is just ending, or being started by somebody else

    def stop(
        self, timeout_s: float | None = None, signal: str | None = None, *, shutdown: bool = False
    ) -> None:
        """Ask it to end, then make it (negative: wait for ever); no error when it is not running.

        ``shutdown``: only until the host starts again.
        """
        from onggi.engine.containers.ending import wait_for_supervisor

        config = self.stored.config
        if timeout_s is None:
            given = config.get("StopTimeout")
            timeout_s = _STOP_TIMEOUT_S if given is None else given
        number = parse_signal(signal) if signal else stop_signal(config.get("StopSignal"))
        try:
            self.supervisor.request(
                "stop", timeout_s=None, signal=number, timeout=timeout_s, shutdown=shutdown
            )
        except NoSupervisor:
            self._settle()
        wait_for_supervisor(self._core, self.id)

    def restart(self, timeout_s: float | None = None, signal: str | None = None) -> None:
        """Stop it, if it runs, and start it."""
        self.stop(timeout_s, signal)
        self.start()
        self._emit("restart")

    def kill(self, signal: str = "KILL") -> None:
        """Send its first process a signal; with KILL return when it has ended.

        Raises CannotKill, InvalidSignal.
        """
        number = parse_signal(signal)
        self.send_signal(number)
        if number == _SIGKILL:
            try:
                self.supervisor.request("wait", timeout_s=_STOP_TIMEOUT_S, until="stopped")
            except (NoSupervisor, DeadlineExceeded):
                return  # it has gone, or it hangs in the kernel: as Docker, that is left to who looks

    def send_signal(self, number: int) -> None:
        """The same by number."""
        stored = self.stored
        try:
            wanted = stop_signal(stored.config.get("StopSignal"))
            self.supervisor.request("signal", signal=number, stop_signal=wanted)
        except Conflict as error:
            self._settle()
            raise CannotKill(stored.name, self.id) from error

    def pause(self) -> None:
        """Freeze every process. Raises Conflict."""
        self._ask("pause")

    def unpause(self) -> None:
        """Let frozen processes go on. Raises Conflict."""
        self._ask("resume", "is not paused")

    def _ask(self, op: str, otherwise: str = "is not running") -> None:
        try:
            self.supervisor.request(op)
        except NoSupervisor as error:
            self._settle()
            raise Conflict(f"Container {self.id} {otherwise}") from error

    def _settle(self) -> None:
        """Nobody answers: make the files say so, if they do not."""
        from onggi.engine.containers.ending import settle_now

        settle_now(self._core, self._networks, self.id)

    def wait(self, condition: str = "not-running", timeout_s: float | None = None) -> int:
        """Until it is ``not-running``, its ``next-exit``, or until it is ``removed``; the exit code.

        Raises DeadlineExceeded.
        """
        token = CancelToken(timeout_s)
        code = self._wait_exit(condition, token)
        while condition == "removed" and self._core.containers.path(self.id).exists():
            token.sleep(_POLL_S)
        return code

    def _wait_exit(self, condition: str, token: CancelToken) -> int:
        until = "exit" if condition == "next-exit" else "stopped"
        while True:
            try:
                answer = self.supervisor.request("wait", timeout_s=token.remaining_s(), until=until)
                return int(answer["exit"])
            except NoSupervisor:
                self._settle()
            stored = self.stored
            if condition != "next-exit" and not is_running(self._core, stored):
                return int(stored.state["ExitCode"])
            token.sleep(_POLL_S)

    # --- what it says, and what is said to it -----------------------------------------------

    def attach(self, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Attached:
        """Join its streams. Raises Conflict when it does not run."""
        return self._attach(AttachRequest(stdin, stdout, stderr))

    def _attach(self, wanted: AttachRequest) -> Attached:
        try:
            return self.supervisor.attach(stdin=wanted.stdin, stdout=wanted.stdout, stderr=wanted.stderr)
        except NoSupervisor as error:
            self._settle()
            raise Conflict(
                "You cannot attach to a stopped container, start it first",
                hint=f"onggi start {self.short_id}",
            ) from error

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: float | None = None,
        until: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[LogEntry]:
        """What it wrote, oldest first; ``follow`` goes on until it ends. Times are seconds since 1970.

        Raises UnreadableLog.
        """
        from onggi.engine.containers.logs import container_log

        return container_log(
            self._core,
            self.stored,
            since_ns=None if since is None else int(since * 1e9),
            until_ns=None if until is None else int(until * 1e9),
            tail=tail,
            follow=self._still_writes if follow else None,
            cancel=cancel,
        )

    def _still_writes(self) -> bool:
        return self._core.locks.is_held(supervisor_lock(self.id))

    def exec(
        self,
        command: Sequence[str],
        *,
        env: Sequence[str] = (),
        user: str = "",
        workdir: str = "",
        tty: bool = False,
        stdin: bool = False,
        privileged: bool = False,
    ) -> Execution:
        """Run a further process in it. Raises Conflict, ProgramNotFound, NotExecutable, UserNotFound."""
        from onggi.engine.containers.executions import ExecOptions

        return self.execute(ExecOptions(tuple(command), tuple(env), user, workdir, tty, stdin, privileged))

    def execute(self, options: ExecOptions) -> Execution:
        """The same with all options."""
        from onggi.engine.containers.executions import Execution

        return self._in_running(
            lambda stored: Execution.start(self.supervisor, stored, options, self._linked(stored))
        )

    def _linked(self, stored: StoredContainer) -> Sequence[str]:
        """What ``--link`` says in the environment."""
        if not stored.host_config.get("Links"):
            return ()
        from onggi.engine.networks.link_environment import linked_environment

        return linked_environment(self._core, stored.document, stored.host_config)

    def execute_detached(self, options: ExecOptions) -> str:
        """Run it with its streams going nowhere; returns the exec's id."""
        from onggi.engine.containers.executions import exec_process
        from onggi.engine.containers.names import new_id

        id = new_id()

        def run(stored: StoredContainer) -> str:
            process = exec_process(stored, options, self.supervisor, self._linked(stored))
            self.supervisor.request("exec", id=id, process=process, detach=True, stdin=False)
            return id

        return self._in_running(run)

    def _in_running(self, run: Callable[[StoredContainer], T]) -> T:
        stored = self.stored
        try:
            return run(stored)
        except NoSupervisor as error:
            self._settle()
            raise Conflict(f"Container {self.id} is not running") from error

    def resize(self, height: int, width: int) -> None:
        """The size of its terminal, in characters. Raises Conflict."""
        self._in_running(lambda stored: self.supervisor.request("resize", height=height, width=width))

    # --- what it does and may use -----------------------------------------------------------

    def top(self, options: str = "") -> ProcessTable:
        """Its processes as the host's ``ps`` shows them. Raises Conflict, PsFailed, InvalidArgument."""
        from onggi.engine.containers.processes import container_processes

        table = container_processes(self._core, self.stored, options)
        self._emit("top")
        return table

    def usage(self) -> Reading | None:
        """What it uses at this moment; None when it does not run."""
        from onggi.engine.containers.stats import read_usage

        return read_usage(self._core, self.stored)

    def stats(self, interval_s: float = 1.0) -> ContainerStats:
        """What it uses; processors are measured over ``interval_s`` seconds. Zeros when it does not run."""
        from onggi.engine.containers.stats import measured

        return measured(self._core, self.stored, interval_s)

    def update(self, **host_config: Any) -> list[str]:
        """Other limits, by HostConfig's names (``Memory=…, RestartPolicy={…}``); gives warnings.

        Raises CannotUpdate, InvalidArgument.
        """
        from onggi.engine.containers.update import update_container

        return update_container(self._core, self.stored, host_config)

    # --- its files --------------------------------------------------------------------------

    def diff(self) -> Iterator[Change]:
        """What it added (``A``), changed (``C``) and deleted (``D``), a directory before what it holds."""
        from onggi.engine.containers.changes import container_changes

        return container_changes(self._core, self.stored)

    def export(self) -> Iterator[bytes]:
        """All its files, without those of volumes, as a tar stream in pieces; nothing waits in memory."""
        from onggi.engine.containers.changes import container_tar

        yield from container_tar(self._core, self.stored)
        self._emit("export")

    def files(self, name: str = "") -> ContainerFiles:
        """Its files, with Docker's own rules for paths; errors call it ``name``."""
        from onggi.engine.containers.copying import ContainerFiles

        return ContainerFiles(self._core, self.stored, name or self.name)

    def copy_in(self, source: str | Path | bytes | BinaryIO, target: str, *, follow: bool = False) -> None:
        """Copy a path of this host (text or Path), or make a file of bytes or of a binary file.

        Raises NoSuchPath, CopyRefused, FileNotInContainer, CannotOverwrite, ReadOnlyTarget.
        """
        if isinstance(source, str | os.PathLike):
            self.files().copy_in(os.fspath(source), target, follow=follow)
        else:
            self.files().write(source, target)

    def copy_out(self, path: str, target: str | Path, *, follow: bool = False) -> None:
        """Copy to a path of this host. Raises FileNotInContainer, CopyRefused, CannotOverwrite."""
        self.files().copy_out(path, os.fspath(target), follow=follow)

    def commit(
        self,
        reference: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
        cancel: CancelToken | None = None,
    ) -> Image:
        """An image of what it is now, named ``reference``; ``changes`` are Dockerfile instructions.

        ``pause``: nothing in it runs meanwhile. Raises InvalidChange, ImageNotFound, TagWithDigest.
        """
        from onggi.engine.containers.commit import CommitRequest, commit_container
        from onggi.engine.image import Image

        request = CommitRequest(reference, author, message, changes, pause)
        image_id = commit_container(self._core, self, request, cancel or CancelToken())
        return Image(self._core, image_id, self._core.images.get(image_id))

    # --- names and the end ------------------------------------------------------------------

    def rename(self, name: str) -> None:
        """Raises InvalidName, NameTaken."""
        try:
            fresh = check_name(name)
        except InvalidName:
            raise InvalidName(f"/{name}") from None
        with self._core.writing():
            with self._core.locks.acquire("container-names", exclusive=True):
                self._take_name(fresh)
            self._networks.rename(self.id)

    def _take_name(self, fresh: str) -> None:
        old = self.name
        if fresh == old:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        owner = self._core.containers.names().get(fresh)
        if owner is not None:
            raise NameTaken(fresh, owner)
        self._core.containers.update(self.id, lambda document: document.update(Name=f"/{fresh}"))
        self._emit("rename", oldName=f"/{old}")

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Delete it and what it wrote; ``force`` kills it first, ``volumes``: also those that nobody named.

        Raises ContainerIsRunning, ContainerNotFound.
        """
        from onggi.engine.containers.ending import kill_supervised
        from onggi.engine.containers.removal import ContainerIsRunning, remove_container

        if not self._core.containers.path(self.id).exists():
            raise ContainerNotFound(self.id)
        stored = self._core.containers.get(self.id) if not force else None
        if stored is not None and is_running(self._core, stored):
            raise ContainerIsRunning(self.id, stored.name, self._core.config.compat)
        while True:
            if force:
                kill_supervised(self._core, self._networks, self.id)
            try:
                with self._core.writing():
                    remove_container(self._core, self._networks, self.id, force=force, volumes=volumes)
                return
            except ContainerIsRunning:
                if not force:
                    raise  # else somebody has started it meanwhile

    def _emit(self, action: str, **more: str) -> None:
        emit(self._core, action, self.stored, **more)
