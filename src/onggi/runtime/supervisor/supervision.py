"""The life of one container: started, watched, stopped, started again, ended.

::

    start ─▶ running ⇄ paused
               │ exit
               ▼
            ending: everything written is read, the runtime's leftovers are deleted
               │                        │ restart policy says so
               ▼                        ▼
            stopped                  waiting ── delay ──▶ start

Rules of restarting are Docker's: a delay of 100 ms that doubles up to a minute, from the
beginning again when the container ran for ten seconds; never after somebody stopped it.

Source: moby ``restartmanager/restartmanager.go``, ``daemon/monitor.go``, ``daemon/kill.go``.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

from onggi.runtime.supervisor.clearing import clear_up
from onggi.runtime.supervisor.console import Console
from onggi.runtime.supervisor.door import open_door
from onggi.runtime.supervisor.health import HealthMonitor
from onggi.runtime.supervisor.log import NoLog, open_log
from onggi.runtime.supervisor.loop import Loop, Timer
from onggi.runtime.supervisor.memory import oom_kills
from onggi.runtime.supervisor.network import clear_settings
from onggi.runtime.supervisor.notes import (
    FAILED,
    Ending,
    failure_code,
    note_exit,
    note_failure,
    note_start,
)
from onggi.runtime.supervisor.runtime import Runtime
from onggi.runtime.supervisor.sink import Log
from onggi.runtime.supervisor.state import State
from onggi.runtime.supervisor.streams import Streams

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Supervision"]

_FIRST_DELAY_S, _LONGEST_DELAY_S, _GOOD_RUN_S = 0.1, 60.0, 10.0
_DRAIN_S = 2.0
"""Seconds that output may come after the first process ended: others may hold its pipes."""


class Supervision:
    """One container. ``told`` hears once whether the first start succeeded (empty) or why not, and
    whether it was the runtime that refused."""

    def __init__(
        self,
        loop: Loop,
        given: dict[str, Any],
        told: Callable[[str, bool], None],
        on_finished: Callable[[], None],
    ) -> None:
        self.id: str = given["id"]
        self.given = given
        self.pid = 0
        self.paused = False
        self.waiting_to_restart = False
        self.finished = False
        self.last: Ending | None = None
        self.state = State(
            given["state_file"], given["lock_file"], given["journal"], durable=not given["auto_remove"]
        )
        self.state.describe(self.id, given["event"])
        self.runtime = Runtime(loop, given["runtime"], given["directory"], given["environment"])
        checks = given["health"]
        self._health = HealthMonitor(loop, self.runtime, self.state, self.id, checks) if checks else None
        self.log: Log = NoLog()
        self.streams = self._new_streams(loop)
        self._loop = loop
        self._told: Callable[[str, bool], None] | None = told
        self._on_finished = on_finished
        self._on_exit: list[Callable[[Ending], None]] = []
        self._on_stop: list[Callable[[Ending], None]] = []
        self._stopped_by_hand = False
        self._host_goes_down = False
        self._started_at = 0.0
        self._delay_s = 0.0
        self._failures = 0
        self._restarts = 0
        self._ending: Ending | None = None
        self._runtime_cleared = False
        self._after_clearing: Callable[[], None] | None = None
        self._starting = False
        self._gate: str = "shut" if given["gated"] else ""
        self._signals: list[tuple[int, int]] = []
        self._timers: list[Timer] = []

    def _new_streams(self, loop: Loop) -> Streams:
        return Streams(
            loop,
            sink=lambda stream, pieces: self.log.write(stream, pieces),
            sink_is_full=lambda: self.log.full,
            close_input=self.given["stdin_once"],
            on_end=self._output_ended,
        )

    # --- starting ---------------------------------------------------------------------------

    def start(self) -> None:
        """Open the log, then have the runtime create and start the container."""
        self._ending = None
        self._starting, self.waiting_to_restart = True, False
        try:
            self.log = open_log(self.given["log"], self._loop, lambda: self.streams.drained())
        except OSError as error:
            self._log_opened(f"{error.filename}: {error.strerror}")
            return
        self.log.open(self._log_opened)

    def _log_opened(self, complaint: str) -> None:
        if complaint:
            self._starting = False
            self._start_failed(complaint, by_runtime=False)
        else:
            self._run()

    def _run(self) -> None:
        if self._gate == "given up":
            self._take_back()
            return
        given = self.given
        words = ["create"] if self._gate else ["run", "--detach"]
        words += ["--bundle", given["directory"], "--pid-file", self.runtime.pid_file("init")]
        if given["tty"]:
            console = Console(self._loop, given["directory"], self.streams.terminal)
            words += ["--console-socket", console.path]
            self.runtime.run(*words, self.id, done=lambda complaint: self._made(complaint, console.close))
            return
        ends = self.streams.pipes(stdin=given["open_stdin"])

        def close_ends() -> None:
            for fd in ends:
                if fd >= 0:
                    os.close(fd)

        self.runtime.run(
            *words, self.id, stdio=ends, done=lambda complaint: self._made(complaint, close_ends)
        )

    # The gate. What is made beside the container, its network, is not always there yet when the runtime
    # has created it: "shut", "created" (its program waits), "open" (it may come in once it is created),
    # "given up". Without one the runtime creates and starts at once, as it does for every later start.

    def let_in(self) -> None:
        """What was made beside the container is there."""
        if self._gate == "created":
            self._enter()
        elif self._gate == "shut":
            self._gate = "open"

    def give_up(self) -> None:
        """It will not be: take back what was created, and say nothing of it."""
        created, self._gate = self._gate == "created", "given up"
        if created:
            self._take_back()

    def _made(self, complaint: str, close: Callable[[], None]) -> None:
        close()
        if complaint or not self._gate:
            self._started(complaint)
        elif self._gate == "open":
            self._enter()
        elif self._gate == "given up":
            self._take_back()
        else:
            self._gate = "created"

    def _enter(self) -> None:
        self._gate = ""
        state = self.given["runtime_state"]
        if not (state and open_door(self._loop, state, self._came_in)):
            self._came_in(False)

    def _came_in(self, came: bool) -> None:
        if came:
            self._started("")
        else:
            self.runtime.run("start", self.id, done=self._started)

    def _take_back(self) -> None:
        self._starting = False
        self.streams.abandon()

        def deleted(complaint: str) -> None:
            self.state.update(clear_settings)
            self.log.close(self._finish)

        self.runtime.run("delete", "--force", self.id, done=deleted)

    def _started(self, complaint: str) -> None:
        self._starting = False
        if complaint:
            self._start_failed(complaint, by_runtime=True)
            return
        with open(self.runtime.pid_file("init")) as file:
            self.pid = int(file.read())
        self._started_at = time.monotonic()
        self.state.update(self._note_start)
        self.state.emit("start")
        if self._health is not None:
            self._health.start()
        self._tell("", by_runtime=True)
        self._loop.on_exit(self.pid, self._exited)
        signals, self._signals = self._signals, []
        for number, stop_signal in signals:
            self.send_signal(number, stop_signal=stop_signal)

    def _note_start(self, document: dict[str, Any]) -> None:
        note_start(document, self.pid, self._restarts)
        if self._health is not None:
            self._health.begin(document)

    def _start_failed(self, complaint: str, *, by_runtime: bool) -> None:
        code = failure_code(complaint) if by_runtime else FAILED
        self.last = Ending(code, error=complaint)
        self.streams.abandon()
        if not by_runtime:
            self._failed(complaint, code, by_runtime=False)
            return
        # A runtime that was killed has left its state, and maybe a process at the door.
        self.runtime.run(
            "delete", "--force", self.id, done=lambda _: self._failed(complaint, code, by_runtime=True)
        )

    def _failed(self, complaint: str, code: int, *, by_runtime: bool) -> None:
        self.state.update(lambda document: note_failure(document, code, complaint))
        self._tell(complaint, by_runtime=by_runtime)
        self.log.close(self._finish)

    def _tell(self, complaint: str, *, by_runtime: bool) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(complaint, by_runtime)

    # --- ending -----------------------------------------------------------------------------

    def _exited(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        oom = oom_kills(self.given["memory_events"]) > 0
        self._ending = Ending(code if code >= 0 else 128 - code, oom=oom)
        if self._health is not None:
            self._ending.health = self._health.stop()
        self.pid = 0
        self.paused = False
        self._cancel_timers()
        if oom:
            self.state.emit("oom")
        if self.given["shared_pids"]:
            # Others of the container live on without a pid namespace that ends them.
            self.runtime.run("kill", "--all", self.id, "KILL", done=lambda complaint: None)
        if self.streams.ended:
            self._output_ended()
        else:
            self._timers.append(self._loop.after(_DRAIN_S, self.streams.abandon))

    def _output_ended(self) -> None:
        if self._ending is None:
            return  # it closed its streams and goes on
        self._cancel_timers()
        ending, self._ending = self._ending, None
        self.last = ending
        self._runtime_cleared, self._after_clearing = False, None
        plain_state = "" if self.given["shared_pids"] else self.given["runtime_state"]
        if not plain_state:
            self._have_cleared()
        # Its end is told when the log has all of it, and a run that follows has a log of its own.
        self.log.close(lambda: self._log_closed(ending, plain_state))

    def _log_closed(self, ending: Ending, plain_state: str) -> None:
        """The end is told before the runtime's leftovers are gone; what follows waits for that."""
        again = self._restarts_after(ending)
        self.state.update(lambda document: self._note_exit(document, ending, again=again))
        self.state.emit("die", exitCode=str(ending.code))
        self._tell_end(ending)
        self._after_clearing = self._wait_and_restart if again else self._finish
        if self._runtime_cleared or (plain_state and clear_up(plain_state)):
            self._after_clearing()
        elif plain_state:
            self._have_cleared()

    def _have_cleared(self) -> None:
        self.runtime.run("delete", "--force", self.id, done=lambda complaint: self._cleared())

    def _cleared(self) -> None:
        self._runtime_cleared = True
        if self._after_clearing is not None:
            self._after_clearing()

    def _note_exit(self, document: dict[str, Any], ending: Ending, *, again: bool) -> None:
        note_exit(document, ending, again=again, restarts=self._restarts)
        if self._stopped_by_hand and not self._host_goes_down:
            document["HasBeenManuallyStopped"] = True

    def _tell_end(self, ending: Ending) -> None:
        """To who waits for the next exit, and who is attached: their streams end here, as Docker's do."""
        waiting, self._on_exit = self._on_exit, []
        for call in waiting:
            call(ending)
        self.streams.finish(json.dumps(ending.fields()).encode())

    def _finish(self) -> None:
        """Nothing more will run."""
        self.finished = True
        ending = self.last or Ending(0)
        self._tell_end(ending)
        waiting, self._on_stop = self._on_stop, []
        for call in waiting:
            call(ending)
        self._on_finished()

    # --- restarting -------------------------------------------------------------------------

    def _restarts_after(self, ending: Ending) -> bool:
        if self._stopped_by_hand or self.given["auto_remove"]:
            return False
        name, limit = self._policy()
        self._failures = self._failures + 1 if ending.code else 0
        if name == "on-failure":
            return ending.code != 0 and (limit == 0 or self._failures <= limit)
        return name in ("always", "unless-stopped")

    def _policy(self) -> tuple[str, int]:
        """Read when it is needed: ``update --restart`` may have changed it."""
        try:
            with open(self.given["host_config_file"], encoding="utf-8") as file:
                policy = json.load(file)["RestartPolicy"]
            return policy["Name"], policy["MaximumRetryCount"]
        except (OSError, ValueError, KeyError, TypeError):
            return "no", 0

    def _wait_and_restart(self) -> None:
        if self._stopped_by_hand:
            self._give_up()  # since the end was told
            return
        if time.monotonic() - self._started_at >= _GOOD_RUN_S or not self._delay_s:
            self._delay_s = _FIRST_DELAY_S
        else:
            self._delay_s = min(self._delay_s * 2, _LONGEST_DELAY_S)
        self._restarts += 1
        self.waiting_to_restart = True
        self.streams = self._new_streams(self._loop)
        self._timers.append(self._loop.after(self._delay_s, self.start))

    # --- what commands ask for ----------------------------------------------------------------

    def on_exit(self, call: Callable[[Ending], None]) -> None:
        """At the next exit, a restart following or not."""
        self._on_exit.append(call)

    def on_stop(self, call: Callable[[Ending], None]) -> None:
        """When it stays down; at once if it does."""
        if self.finished:
            call(self.last or Ending(0))
        else:
            self._on_stop.append(call)

    def send_signal(self, number: int, *, stop_signal: int) -> None:
        """Signal the first process. The stop signal and KILL also mean: no restart, no staying frozen."""
        if number in (signal.SIGKILL, stop_signal):
            self._stopped_by_hand = True
            if not self._host_goes_down:
                self.state.update(lambda document: document.update(HasBeenManuallyStopped=True))
        if self._starting:
            self._signals.append((number, stop_signal))
            return
        if self.waiting_to_restart and self._stopped_by_hand:
            self._give_up()
            return
        if self.pid:
            os.kill(self.pid, number)
            self.state.emit("kill", signal=str(number))
        if self.paused and self._stopped_by_hand:
            self.resume(lambda complaint: None)

    def _give_up(self) -> None:
        """Stopped while it waited for its restart."""
        self._cancel_timers()
        self.waiting_to_restart = False
        self.state.set(Running=False, Restarting=False)
        self._finish()

    def stop(
        self, number: int, timeout_s: float, done: Callable[[Ending], None], *, by_hand: bool = True
    ) -> None:
        """Ask the first process to end, then make it (a negative timeout waits for ever).

        Not ``by_hand``: the host goes down, and nobody wanted it stopped.
        """

        def stopped(ending: Ending) -> None:
            self.state.emit("stop")
            done(ending)

        self.on_stop(stopped)
        self._host_goes_down = not by_hand
        self._stopped_by_hand = True
        self.send_signal(number, stop_signal=number)
        if timeout_s >= 0 and not self.finished:
            self._timers.append(self._loop.after(timeout_s, self._kill))

    def _kill(self) -> None:
        if self.pid:
            self.send_signal(signal.SIGKILL, stop_signal=signal.SIGKILL)

    def pause(self, done: Callable[[str], None]) -> None:
        """Freeze every process."""
        self.runtime.run("pause", self.id, done=lambda complaint: self._paused(complaint, True, done))

    def resume(self, done: Callable[[str], None]) -> None:
        """Let them go on."""
        self.runtime.run("resume", self.id, done=lambda complaint: self._paused(complaint, False, done))

    def _paused(self, complaint: str, paused: bool, done: Callable[[str], None]) -> None:
        if not complaint and self.pid:
            self.paused = paused
            self.state.set(Paused=paused, **self._health_while(paused))
            self.state.emit("pause" if paused else "unpause")
        done(complaint)

    def _health_while(self, paused: bool) -> dict[str, Any]:
        """Nothing is checked while nothing runs."""
        if self._health is None:
            return {}
        if paused:
            return self._health.stop()
        self._health.start()
        return {}

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
