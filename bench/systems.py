"""The engines that are measured, each behind the same few verbs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.machine import Daemon, find, run

__all__ = ["Dockerd", "Onggi", "Podman", "System", "install_onggi", "installed_systems"]

# What the docker command line of Debian's dockerd 20.10 and newer ones both speak.
_API_VERSION = "1.41"
_WITH_LOOPBACK = 'ip link set lo up && exec "$0" "$@"'


class System(ABC):
    """One engine with a fresh data root on ``disk``, between :meth:`start` and :meth:`stop`."""

    name: str

    def __init__(self) -> None:
        self._command: subprocess.Popen[str] | None = None

    @abstractmethod
    def start(self, disk: Path) -> None:
        """Get ready; not measured."""

    def stop(self) -> None:
        """End what :meth:`start` started."""
        self._command = None

    @abstractmethod
    def pull(self, reference: str) -> None:
        """Pull with the command line, from start to exit."""

    @abstractmethod
    def mounted(self, reference: str) -> AbstractContextManager[Path]:
        """The image's files at a path, mounted by the engine where it can."""

    def process_ids(self) -> list[int]:
        """The roots of the process trees that work for a pull."""
        command = self._command
        return [] if command is None else [command.pid]

    def _run(self, *words: str | Path, **environment: str) -> str:
        command = [str(word) for word in words]
        self._command = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        output, errors = self._command.communicate()
        if self._command.returncode:
            raise SystemExit(f"{' '.join(command)}: {errors.strip()}")
        return output


class Onggi(System):
    """The installed command line with one storage driver; no daemon."""

    def __init__(
        self, program: Path, driver: str = "overlay2", *options: str, exec_root: Path | None = None
    ) -> None:
        super().__init__()
        self.name = " ".join(("onggi", *([driver] if driver != "overlay2" else []), *options))
        self._program = program
        self._settings: dict[str, object] = {"storage-driver": driver, "storage-opts": list(options)}
        if exec_root is not None:
            self._settings["exec-root"] = str(exec_root)
        self.environment: dict[str, str] = {}
        self.root = Path()
        self._config = Path()

    def start(self, disk: Path) -> None:
        self.root = disk / "onggi"
        self._config = disk / "onggi.json"
        self._config.write_text(json.dumps(self._settings))

    def pull(self, reference: str) -> None:
        self.command("pull", "-q", reference)

    @contextmanager
    def mounted(self, reference: str) -> Iterator[Path]:
        path = self.command("image", "mount", reference).strip()
        yield Path(path)
        self.command("image", "unmount", reference)

    def command(self, *words: str) -> str:
        """Run an onggi command on the data root."""
        return self._run(*self.words(*words))

    def words(self, *words: str) -> list[str]:
        """A command line on the data root."""
        return [str(self._program), "--config-file", str(self._config), "--data-root", str(self.root), *words]


class Dockerd(System):
    """A running dockerd and the docker command line.

    Without networks, or (``own_network``) with a bridge in a network namespace of its own.
    """

    name = "dockerd"

    def __init__(self, work: Path, *, own_network: bool = False) -> None:
        super().__init__()
        self._work = work
        self._own_network = own_network
        self._daemon: Daemon | None = None
        self.environment = {"DOCKER_HOST": f"unix://{work}/docker.sock", "DOCKER_API_VERSION": _API_VERSION}

    def start(self, disk: Path) -> None:
        (self._work / "docker.json").write_text("{}")
        command = [find("dockerd") or "dockerd"]
        if self._own_network:
            command = ["unshare", "--net", "sh", "-c", _WITH_LOOPBACK, *command]
        else:
            command += ["--bridge=none", "--iptables=false"]
        for option, path in (
            ("--data-root", disk / "docker"),
            ("--exec-root", self._work / "docker-exec"),
            ("--pidfile", self._work / "docker.pid"),
            ("--config-file", self._work / "docker.json"),
            ("--host", self.environment["DOCKER_HOST"]),
        ):
            command += [option, str(path)]
        self._daemon = Daemon(command, self._work / "dockerd.log", self._answers)

    def _answers(self) -> bool:
        done = subprocess.run(
            ["docker", "version"], capture_output=True, check=False, env={**os.environ, **self.environment}
        )
        return done.returncode == 0

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()

    def pull(self, reference: str) -> None:
        self.command("pull", "-q", reference)

    def process_ids(self) -> list[int]:
        return super().process_ids() + ([self._daemon.pid] if self._daemon else [])

    @contextmanager
    def mounted(self, reference: str) -> Iterator[Path]:
        """Docker mounts no images: the overlay is put together from what ``docker inspect`` says."""
        (image,) = json.loads(self.command("inspect", reference))
        data = image["GraphDriver"]["Data"]
        lower = ":".join(filter(None, (data["UpperDir"], data.get("LowerDir"))))
        point = self._work / "merged"
        point.mkdir(exist_ok=True)
        if ":" in lower:
            run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", point])
        else:
            run(["mount", "--bind", "-o", "ro", lower, point])
        yield point
        run(["umount", point])

    def command(self, *words: str) -> str:
        """Run a docker command on the daemon."""
        return self._run(*self.words(*words), **self.environment)

    def words(self, *words: str) -> list[str]:
        """A command line; the daemon is named in :attr:`environment`."""
        return ["docker", *words]


class Podman(System):
    """podman, no daemon, with the kernel's overlay."""

    name = "podman"

    def __init__(self, work: Path) -> None:
        super().__init__()
        self._policy = work / "policy.json"
        self._policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self._options: list[str | Path] = []

    def start(self, disk: Path) -> None:
        self._options = ["--root", disk / "podman", "--runroot", disk / "podman-run"]
        self._options += ["--storage-driver", "overlay", "--events-backend", "none"]

    def pull(self, reference: str) -> None:
        policy = ("--signature-policy", self._policy)
        self._run("podman", *self._options, "pull", "-q", "--tls-verify=false", *policy, reference)

    @contextmanager
    def mounted(self, reference: str) -> Iterator[Path]:
        yield Path(self._run("podman", *self._options, "image", "mount", reference).strip())
        self._run("podman", *self._options, "image", "unmount", reference)


def install_onggi(checkout: Path, work: Path) -> Path:
    """Install the checkout as a user would, into a virtual environment; pip compiles the bytecode."""
    environment = work / "venv"
    run([sys.executable, "-m", "venv", environment])
    run([environment / "bin/pip", "install", "-q", "--disable-pip-version-check", checkout])
    return environment / "bin/onggi"


def installed_systems(onggi: Path, work: Path, wanted: Sequence[str]) -> list[System]:
    """Those of ``wanted`` that are here: drivers of Onggi, and peers; what is missing is said."""
    systems: list[System] = [Onggi(onggi, driver) for driver in ("overlay2", "erofs") if driver in wanted]
    for name, make in (("dockerd", Dockerd), ("podman", Podman)):
        if name not in wanted:
            continue
        if find(name) is None:
            print(f"{name} is not installed: not measured\n")
        else:
            systems.append(make(work))
    return systems
