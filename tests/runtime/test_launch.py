"""Supervisors that come up before there is anything to supervise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from onggi.runtime.launch import NewSupervisor
from tests.peers.processes import wait_until


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name for Python by which only this test's supervisors run."""
    path = tmp_path / "python-of-a-test"
    path.symlink_to(Path(sys.executable).resolve())
    monkeypatch.setattr(sys, "executable", str(path))
    return str(path)


def _running(interpreter: str) -> bool:
    """True while a process was started by that name."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.fsencode(interpreter) in (entry / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def test_one_that_is_told_nothing_ends(interpreter: str) -> None:
    with NewSupervisor():
        assert _running(interpreter)
    wait_until(lambda: not _running(interpreter), "its end")


def test_one_whose_caller_is_killed_ends(interpreter: str) -> None:
    pid = os.fork()
    if pid == 0:
        NewSupervisor()
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    wait_until(lambda: not _running(interpreter), "its end")


def test_something_else_is_done_while_the_container_starts(supervised) -> None:
    box = supervised()
    seen: list[bool] = []
    box.start("sleep", "100", meanwhile=lambda: seen.append(box.state["Running"]))
    assert seen == [False]
    assert box.state["Running"]


def test_instructions_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch, supervised) -> None:
    from onggi.runtime.launch import SupervisorFailed

    monkeypatch.setattr("onggi.runtime.supervisor.protocol.VERSION", 99)
    with pytest.raises(SupervisorFailed, match="supervisor of version 1, instructions of 99"):
        supervised().start("true")
