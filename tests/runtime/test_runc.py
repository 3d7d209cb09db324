"""The OCI runtime's command line, with the real runc."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onggi.oci.digest import random_id
from onggi.runtime.host import HostFacts
from onggi.runtime.oci_runtime import (
    NotExecutable,
    OCIRuntime,
    ProgramNotFound,
    RuntimeContainerGone,
    RuntimeFailed,
    RuntimeMissing,
    RuntimeTimeout,
    WrongState,
    runtime_error,
)
from onggi.runtime.runc import Runc, find_runtime
from onggi.runtime.spec import SpecRequest, build_spec
from onggi.runtime.user import User
from tests.peers.processes import wait_until

HOST = replace(HostFacts.read(), systemd=False)


class Bundle:
    """A container of runc's own making, without a supervisor."""

    def __init__(self, directory: Path, root: Path, runtime: Runc) -> None:
        self.id = random_id()
        self.directory = directory
        self.runtime = runtime
        request = SpecRequest(
            self.id, ["sleep", "60"], {}, {"ReadonlyRootfs": True}, str(root), User(0, 0, (0,))
        )
        spec, _ = build_spec(request, HOST)
        (directory / "config.json").write_text(json.dumps(spec))

    def create(self) -> None:
        self.runtime.create(self.id, self.directory, self.directory / "pid")


@pytest.fixture
def bundle(tmp_path: Path, box_root: Path) -> Iterator[Bundle]:
    made = Bundle(tmp_path, box_root, Runc(find_runtime("runc"), tmp_path / "state"))
    yield made
    made.runtime.delete(made.id, force=True)
    try:
        os.waitpid(int((tmp_path / "pid").read_text()), 0)
    except (ChildProcessError, FileNotFoundError):
        pass


def test_it_is_an_oci_runtime(bundle: Bundle) -> None:
    runtime: OCIRuntime = bundle.runtime
    assert runtime.name == "runc"


def test_a_life(bundle: Bundle) -> None:
    runtime, id = bundle.runtime, bundle.id
    bundle.create()
    assert runtime.state(id).status == "created"
    runtime.start(id)
    wait_until(lambda: runtime.state(id).status == "running", "the program")
    pid = runtime.state(id).pid
    assert runtime.processes(id) == [pid]
    runtime.pause(id)
    assert runtime.state(id).status == "paused"
    runtime.resume(id)
    with pytest.raises(WrongState):
        runtime.resume(id)
    runtime.update(id, {"pids": {"limit": 17}})
    assert runtime.statistics(id)["pids"]["limit"] == 17
    runtime.kill(id, "KILL")
    wait_until(lambda: runtime.state(id).status == "stopped", "its end")
    assert runtime.exec(id, {"args": ["true"], "cwd": "/"}) != 0
    runtime.delete(id)
    for forgotten in (runtime.state, runtime.delete, runtime.pause):
        with pytest.raises(RuntimeContainerGone, match=id[:12]):
            forgotten(id)
    runtime.delete(id, force=True)


def test_exec_gives_the_exit_status(bundle: Bundle) -> None:
    bundle.create()
    bundle.runtime.start(bundle.id)
    process: dict[str, Any] = {"args": ["/bin/sh", "-c", "exit 42"], "cwd": "/"}
    assert bundle.runtime.exec(bundle.id, process) == 42
    process["args"] = ["/bin/sleep", "5"]
    with pytest.raises(RuntimeTimeout):
        bundle.runtime.exec(bundle.id, process, timeout_s=0.2)


def test_a_name_taken_twice(bundle: Bundle) -> None:
    bundle.create()
    with pytest.raises(RuntimeFailed, match="create container .*: container with given ID already exists"):
        bundle.create()


def test_a_runtime_that_is_not_there_or_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="OCI runtime flyc: not found"):
        find_runtime("flyc")
    with pytest.raises(RuntimeMissing):
        Runc("/nonexistent/runc", tmp_path).start("x")
    slow = tmp_path / "slow"
    slow.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(30)\n")
    slow.chmod(0o755)
    with pytest.raises(RuntimeTimeout, match=r"pause container x: .* within 0.2 s"):
        Runc(str(slow), tmp_path, timeout_s=0.2).pause("x")


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (
            'runc run failed: unable to start container process: exec: "x": executable file not found in $PATH',
            ProgramNotFound,
            127,
        ),
        ('exec: "/x": stat /x: no such file or directory', ProgramNotFound, 127),
        ('exec: "/etc": permission denied', NotExecutable, 126),
        ("error mounting: not a directory", RuntimeFailed, 127),
        ("something else", RuntimeFailed, 128),
    ],
)
def test_words_become_kinds(words: str, kind: type[Exception], code: int) -> None:
    error = runtime_error("start container x", "x" * 64, words)
    assert type(error) is kind
    assert error.exit_code == code
    assert "runc run failed" not in str(error)
