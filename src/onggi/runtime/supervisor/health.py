"""Health checks: a program run in the container again and again, and what its exit codes say.

::

    starting ── exit 0 ──▶ healthy ⇄ unhealthy        (``retries`` failures in a row)

Failures in the start period of a container that was never healthy do not count. While it is frozen
or does not run nothing is checked, and its state is unhealthy, as Docker has it.

checks = { process_file,                  the runtime spec's process, made by who starts the container
           words,                         what it runs, for events
           interval_s, timeout_s, start_period_s, start_interval_s, retries,
           timeout_text, tells_output }    what is told of a check that took too long

Source: moby ``daemon/health.go``, ``container/health.go``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from onggi.runtime.supervisor.loop import READ, Loop, Timer
from onggi.runtime.supervisor.runtime import Runtime
from onggi.runtime.supervisor.state import State, now_text

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

__all__ = ["HealthMonitor"]

_KEPT_RESULTS = 5
_OUTPUT_BYTES = 4096
_NOT_RUN = -1
_READ_BYTES = 64 * 1024
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"


class HealthMonitor:
    """The checks of one container, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self, loop: Loop, runtime: Runtime, state: State, container: str, checks: dict[str, Any]
    ) -> None:
        self._loop = loop
        self._runtime = runtime
        self._state = state
        self._container = container
        self._checks = checks
        self._status = ""
        self._streak = 0
        self._log: list[dict[str, Any]] = []
        self._started = 0.0
        self._timer: Timer | None = None
        self._probe: _Probe | None = None

    def begin(self, document: dict[str, Any]) -> None:
        """The container has started: its state, for the document that is being written; results stay."""
        self._status, self._streak, self._started = STARTING, 0, time.monotonic()
        self._log = list((document["State"].get("Health") or {}).get("Log") or ())
        document["State"]["Health"] = self._fields()

    def _fields(self) -> dict[str, Any]:
        return {"Status": self._status, "FailingStreak": self._streak, "Log": list(self._log)}

    def start(self) -> None:
        """Check from now on."""
        self._timer = self._loop.after(self._interval_s(), self._check)

    def stop(self) -> dict[str, Any]:
        """Check no more; what a check under way finds is passed over. Fields for ``State``."""
        if self._timer is not None:
            self._timer.cancel()
        if self._probe is not None:
            self._probe.abandon()
            self._probe = None
        self._status = UNHEALTHY
        return {"Health": self._fields()}

    def _interval_s(self) -> float:
        in_start_period = time.monotonic() - self._started < self._checks["start_period_s"]
        quick = in_start_period and self._status == STARTING
        return float(self._checks["start_interval_s" if quick else "interval_s"])

    def _check(self) -> None:
        self._probe = _Probe(
            self._loop, self._runtime, self._state, self._container, self._checks, self._result
        )
        self._probe.start()

    def _result(self, result: dict[str, Any], began: float) -> None:
        self._probe = None
        before = self._status
        self._log = [*self._log[1 - _KEPT_RESULTS :], result]
        self._judge(result["ExitCode"], began)
        health = self._fields()
        self._state.update(lambda document: document["State"].update(Health=health), durable=False)
        if self._status != before:
            self._state.emit(f"health_status: {self._status}")
        self.start()

    def _judge(self, code: int, began: float) -> None:
        if code == 0:
            self._status, self._streak = HEALTHY, 0
            return
        if self._status == STARTING and began - self._started < self._checks["start_period_s"]:
            return
        self._streak += 1
        if self._streak >= self._checks["retries"]:
            self._status = UNHEALTHY


class _Probe:
    """One check. ``done`` gets Docker's result and when (monotonic) it began, unless it is abandoned."""

    def __init__(
        self,
        loop: Loop,
        runtime: Runtime,
        state: State,
        container: str,
        checks: dict[str, Any],
        done: Callable[[dict[str, Any], float], None],
    ) -> None:
        self._loop = loop
        self._runtime = runtime
        self._state = state
        self._container = container
        self._checks = checks
        self._done: Callable[[dict[str, Any], float], None] | None = done
        self._id = os.urandom(32).hex()
        self._output = bytearray()
        self._truncated = False
        self._pipe = -1
        self._pid = 0
        self._began = time.monotonic()
        self._began_text = now_text()
        self._timer: Timer | None = None

    def start(self) -> None:
        """Run it, with both outputs on one pipe: what comes first is first."""
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        self._loop.watch(self._pipe, READ, lambda events: self._read())
        self._timer = self._loop.after(self._checks["timeout_s"], self._too_late)
        words = ["exec", "--detach", "--pid-file", self._pid_file, "--process", self._checks["process_file"]]
        self._emit(f"exec_create: {self._checks['words']}")

        def started(complaint: str) -> None:
            os.close(theirs)
            self._started(complaint)

        self._runtime.run(*words, self._container, stdio=(-1, theirs, theirs), done=started)

    @property
    def _pid_file(self) -> str:
        return self._runtime.pid_file(f"health-{self._id[:12]}")

    def _started(self, complaint: str) -> None:
        if complaint:
            self._close()
            self._tell(_NOT_RUN, f"OCI runtime exec failed: {complaint}: unknown")
            return
        self._emit(f"exec_start: {self._checks['words']}")
        with open(self._pid_file) as number:
            self._pid = int(number.read())
        os.unlink(self._pid_file)
        abandoned = self._done is None
        self._loop.on_exit(self._pid, self._exited)
        if abandoned and self._pid:  # it may have ended already, and 0 would be everybody
            os.kill(self._pid, signal.SIGKILL)

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close()
        room = _OUTPUT_BYTES - len(self._output)
        self._output += data[:room]
        self._truncated = self._truncated or len(data) > room

    def _close(self) -> None:
        if self._pipe >= 0:
            self._loop.unwatch(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def _exited(self, status: int) -> None:
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
        if self._pipe >= 0:
            self._read()  # what it left running may hold the pipe: that is not waited for
        self._close()
        self._emit("exec_die", exitCode=str(code))
        self._tell(code, self._said())

    def _said(self) -> str:
        text = self._output.decode("utf-8", "replace")
        return f"{text}..." if self._truncated else text

    def _too_late(self) -> None:
        said = self._said()
        late = f"Health check exceeded timeout ({self._checks['timeout_text']})"
        self._tell(_NOT_RUN, f"{late}: {said}" if said and self._checks["tells_output"] else late)
        self.abandon()

    def _tell(self, code: int, output: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        done, self._done = self._done, None
        if done is not None:
            result = {"Start": self._began_text, "End": now_text(), "ExitCode": code, "Output": output}
            done(result, self._began)

    def abandon(self) -> None:
        """Nobody wants to know any more."""
        self._done = None
        if self._timer is not None:
            self._timer.cancel()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)

    def _emit(self, action: str, **more: str) -> None:
        self._state.emit(action, execID=self._id, **more)
