"""A further process in a running container: ``exec``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from onggi.runtime.supervisor.console import Console
from onggi.runtime.supervisor.loop import Loop, Timer
from onggi.runtime.supervisor.runtime import Runtime
from onggi.runtime.supervisor.streams import Streams

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Execution"]

_DRAIN_S = 2.0


class Execution:
    """``process`` is the runtime spec's. ``started`` hears the runtime's complaint, empty for none."""

    def __init__(
        self,
        loop: Loop,
        runtime: Runtime,
        container: str,
        request: dict[str, Any],
        on_end: Callable[[Execution], None],
    ) -> None:
        self.id: str = request["id"]
        self.pid = 0
        self.code: int | None = None
        self.streams = Streams(loop, on_end=self._output_ended)
        self._loop = loop
        self._runtime = runtime
        self._container = container
        self._request = request
        self._on_end = on_end
        self._timer: Timer | None = None

    @property
    def words(self) -> str:
        """Program and arguments, for events."""
        return " ".join(self._request["process"]["args"])

    def start(self, started: Callable[[str], None]) -> None:
        """Have the runtime start the process."""
        request = self._request
        file = f"{self._runtime.pid_file(self.id)}.json"
        with open(file, "w", encoding="utf-8", errors="surrogateescape", opener=_private) as out:
            json.dump(request["process"], out, ensure_ascii=False)
        words = ["exec", "--detach", "--pid-file", self._runtime.pid_file(self.id), "--process", file]
        if request["process"].get("terminal"):
            console = Console(self._loop, os.path.dirname(file), self.streams.terminal)
            words += ["--console-socket", console.path]
            self._run(words, (-1, -1, -1), console.close, started, file)
        elif request["detach"]:
            self._run(words, (-1, -1, -1), lambda: None, started, file)
        else:
            ends = self.streams.pipes(stdin=request["stdin"])
            self._run(words, ends, lambda: _close(ends), started, file)

    def _run(
        self,
        words: list[str],
        stdio: tuple[int, int, int],
        close: Callable[[], None],
        started: Callable[[str], None],
        file: str,
    ) -> None:
        def done(complaint: str) -> None:
            close()
            os.unlink(file)
            if complaint:
                started(complaint)
                self.streams.abandon()
                self._on_end(self)
                return
            with open(self._runtime.pid_file(self.id)) as numbers:
                self.pid = int(numbers.read())
            os.unlink(self._runtime.pid_file(self.id))
            started("")
            self._loop.on_exit(self.pid, self._exited)

        self._runtime.run(*words, self._container, stdio=stdio, done=done)

    def _exited(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self.code = code if code >= 0 else 128 - code
        if self.streams.ended:
            self._output_ended()
        else:
            # What it left running may hold its streams for ever.
            self._timer = self._loop.after(_DRAIN_S, self.streams.abandon)

    def _output_ended(self) -> None:
        if self.code is None or self._timer is _ENDED:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = _ENDED
        self.streams.finish(json.dumps({"exit": self.code}).encode())
        self._on_end(self)


_ENDED = Timer(0.0, lambda: None)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _close(ends: tuple[int, int, int]) -> None:
    for fd in ends:
        if fd >= 0:
            os.close(fd)
