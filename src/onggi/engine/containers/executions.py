"""Further processes in a running container: like ``subprocess.Popen``, only inside.

Source: moby ``daemon/exec.go``, ``daemon/exec_linux.go``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from onggi.engine.containers.names import new_id
from onggi.errors import DeadlineExceeded, Unavailable
from onggi.linux.process import bounding_set
from onggi.record import record
from onggi.runtime.capabilities import clamped, container_capabilities
from onggi.runtime.client import Attached, SupervisorClient
from onggi.runtime.host import known_capabilities
from onggi.runtime.process import environment, merged_environment
from onggi.runtime.supervisor.protocol import STDERR, STDOUT
from onggi.runtime.user import User, read_accounts, resolve_user
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ExecOptions", "Execution", "Output", "exec_process"]


@record
class ExecOptions:
    """``env`` are ``NAME=value``; ``user`` and ``workdir`` empty: the container's own."""

    command: Sequence[str]
    env: Sequence[str] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    stdin: bool = False
    privileged: bool = False
    console_size: tuple[int, int] = (0, 0)


@record
class Output:
    """All that a process wrote, and its exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int


def exec_process(
    stored: StoredContainer, options: ExecOptions, client: SupervisorClient, linked: Sequence[str] = ()
) -> dict[str, Any]:
    """The runtime spec's process; ``linked`` are variables of linked containers. Raises UserNotFound."""
    root = client.rootfs()
    try:
        accounts = read_accounts(root)
    finally:
        os.close(root)
    # The container's further groups hold for its own user only.
    groups = stored.host_config.get("GroupAdd") or () if not options.user else ()
    user = resolve_user(options.user or stored.config.get("User") or "", accounts, groups)
    return process_entry(stored, options, user, linked)


def process_entry(
    stored: StoredContainer, options: ExecOptions, user: User, linked: Sequence[str] = ()
) -> dict[str, Any]:
    """The same for a user that is known."""
    config, host_config = stored.config, stored.host_config
    base = environment(config.get("Hostname") or "", config.get("Env") or (), tty=options.tty, linked=linked)
    process: dict[str, Any] = {
        "args": list(options.command),
        "cwd": options.workdir or config.get("WorkingDir") or "/",
        "env": merged_environment(base, options.env),
        "user": user.entry(),
        "terminal": options.tty,
        "noNewPrivileges": bool(stored.document.get("NoNewPrivileges")),
        "capabilities": _capabilities(host_config, options, root_user=user.uid == 0),
    }
    height, width = options.console_size
    if options.tty and (height or width):
        process["consoleSize"] = {"height": height, "width": width}
    return process


def _capabilities(
    host_config: Mapping[str, Any], options: ExecOptions, *, root_user: bool
) -> dict[str, list[str]]:
    known, bounding = known_capabilities(), bounding_set()
    names, _ = container_capabilities(host_config, known, bounding)
    if options.privileged:
        names, _ = clamped(known, bounding)
    kinds = ("bounding", "effective", "permitted") if root_user else ("bounding",)
    return {kind: list(names) for kind in kinds}


class Execution:
    """A process that was started by ``exec``; a context manager that lets go of its streams.

    Iterate for ``(stream, bytes)`` as they come, or use :meth:`communicate`.
    """

    def __init__(self, client: SupervisorClient, id: str, attached: Attached) -> None:
        self.id = id
        self._client = client
        self._attached = attached

    @classmethod
    def start(
        cls,
        client: SupervisorClient,
        stored: StoredContainer,
        options: ExecOptions,
        linked: Sequence[str] = (),
    ) -> Execution:
        """Run it. Raises ProgramNotFound, NotExecutable, Conflict, NoSupervisor."""
        id = new_id()
        process = exec_process(stored, options, client, linked)
        return cls(client, id, client.exec(id, process, stdin=options.stdin))

    @property
    def pid(self) -> int:
        """Its number on this host."""
        return self._attached.pid

    @property
    def attached(self) -> Attached:
        """The raw stream."""
        return self._attached

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        names = {STDOUT: "stdout", STDERR: "stderr"}
        for kind, data in self._attached:
            yield names[kind], data

    def write(self, data: bytes) -> None:
        """Standard input. Raises BrokenPipeError when nobody reads any more."""
        self._attached.write(data)

    def close_stdin(self) -> None:
        """The end of standard input."""
        self._attached.close_input()

    def resize(self, height: int, width: int) -> None:
        """The size of its terminal, in characters."""
        self._client.request("resize", exec=self.id, height=height, width=width)

    @property
    def exit_code(self) -> int | None:
        """None until everything it wrote has been read."""
        return None if self._attached.result is None else int(self._attached.result["exit"])

    def wait(self) -> int:
        """Read what is left, unseen, and give the exit code. Raises Unavailable when its end is not known."""
        for _ in self._attached:
            pass
        if self.exit_code is None:
            raise Unavailable("exec: the container's supervisor has gone", retryable=False)
        return self.exit_code

    def communicate(self, input: bytes = b"", timeout_s: float | None = None) -> Output:
        """Give it all its input, take all it writes. Raises DeadlineExceeded (it goes on running)."""
        from threading import Thread

        Thread(target=self._feed, args=(input,), name="onggi-exec-input", daemon=True).start()
        pieces: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._attached.set_timeout(timeout_s)
        try:
            for stream, data in self:
                pieces[stream].append(data)
        except TimeoutError as error:
            raise DeadlineExceeded(f"exec: not over after {timeout_s:g} s") from error
        return Output(b"".join(pieces["stdout"]), b"".join(pieces["stderr"]), self.wait())

    def _feed(self, input: bytes) -> None:
        try:
            if input:
                self.write(input)
        except OSError:
            return  # it reads no more
        self.close_stdin()

    def close(self) -> None:
        """Let go of the streams; the process goes on."""
        self._attached.close()

    def __enter__(self) -> Execution:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
