"""Supervisors that come up before there is anything to supervise."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from onggi.runtime.launch import NewSupervisor, SupervisorFailed
from onggi.runtime.oci_runtime import ProgramNotFound, RuntimeFailed
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
        wait_until(lambda: _running(interpreter), "a supervisor")
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


def _is_created(box) -> bool:
    """True when the runtime has made it, and its program waits at the door."""
    return (box.running / "init.pid").exists()


def test_a_program_waits_for_what_is_made_beside_its_container(supervised, tmp_path: Path) -> None:
    box = supervised()
    seen = []

    def ready() -> None:
        wait_until(lambda: _is_created(box), "a created container")
        seen.append((box.state["Running"], (box.directory / "upper/came").exists()))

    box.start("sh", "-c", "touch /came; sleep 100", ready=ready)
    assert seen == [(False, False)]
    assert box.state["Running"]
    wait_until((box.directory / "upper/came").exists, "the program's file")


def test_what_is_made_beside_may_be_quicker(supervised) -> None:
    box = supervised()
    box.start("sleep", "100", ready=lambda: None)
    assert box.state["Running"]


def test_an_answer_that_was_there_before_the_word_is_not_lost(supervised) -> None:
    box = supervised()
    with pytest.raises(ProgramNotFound):
        box.start("nothing-of-that-name", ready=lambda: time.sleep(0.3))


def test_a_program_that_is_not_there_is_told_when_it_would_come_in(supervised) -> None:
    box = supervised()
    with pytest.raises(ProgramNotFound):
        box.start("nothing-of-that-name", ready=lambda: wait_until(lambda: not box.running.exists(), "end"))
    assert box.state["ExitCode"] == 127


@pytest.mark.parametrize("late", [True, False])
def test_what_is_made_beside_fails(supervised, tmp_path: Path, late: bool) -> None:
    """Nothing of it stays, and its file says nothing of a run: who started it has the words for that."""
    box = supervised()
    before = box.state

    def ready() -> None:
        if late:
            wait_until(lambda: _is_created(box), "a created container")
        raise RuntimeError("no network")

    with pytest.raises(RuntimeError, match="no network"):
        box.start("touch", "/came", ready=ready)
    assert not box.alive  # it has ended when the error comes
    assert (box.state, box.events if (box.directory / "journal").exists() else []) == (before, [])
    assert not (box.directory / "upper/came").exists()
    assert not box.running.exists()
    assert not list((tmp_path / "runc").iterdir())
    assert not Path(f"/sys/fs/cgroup/pids/docker/{box.id}").exists()


def test_who_makes_something_beside_is_killed(supervised, tmp_path: Path) -> None:
    box = supervised()
    pid = os.fork()
    if pid == 0:
        box.start("touch", "/came", ready=lambda: os.kill(os.getpid(), 9))
    os.waitpid(pid, 0)
    assert box.ended()["Running"] is False
    assert not (box.directory / "upper/came").exists()
    assert not list((tmp_path / "runc").iterdir())


def test_who_waits_at_the_door_is_killed(supervised) -> None:
    """The runtime says then what has become of it."""
    box = supervised()

    def ready() -> None:
        wait_until(lambda: _is_created(box), "a created container")
        os.kill(int((box.running / "init.pid").read_text()), 9)

    with pytest.raises(RuntimeFailed, match="cannot start a container that has stopped"):
        box.start("sleep", "100", ready=ready)
    assert not box.alive or box.ended()
    assert box.state["ExitCode"] == 128


def test_a_runtime_with_another_door_is_asked_to_start(supervised, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    box = supervised()
    box.call_runtime_by(f'echo "$@" >> {calls}; exec $RUNC "$@"')
    box.start("sleep", "100", ready=lambda: None)
    assert f"start {box.id}" in calls.read_text()
    assert box.state["Running"]


def test_the_runtime_calls_it_running(supervised) -> None:
    box = supervised()
    box.start("sleep", "100", ready=lambda: None)
    assert box.runtime.state(box.id).status == "running"
    box.client.request("pause")
    assert box.runtime.state(box.id).status == "paused"
    box.client.request("resume")


def test_a_restarted_container_has_no_gate(supervised) -> None:
    box = supervised(restart=("on-failure", 2))
    box.start("sh", "-c", "echo x >> /count; exit 1", ready=lambda: None)
    box.ended()
    assert (box.directory / "upper/count").read_text() == "x\nx\nx\n"


def test_instructions_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch, supervised) -> None:
    monkeypatch.setattr("onggi.runtime.launch.VERSION", 99)
    with pytest.raises(SupervisorFailed, match="supervisor of version 1, instructions of 99"):
        supervised().start("true")
