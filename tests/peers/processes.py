"""Start real programs for tests and stop them for sure."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["Process", "free_port", "require", "wait_until"]


def require(program: str) -> str:
    """The program's path; a clear failure, never a skip, when it is missing."""
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    assert path, f"{program} is not installed: run `make setup` as root"
    return path


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Poll until ``ready()``; fails naming ``what``."""
    end = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < end, f"{what} did not come up in {timeout_s} s"
        time.sleep(0.05)


def listening(port: int) -> bool:
    """True when somebody accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program in its own session, with its output in a file; told to end when the test run dies."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with open(log, "ab") as out:
            self._popen = subprocess.Popen(
                [require("setpriv"), "--pdeathsig", "TERM", *(str(word) for word in command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=env,
            )

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def kill(self) -> None:
        """End it without a word."""
        self._popen.kill()
        self._popen.wait()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Ask to end, then insist."""
        if self.running:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
