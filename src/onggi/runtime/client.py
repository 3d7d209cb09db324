"""Talking to a supervisor: requests, and the streams of attach and exec (supervisor/protocol.py)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from onggi import errors
from onggi.errors import Conflict, DeadlineExceeded, OnggiError
from onggi.linux.unix_socket import SHUT_RDWR, SHUT_WR, UnixSocket, receive_with, stream_socket
from onggi.runtime.directories import running_directory
from onggi.runtime.supervisor.protocol import CONTROL, FRAME, RESULT, VERSION

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Attached", "NoSupervisor", "SupervisorClient"]

_ANSWER_BYTES = 64 * 1024
_RECEIVE_BYTES = 256 * 1024
_TIMEOUT_S = 60.0


class NoSupervisor(Conflict):
    """Nobody answers for the container: it is not running, or its supervisor was killed."""

    def __init__(self, id: str) -> None:
        super().__init__(f"container {id[:12]} is not running")
        self.id = id


class Attached:
    """The stream of an attach or exec; owns the socket.

    Iterating gives ``(kind, bytes)`` until the process has ended; :attr:`result` is then what
    the last frame said, or None when the supervisor died. Writing is standard input.
    """

    def __init__(self, connection: UnixSocket, received: bytes = b"", pid: int = 0) -> None:
        self._socket = connection
        self._received = bytearray(received)
        self._deadline: float | None = None
        self._closed = False
        self.pid = pid
        self.result: dict[str, Any] | None = None

    def fileno(self) -> int:
        """For who waits for many."""
        return self._socket.fileno()

    def set_timeout(self, seconds: float | None) -> None:
        """Reading ends with TimeoutError that long from now."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while True:
            frame = self._frame()
            if frame is None:
                if self._deadline is not None:
                    self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
                data = self._socket.recv(_RECEIVE_BYTES)
                if not data:
                    return
                self._received += data
            elif frame[0] == RESULT:
                self.result = json.loads(frame[1])
                return
            else:
                yield frame

    def _frame(self) -> tuple[int, bytes] | None:
        if len(self._received) < FRAME.size:
            return None
        kind, length = FRAME.unpack_from(self._received)
        end = FRAME.size + length
        if len(self._received) < end:
            return None
        payload = bytes(self._received[FRAME.size : end])
        del self._received[:end]
        return kind, payload

    def write(self, data: bytes) -> None:
        """Standard input; waits while the process does not read. Raises BrokenPipeError."""
        self._socket.sendall(data)

    def close_input(self) -> None:
        """The end of standard input."""
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:
            pass  # it has ended

    def shut_down(self) -> None:
        """Detach from another thread than the one that reads: its reading ends."""
        self._closed = True
        try:
            self._socket.shutdown(SHUT_RDWR)
        except OSError:
            pass  # it has ended

    @property
    def closed(self) -> bool:
        """True after :meth:`shut_down` or :meth:`close`."""
        return self._closed

    def close(self) -> None:
        """Detach: the process goes on."""
        self._closed = True
        self._socket.close()

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class SupervisorClient:
    """One container's supervisor; every request is a connection of its own. Thread-safe."""

    def __init__(self, exec_root: Path, id: str) -> None:
        self._directory = running_directory(exec_root, id)
        self._id = id

    def request(self, op: str, *, timeout_s: float | None = _TIMEOUT_S, **fields: Any) -> dict[str, Any]:
        """The answer. Raises NoSupervisor, DeadlineExceeded, and what the supervisor refuses with."""
        with closing(self._connect()) as connection:
            answer, _, _ = self._ask(connection, op, timeout_s, fields)
            return answer

    def attach(self, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Attached:
        """Join the container's streams."""
        return self._stream("attach", stdin=stdin, stdout=stdout, stderr=stderr)

    def exec(self, id: str, process: dict[str, Any], *, stdin: bool = False) -> Attached:
        """Run a further process; raises the runtime's errors (ProgramNotFound, …)."""
        return self._stream("exec", id=id, process=process, detach=False, stdin=stdin)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing in it runs meanwhile; it goes on also if this process is killed. Raises Conflict."""
        with closing(self._connect()) as connection:
            self._ask(connection, "hold", _TIMEOUT_S, {})
            try:
                yield
            finally:
                connection.shutdown(SHUT_WR)
                while connection.recv(1):
                    pass

    def rootfs(self, *, bare: bool = False) -> int:
        """A descriptor (O_PATH) of the container's root; the caller closes it.

        As the container sees it, or ``bare``: without what is mounted in it.
        """
        with closing(self._connect()) as connection:
            _, _, descriptors = self._ask(connection, "rootfs", _TIMEOUT_S, {"bare": bare})
            return descriptors[0]

    def _stream(self, op: str, **fields: Any) -> Attached:
        connection = self._connect()
        try:
            answer, rest, _ = self._ask(connection, op, _TIMEOUT_S, fields)
        except BaseException:
            connection.close()
            raise
        connection.settimeout(None)
        return Attached(connection, rest, int(answer.get("pid") or 0))

    def _connect(self) -> UnixSocket:
        """By way of a descriptor of the directory: an address of AF_UNIX has 107 bytes."""
        try:
            fd = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NoSupervisor(self._id) from error
        connection = stream_socket()
        try:
            connection.connect(f"/proc/self/fd/{fd}/{CONTROL}")
        except (FileNotFoundError, ConnectionRefusedError) as error:
            connection.close()
            raise NoSupervisor(self._id) from error
        finally:
            os.close(fd)
        return connection

    def _ask(
        self, connection: UnixSocket, op: str, timeout_s: float | None, fields: dict[str, Any]
    ) -> tuple[dict[str, Any], bytes, list[int]]:
        connection.settimeout(timeout_s)
        try:
            connection.sendall(json.dumps({"version": VERSION, "op": op, **fields}).encode() + b"\n")
            line, rest, descriptors = _receive_line(connection)
        except TimeoutError as error:
            late = f"{op} container {self._id[:12]}: no answer within {timeout_s:g} s"
            raise DeadlineExceeded(late) from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise NoSupervisor(self._id) from error
        if not line:
            raise NoSupervisor(self._id)
        answer = json.loads(line)
        if not answer["ok"]:
            raise self._refusal(op, answer["error"], answer["kind"])
        return answer, rest, descriptors

    def _refusal(self, op: str, text: str, kind: str) -> OnggiError:
        action = f"{op} container {self._id[:12]}"
        if kind == "FailedPrecondition":
            from onggi.runtime.oci_runtime import runtime_error

            return runtime_error(action, self._id, text)
        make: Callable[[str], OnggiError] = getattr(errors, kind, errors.OnggiError)
        return make(f"Container {self._id} {text}" if kind == "Conflict" else f"{action}: {text}")


def _receive_line(connection: UnixSocket) -> tuple[bytes, bytes, list[int]]:
    """The answer, what came after it, and descriptors; nothing when the other side is gone."""
    received, descriptors = b"", []
    while b"\n" not in received:
        data, fds = receive_with(connection, _ANSWER_BYTES, 4)
        descriptors += fds
        if not data:
            return b"", b"", descriptors
        received += data
    line, _, rest = received.partition(b"\n")
    return line, rest, descriptors
