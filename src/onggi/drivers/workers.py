"""The engine's side of the helper process: start it on first need, ask it for workers."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from onggi.errors import FailedPrecondition

__all__ = ["HelperFailed", "Workers"]

# The helper finds its socket here; low numbers are the standard streams.
_HELPER_FD = 9
_START = "import sys; sys.path[:] = {path!r}; from onggi.drivers.helper import main; main({fd}, {job!r})"


class HelperFailed(FailedPrecondition):
    """The helper process could not be started, or died."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"start worker: {reason}",
            hint="check that this Python can be executed and that this user may start processes",
        )


class Workers:
    """Starts workers. Thread-safe; owns the helper process until :meth:`close`.

    ``job``: what most of them will do (worker.py); the helper gets ready for it.
    """

    def __init__(self, job: str = "") -> None:
        self._job = job
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._pid = 0

    def warm_up(self) -> None:
        """Start the helper now, so that it is ready when the first layer arrives; does not wait."""
        with self._lock:
            self._ensure()

    def start(self, request: dict[str, object], descriptors: Sequence[int]) -> socket.socket:
        """Fork a worker for ``request``; returns the control socket to it.

        ``descriptors`` are passed on and stay the caller's. Raises HelperFailed.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            data = json.dumps(request).encode()
            try:
                self._send(data, [theirs.fileno(), *descriptors])
            except BaseException:
                ours.close()
                raise
        return ours

    def _send(self, data: bytes, descriptors: list[int]) -> None:
        with self._lock:
            try:
                socket.send_fds(self._ensure(), [data], descriptors)
            except (BrokenPipeError, ConnectionResetError):
                # It was killed: one new helper, then give up.
                self._stop()
                try:
                    socket.send_fds(self._ensure(), [data], descriptors)
                except OSError as error:
                    raise HelperFailed(str(error)) from error

    def _ensure(self) -> socket.socket:
        if self._socket is None:
            self._socket, self._pid = _spawn(self._job)
        return self._socket

    def close(self) -> None:
        """End the helper and its workers."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass


def _spawn(job: str) -> tuple[socket.socket, int]:
    if not sys.executable:
        raise HelperFailed("this Python does not know its own executable (sys.executable is empty)")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = _START.format(path=_import_path(), fd=_HELPER_FD, job=job)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, theirs.fileno(), _HELPER_FD),
    ]
    try:
        with theirs:
            arguments = [sys.executable, "-I", "-S", "-c", code]
            pid = os.posix_spawn(sys.executable, arguments, {"LC_ALL": "C.UTF-8"}, file_actions=actions)
    except OSError as error:
        ours.close()
        raise HelperFailed(str(error)) from error
    return ours, pid


def _import_path() -> list[str]:
    """The engine's own import path, without relative entries: the helper starts without ``site``."""
    package = str(Path(__file__).resolve().parents[2])
    return [package, *(entry for entry in sys.path if os.path.isabs(entry) and entry != package)]
