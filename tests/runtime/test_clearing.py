"""What is left of a container that has ended, deleted without its runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onggi.runtime.runc import Runc, find_runtime
from onggi.runtime.supervisor.clearing import clear_up

SHELL = ("/bin/sh", "-c")


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A state directory whose container had one control group, with another one inside."""
    (tmp_path / "group/inner").mkdir(parents=True)
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


def _state(directory: Path, **fields: Any) -> None:
    groups = {"pids": str(directory.parent / "group"), "memory": str(directory.parent / "gone")}
    document = {"config": {"Hooks": {"poststop": None}}, "cgroup_paths": groups, "intel_rdt_path": ""}
    (directory / "state.json").write_text(json.dumps({**document, **fields}))


def test_groups_and_state_go(left: Path) -> None:
    _state(left)
    assert clear_up(str(left))
    assert not left.exists()
    assert not (left.parent / "group").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"config": {"Hooks": {"poststop": [{"path": "/bin/true"}]}}},
        {"intel_rdt_path": "/sys/fs/resctrl/x"},
        {"cgroup_paths": None},
        {"config": []},
    ],
)
def test_what_is_unusual_is_the_runtimes(left: Path, fields: dict[str, Any]) -> None:
    _state(left, **fields)
    assert not clear_up(str(left))
    assert (left / "state.json").exists()


def test_a_group_that_is_in_use_is_the_runtimes(left: Path) -> None:
    (left.parent / "group/inner/process").touch()  # as little to be removed as a group with processes
    _state(left)
    assert not clear_up(str(left))
    assert (left / "state.json").exists()


def test_a_state_that_nobody_can_read(tmp_path: Path) -> None:
    assert not clear_up(str(tmp_path / "none"))
    (tmp_path / "state.json").write_text("{")
    assert not clear_up(str(tmp_path))


def test_only_runc_without_more_words_is_plain(tmp_path: Path) -> None:
    runc = find_runtime("runc")
    assert Runc(runc, tmp_path).plain_state("x") == str(tmp_path / "x")
    assert Runc(runc, tmp_path, systemd_cgroup=True).plain_state("x") == ""
    assert Runc("/usr/bin/crun", tmp_path).plain_state("x") == ""


def test_groups_that_a_container_made_go_with_it(supervised) -> None:
    box = supervised()
    box.run(*SHELL, "echo $$ > /dev/null")
    assert not list(Path("/sys/fs/cgroup").glob(f"*/docker/{box.id}"))


def test_a_runtime_that_has_to_clear_up_is_asked(supervised, tmp_path: Path) -> None:
    """As with a runtime of another name: what it is asked for is its own ``delete``."""
    calls = tmp_path / "calls"
    box = supervised()
    box.call_runtime_by(f'echo "$@" >> {calls}; exec $RUNC "$@"')
    box.run("true")
    assert f"delete --force {box.id}" in calls.read_text()
    assert not list((tmp_path / "runc").iterdir())
    assert box.state["ExitCode"] == 0
