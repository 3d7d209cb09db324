"""A real dockerd with a data root of its own, and the docker command line on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.peers.processes import Process, require, wait_until

__all__ = ["Daemon"]


_WITH_LOOPBACK = 'ip link set lo up && exec "$@"'


class Daemon:
    """dockerd 20.10 without networks; a context manager that always stops it.

    ``settings`` are those of daemon.json. ``own_network``: with networks, in a network namespace of
    its own; no registry of the test run is reached from there.
    """

    def __init__(
        self,
        data_root: Path,
        work: Path,
        *,
        mirror: str = "",
        settings: Mapping[str, object] | None = None,
        own_network: bool = False,
    ) -> None:
        self.data_root = data_root
        self._work = work
        self._mirror = mirror
        self._settings = settings or {}
        self._own_network = own_network
        self._process: Process | None = None

    @property
    def _socket(self) -> Path:
        return self._work / "d.sock"

    def __enter__(self) -> Daemon:
        self._work.mkdir(parents=True, exist_ok=True)
        # A short path: containerd's sockets in it must stay below 108 characters.
        self._exec_root = Path(tempfile.mkdtemp(prefix="onggi-"))
        command = [
            require("dockerd"),
            *("--data-root", str(self.data_root)),
            *("--exec-root", str(self._exec_root)),
            *("--pidfile", str(self._work / "d.pid")),
            *("--host", f"unix://{self._socket}"),
            *("--config-file", str(self._work / "none.json")),
        ]
        if self._own_network:
            command = [require("unshare"), "--net", "sh", "-c", _WITH_LOOPBACK, "sh", *command]
        else:
            command += ["--bridge=none", "--iptables=false"]
        (self._work / "none.json").write_text(json.dumps(self._settings))
        if self._mirror:
            command += ["--registry-mirror", self._mirror]
        self._start(command)
        return self

    def _start(self, command: Sequence[str], tries: int = 3) -> None:
        """Its containerd has 15 s to come up, which a busy machine may take: then try again."""
        for attempt in range(1, tries + 1):
            self._process = Process(command, self._work / f"dockerd-{attempt}.log")
            wait_until(lambda: self._answers() or not self._running(), "dockerd", timeout_s=60)
            if self._running():
                return
            text = self._process.log.read_text()
            assert "timeout waiting for containerd" in text and attempt < tries, text[-2000:]

    def _running(self) -> bool:
        return self._process is not None and self._process.running

    def _answers(self) -> bool:
        return self._socket.exists() and self.run("version", check=False).returncode == 0

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.stop(30)
        if os.path.ismount(self.data_root):
            subprocess.run(["umount", "-l", str(self.data_root)], check=False)
        shutil.rmtree(self._exec_root, ignore_errors=True)

    def crash(self) -> None:
        """Kill it where it stands; its containerd goes with it."""
        assert self._process is not None
        self._process.kill()

    def run(
        self, *words: str, check: bool = True, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker command line on this daemon."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, env=self.environment, check=False
        )
        assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """The same without waiting for its end, nor for what it says."""
        return subprocess.Popen(
            self.command(*words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
        )

    def command(self, *words: str) -> list[str]:
        """A docker command line; :attr:`environment` names the daemon."""
        return [require("docker"), *words]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._work),
            "DOCKER_HOST": f"unix://{self._socket}",
            "DOCKER_API_VERSION": "1.41",
            "DOCKER_CONFIG": str(self._work / "config"),
        }

    def output(self, *words: str) -> str:
        """Standard output of a command that must succeed."""
        return self.run(*words).stdout


def onggi_environment(**settings: str) -> dict[str, str]:
    """An environment in which nothing of the user's configuration is seen."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": "/nonexistent", **settings}


def lines(text: str, drop: Sequence[str] = ()) -> list[str]:
    """Lines without those that contain one of ``drop``."""
    return [line for line in text.splitlines() if not any(word in line for word in drop)]
