"""Random words about one container, said until a time: ``python -m tests.crash.one_container ARGUMENTS``.

ARGUMENTS is a JSON object, see :class:`Talk`. Many such processes make, start, use, stop and remove the
container named ``jar``, kill its supervisor, and start commands that are killed. A refusal by name is
what an overtaken word gets; what else goes wrong is printed, one line each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import onggi
from onggi.engine.containers.container import Container
from onggi.errors import Conflict, DeadlineExceeded, FailedPrecondition, NotFound, OnggiError

__all__ = ["Talk"]

NAME = "jar"
# What those who were overtaken are told.
_OVERTAKEN = (NotFound, Conflict, FailedPrecondition)
# Seconds after which a word of these hangs.
_SLOWEST_S = 60.0
_PROGRAMS = (["sleep", "1000"], ["sleep", "0.3"], ["true"])


@dataclass(frozen=True)
class Talk:
    """Where, with which luck, and until when. ``command`` is Onggi's command line without a verb."""

    root: str
    exec_root: str
    config: str
    driver: str
    group: str
    command: Sequence[str]
    seed: int
    until: float

    def run(self) -> None:
        """Say words until it is time."""
        rng = Random(self.seed)
        with onggi.open(
            self.root, exec_root=self.exec_root, storage_driver=self.driver, config_file=self.config
        ) as engine:
            while time.time() < self.until:
                name, say = rng.choice(list(self._words(engine, rng).items()))
                began = time.monotonic()
                try:
                    say()
                except _OVERTAKEN:
                    pass
                except OnggiError as error:
                    print(f"{name}: {type(error).__name__}: {error}")
                if time.monotonic() - began > _SLOWEST_S:
                    print(f"{name}: took {time.monotonic() - began:.0f} s")

    def _words(self, engine: onggi.Engine, rng: Random) -> dict[str, Callable[[], object]]:
        def jar() -> Container:
            return engine.containers.get(NAME)

        limits = {"CgroupParent": self.group, "NetworkMode": "none", "AutoRemove": rng.random() < 0.2}
        run = ("run", "--rm", "--network", "none", "--cgroup-parent", self.group, "--name", NAME)
        return {
            "create": lambda: engine.containers.create(
                "box", rng.choice(_PROGRAMS), name=NAME, host_config=limits
            ),
            "start": lambda: jar().start(),
            "stop": lambda: jar().stop(0),
            "kill": lambda: jar().kill(),
            "restart": lambda: jar().restart(0),
            "rm": lambda: jar().remove(),
            "rm -f": lambda: jar().remove(force=True),
            "pause": lambda: jar().pause(),
            "unpause": lambda: jar().unpause(),
            "exec": lambda: jar().exec(["echo", "here"]).communicate(timeout_s=_SLOWEST_S),
            "wait": lambda: _patiently(jar()),
            "list": lambda: [each.inspect() for each in engine.containers.list(all=True)],
            "kill its supervisor": lambda: _kill_supervisor(jar()),
            "start -a, killed": lambda: self._killed(rng, "start", "-a", NAME),
            "exec, killed": lambda: self._killed(rng, "exec", NAME, "sleep", "5"),
            "rm -f, killed": lambda: self._killed(rng, "rm", "-f", NAME),
            "run, killed": lambda: self._killed(rng, *run, "box", "sleep", "2"),
        }

    def _killed(self, rng: Random, *words: str) -> None:
        """A command that is killed soon."""
        null = subprocess.DEVNULL
        child = subprocess.Popen([*self.command, *words], stdin=null, stdout=null, stderr=null)
        time.sleep(rng.uniform(0.02, 0.6))
        child.kill()
        child.wait()


def _patiently(container: Container) -> None:
    try:
        container.wait(timeout_s=0.5)
    except DeadlineExceeded:
        return


def _kill_supervisor(container: Container) -> None:
    """The parent of the container's first process, if it is one."""
    pid = container.inspect()["State"]["Pid"]
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if b"onggi.runtime.supervisor" in Path(f"/proc/{parent}/cmdline").read_bytes():
            os.kill(parent, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return  # it has ended meanwhile


if __name__ == "__main__":
    Talk(**json.loads(sys.argv[1])).run()
