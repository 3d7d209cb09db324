"""The control socket: what commands ask of a supervisor, and its answers (protocol.py)."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable

from onggi.runtime.supervisor.execution import Execution
from onggi.runtime.supervisor.loop import READ, Loop
from onggi.runtime.supervisor.protocol import CONTROL, MAX_REQUEST_BYTES, STDERR, STDOUT, VERSION
from onggi.runtime.supervisor.streams import Client
from onggi.runtime.supervisor.supervision import Supervision

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Control"]

_BACKLOG = 64
# Seconds that an answer may take to be sent: it is small, and somebody waits for it.
_ANSWER_S = 5.0


class BadRequest(Exception):
    """Answered with its text; ``kind`` is an error class of onggi.errors."""

    def __init__(self, text: str, kind: str = "InvalidArgument") -> None:
        super().__init__(text)
        self.kind = kind


class Control:
    """Listens in the container's directory until :meth:`close`."""

    def __init__(self, loop: Loop, supervision: Supervision) -> None:
        self._loop = loop
        self._supervision = supervision
        self._executions: dict[str, Execution] = {}
        self.clients: list[Client] = []
        self._operations: dict[str, Callable[[socket.socket, dict[str, Any]], None]] = {
            "status": self._status,
            "attach": self._attach,
            "wait": self._wait,
            "signal": self._signal,
            "stop": self._stop,
            "pause": self._pause,
            "resume": self._pause,
            "hold": self._hold,
            "resize": self._resize,
            "exec": self._exec,
            "rootfs": self._rootfs,
        }
        self._socket = self._listen(supervision.given["directory"])
        loop.watch(self._socket.fileno(), READ, self._accept)

    def _listen(self, directory: str) -> socket.socket:
        """Bound by way of a descriptor: an address of AF_UNIX has 107 bytes."""
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(f"/proc/self/fd/{fd}/{CONTROL}")
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            return listener
        finally:
            os.close(fd)

    def close(self) -> None:
        """Nobody new; who is served stays."""
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()

    @property
    def busy(self) -> bool:
        """True while something is to be sent to somebody."""
        self.clients = [client for client in self.clients if not client.closed]
        return bool(self.clients or self._executions)

    # --- connections ------------------------------------------------------------------------

    def _accept(self, events: int) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setblocking(False)
        received = bytearray()
        self._loop.watch(connection.fileno(), READ, lambda events: self._receive(connection, received))

    def _receive(self, connection: socket.socket, received: bytearray) -> None:
        """A request comes whole, or its sender is gone."""
        try:
            data = connection.recv(MAX_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        received += data
        if not data or len(received) > MAX_REQUEST_BYTES:
            self._drop(connection)
        elif b"\n" in data:
            self._loop.unwatch(connection.fileno())
            self._serve(connection, bytes(received))

    def _drop(self, connection: socket.socket) -> None:
        self._loop.unwatch(connection.fileno())
        connection.close()

    def _serve(self, connection: socket.socket, line: bytes) -> None:
        try:
            request = json.loads(line)
            if request.get("version") != VERSION:
                raise BadRequest(
                    f"protocol version {request.get('version')}, this is {VERSION}", "Unsupported"
                )
            operation = self._operations.get(request.get("op"))
            if operation is None:
                raise BadRequest(f"unknown request {request.get('op')!r}", "Unsupported")
            operation(connection, request)
        except BadRequest as error:
            self._refuse(connection, str(error), error.kind)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._refuse(connection, f"malformed request: {error}", "InvalidArgument")

    def _answer(self, connection: socket.socket, *, last: bool = True, **fields: Any) -> None:
        _send(connection, _line(ok=True, **fields))
        if last:
            connection.close()

    def _refuse(self, connection: socket.socket, text: str, kind: str) -> None:
        _send(connection, _line(ok=False, error=text, kind=kind))
        connection.close()

    def _done(self, connection: socket.socket) -> Callable[[str], None]:
        """Answers when the runtime has done something."""

        def done(complaint: str) -> None:
            if complaint:
                self._refuse(connection, complaint, "FailedPrecondition")
            else:
                self._answer(connection)

        return done

    # --- operations -------------------------------------------------------------------------

    def _running(self) -> Supervision:
        if not self._supervision.pid:
            raise BadRequest("is not running", "Conflict")
        return self._supervision

    def _status(self, connection: socket.socket, request: dict[str, Any]) -> None:
        watched = self._supervision
        executions = [
            {"id": execution.id, "pid": execution.pid}
            for execution in self._executions.values()
            if execution.pid
        ]
        self._answer(
            connection,
            pid=watched.pid,
            paused=watched.paused,
            restarting=watched.waiting_to_restart,
            execs=executions,
        )

    def attach(self, connection: socket.socket, *, stdin: bool, stdout: bool, stderr: bool) -> Client:
        """Join the container's own streams."""
        kinds = frozenset(kind for kind, wanted in ((STDOUT, stdout), (STDERR, stderr)) if wanted)
        client = Client(self._loop, connection, kinds, stdin=stdin)
        self.clients.append(client)
        client.join(self._supervision.streams)
        return client

    def _attach(self, connection: socket.socket, request: dict[str, Any]) -> None:
        if self._supervision.finished:
            raise BadRequest("is not running", "Conflict")
        self._answer(connection, last=False)
        self.attach(connection, stdin=request["stdin"], stdout=request["stdout"], stderr=request["stderr"])

    def _wait(self, connection: socket.socket, request: dict[str, Any]) -> None:
        register = {"exit": self._supervision.on_exit, "stopped": self._supervision.on_stop}[request["until"]]
        register(lambda ending: self._answer(connection, **ending.fields()))

    def _signal(self, connection: socket.socket, request: dict[str, Any]) -> None:
        if not self._supervision.waiting_to_restart:
            self._running()
        number = int(request["signal"])
        self._supervision.send_signal(number, stop_signal=int(request["stop_signal"]))
        self._answer(connection)

    def _stop(self, connection: socket.socket, request: dict[str, Any]) -> None:
        self._supervision.stop(
            int(request["signal"]),
            float(request["timeout"]),
            lambda ending: self._answer(connection, **ending.fields()),
            by_hand=not request.get("shutdown"),
        )

    def _pause(self, connection: socket.socket, request: dict[str, Any]) -> None:
        watched, pausing = self._running(), request["op"] == "pause"
        if watched.paused == pausing:
            raise BadRequest("is already paused" if pausing else "is not paused", "Conflict")
        (watched.pause if pausing else watched.resume)(self._done(connection))

    def _hold(self, connection: socket.socket, request: dict[str, Any]) -> None:
        watched = self._running()
        if watched.paused:
            raise BadRequest("is already paused", "Conflict")
        watched.pause(lambda complaint: self._held(connection, complaint))

    def _held(self, connection: socket.socket, complaint: str) -> None:
        """Frozen while who asked is there: it may be killed, and then nobody else lets it go on."""
        if complaint:
            self._refuse(connection, complaint, "FailedPrecondition")
            return
        self._answer(connection, last=False)
        self._loop.watch(connection.fileno(), READ, lambda events: self._let_go_on(connection))

    def _let_go_on(self, connection: socket.socket) -> None:
        self._loop.unwatch(connection.fileno())
        if self._supervision.paused:
            self._supervision.resume(lambda complaint: connection.close())
        else:
            connection.close()

    def _resize(self, connection: socket.socket, request: dict[str, Any]) -> None:
        streams = self._supervision.streams
        if request.get("exec"):
            execution = self._executions.get(request["exec"])
            if execution is None:
                raise BadRequest(f"no such exec: {request['exec']}", "NotFound")
            streams = execution.streams
        streams.resize(int(request["height"]), int(request["width"]))
        self._answer(connection)

    def _exec(self, connection: socket.socket, request: dict[str, Any]) -> None:
        watched = self._running()
        if watched.paused:
            raise BadRequest("is paused, unpause the container before exec", "Conflict")
        execution = Execution(self._loop, watched.runtime, watched.id, request, self._exec_ended)
        self._executions[execution.id] = execution
        self._tell_exec("exec_create", execution)
        if request["detach"]:
            execution.start(lambda complaint: self._exec_detached(connection, execution, complaint))
            return
        # Attached before it runs: it may be gone by the time the runtime has told us.
        kinds = frozenset((STDOUT, STDERR))
        client = Client(self._loop, connection, kinds, stdin=bool(request["stdin"]), corked=True)
        self.clients.append(client)
        client.join(execution.streams)
        execution.start(lambda complaint: self._exec_attached(client, execution, complaint))

    def _tell_exec(self, action: str, execution: Execution) -> None:
        self._supervision.state.emit(f"{action}: {execution.words}", execID=execution.id)

    def _exec_detached(self, connection: socket.socket, execution: Execution, complaint: str) -> None:
        if complaint:
            self._refuse(connection, complaint, "FailedPrecondition")
        else:
            self._tell_exec("exec_start", execution)
            self._answer(connection, pid=execution.pid)

    def _exec_attached(self, client: Client, execution: Execution, complaint: str) -> None:
        if complaint:
            client.uncork(_line(ok=False, error=complaint, kind="FailedPrecondition"), last=True)
        else:
            self._tell_exec("exec_start", execution)
            client.uncork(_line(ok=True, pid=execution.pid))

    def _exec_ended(self, execution: Execution) -> None:
        self._executions.pop(execution.id, None)
        if execution.code is not None:
            self._supervision.state.emit("exec_die", execID=execution.id, exitCode=str(execution.code))

    def _rootfs(self, connection: socket.socket, request: dict[str, Any]) -> None:
        """The root as the container's own mounts show it; bare when asked for, or while it is starting."""
        pid = self._supervision.pid
        seen = pid and not request.get("bare")
        path = f"/proc/{pid}/root" if seen else self._supervision.given["rootfs"]
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.settimeout(_ANSWER_S)
            socket.send_fds(connection, [_line(ok=True, pid=pid)], [fd])
        except OSError:
            pass
        finally:
            os.close(fd)
            connection.close()


def _line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.settimeout(_ANSWER_S)
        connection.sendall(data)
    except OSError:
        return  # who asked has gone
