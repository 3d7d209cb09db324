"""Supervisors over real containers of runc, on a root of busybox, without an engine."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onggi.linux.mount import overlay_writable
from onggi.oci.digest import random_id
from onggi.runtime.client import Attached, NoSupervisor, SupervisorClient
from onggi.runtime.directories import running_directory
from onggi.runtime.host import HostFacts
from onggi.runtime.launch import NewSupervisor
from onggi.runtime.runc import Runc, find_runtime, runtime_environment
from onggi.runtime.spec import SpecRequest, build_spec
from onggi.runtime.user import User
from onggi.store.locks import LockDirectory
from tests.peers.busybox import box_layer
from tests.peers.processes import wait_until

STATE = {
    "Running": False,
    "Paused": False,
    "Restarting": False,
    "OOMKilled": False,
    "Dead": False,
    "Pid": 0,
    "ExitCode": 0,
    "Error": "",
    "StartedAt": "0001-01-01T00:00:00Z",
    "FinishedAt": "0001-01-01T00:00:00Z",
}


class Supervised:
    """One container: its files, and its supervisor once started."""

    def __init__(self, base: Path, lower: Path, **options: Any) -> None:
        self.id = random_id()
        self.directory = base / self.id
        self.exec_root = base / "run"
        for name in ("upper", "work", "merged", "locks"):
            (self.directory / name).mkdir(parents=True)
        self.locks = LockDirectory(self.directory / "locks")
        self.runtime = Runc(find_runtime("runc"), base / "runc")
        self.running = running_directory(self.exec_root, self.id)
        self.running.mkdir(parents=True)
        self.client = SupervisorClient(self.exec_root, self.id)
        self.log = self.directory / "log.json"
        self.options = options
        self._lower = lower
        self._write_files()

    def call_runtime_by(self, script: str) -> None:
        """Have a shell script stand for the runtime, by another name; ``$RUNC`` is the real one."""
        program = self.exec_root / "other"
        program.write_text(f"#!/bin/sh\nRUNC={find_runtime('runc')}\n{script}\n")
        program.chmod(0o755)
        self.runtime = Runc(str(program), self.exec_root.parent / "runc")

    def _write_files(self) -> None:
        document = {"State": STATE, "RestartCount": 0, "Name": "/x"}
        (self.directory / "config.v2.json").write_text(json.dumps(document))
        policy = self.options.get("restart", ("no", 0))
        host_config = {"RestartPolicy": dict(zip(("Name", "MaximumRetryCount"), policy, strict=True))}
        (self.directory / "hostconfig.json").write_text(json.dumps(host_config))
        (self.directory / "claim").touch()

    @property
    def document(self) -> dict[str, Any]:
        return json.loads((self.directory / "config.v2.json").read_text())

    @property
    def state(self) -> dict[str, Any]:
        return self.document["State"]

    @property
    def events(self) -> list[str]:
        return [json.loads(line)["Action"] for line in (self.directory / "journal").read_text().splitlines()]

    @property
    def logged(self) -> str:
        return "".join(json.loads(line)["log"] for line in self.log.read_text().splitlines())

    @property
    def alive(self) -> bool:
        return self.locks.is_held("supervisor")

    def start(
        self,
        *args: str,
        attach: bool = False,
        meanwhile: Callable[[], object] = lambda: None,
        ready: Callable[[], None] | None = None,
    ) -> Attached | None:
        """Start the container; with ``attach`` somebody is attached from before the start."""
        self._write_bundle(list(args))
        ours, theirs = socket.socketpair()
        lease = self.locks.acquire("supervisor", exclusive=True)
        root = overlay_writable([self._lower], self.directory / "upper", self.directory / "work")
        descriptors = [lease.fileno(), root, *([theirs.fileno()] if attach else [])]
        try:
            NewSupervisor(meanwhile).launch(self._instructions(attach), descriptors, ready)
        finally:
            lease.release()
            os.close(root)
            theirs.close()
        return Attached(ours) if attach else ours.close()

    def _write_bundle(self, args: list[str]) -> None:
        config = {"Tty": self.options.get("tty", False)}
        host = replace(HostFacts.read(), systemd=False)
        host_config = {"PidMode": self.options.get("pid", ""), "Memory": self.options.get("memory", 0)}
        rootfs = str(self.directory / "merged")
        request = SpecRequest(self.id, args, config, host_config, rootfs, User(0, 0, (0,)))
        spec, _ = build_spec(request, host)
        (self.running / "config.json").write_text(json.dumps(spec))

    def _instructions(self, attach: bool) -> dict[str, Any]:
        options = self.options
        rotation = options.get("rotation", (0, 1))
        return {
            "id": self.id,
            "directory": str(self.running),
            "runtime_state": self.runtime.plain_state(self.id),
            "state_file": str(self.directory / "config.v2.json"),
            "host_config_file": str(self.directory / "hostconfig.json"),
            "lock_file": str(self.directory / "locks/container"),
            "claim_file": str(self.directory / "claim"),
            "journal": str(self.directory / "journal"),
            "event": {"image": "box", "name": "x"},
            "runtime": self.runtime.command,
            "environment": runtime_environment(),
            "rootfs": str(self.directory / "merged"),
            "private_mounts": True,
            "mounts": [],
            "volumes": [],
            "volume_names": [],
            "shared_memory": None,
            "memory_events": f"/sys/fs/cgroup/memory/docker/{self.id}/memory.oom_control",
            "log": options.get("log")
            or {
                "type": "json-file",
                "path": str(self.log),
                "max_bytes": rotation[0],
                "max_files": rotation[1],
                "compress": options.get("compress", False),
                "attributes": "",
            },
            "health": options.get("health"),
            "tty": options.get("tty", False),
            "open_stdin": options.get("stdin", False),
            "stdin_once": options.get("stdin", False),
            "shared_pids": options.get("pid") == "host",
            "auto_remove": False,
            "cleanup": options.get("cleanup", []),
            "client_removes": "cleanup" in options,
            "attach": {"stdin": True, "stdout": True, "stderr": True} if attach else None,
        }

    def run(self, *args: str) -> str:
        """Start, wait for the end, and give what was logged."""
        self.start(*args)
        self.ended()
        return self.logged if self.log.exists() else ""

    def ended(self, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until the supervisor has gone; the state it leaves."""
        wait_until(lambda: not self.alive, "the end of the supervisor", timeout_s)
        return self.state

    def clear(self) -> None:
        """Whatever the test left running."""
        if self.alive:
            with suppress(NoSupervisor):
                self.client.request("stop", signal=9, timeout=0)
            self.ended()


@pytest.fixture(scope="session")
def box_root(tmp_path_factory) -> Path:
    """A directory with busybox in it."""
    directory = tmp_path_factory.mktemp("box")
    with tarfile.open(fileobj=io.BytesIO(box_layer())) as archive:
        archive.extractall(directory, filter="fully_trusted")
    return directory


@pytest.fixture
def supervised(tmp_path: Path, box_root: Path) -> Iterator[Any]:
    """Make containers; all of them are stopped after the test."""
    made: list[Supervised] = []

    def make(**options: Any) -> Supervised:
        made.append(Supervised(tmp_path, box_root, **options))
        return made[-1]

    yield make
    for container in made:
        container.clear()
