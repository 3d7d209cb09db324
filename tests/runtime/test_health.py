"""Health checks in real containers: what is recorded, what counts, what a frozen container is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.peers.processes import wait_until

SHELL = ("/bin/sh", "-c")


def _checks(tmp_path: Path, *args: str, **more: Any) -> dict[str, Any]:
    file = tmp_path / "health.json"
    file.write_text(json.dumps({"args": list(args), "cwd": "/", "env": ["PATH=/bin"]}))
    given = {
        "process_file": str(file),
        "words": " ".join(args),
        "interval_s": 0.1,
        "timeout_s": 10.0,
        "timeout_text": "10s",
        "tells_output": True,
        "start_period_s": 0.0,
        "start_interval_s": 0.1,
        "retries": 2,
    }
    return given | more


def _until(box, status: str) -> dict[str, Any]:
    wait_until(lambda: box.state["Health"]["Status"] == status, status)
    return box.state["Health"]


def test_from_starting_to_unhealthy_to_healthy(supervised, tmp_path: Path) -> None:
    box = supervised(health=_checks(tmp_path, *SHELL, "echo out; echo err >&2; test -f /ok"))
    box.start("sleep", "100")
    assert box.state["Health"]["Status"] == "starting"
    health = _until(box, "unhealthy")
    result = health["Log"][-1]
    assert list(result) == ["Start", "End", "ExitCode", "Output"]
    assert (result["ExitCode"], result["Output"]) == (1, "out\nerr\n")
    assert result["End"] > result["Start"]
    assert health["FailingStreak"] >= 2
    box.client.exec("e", {"args": ["touch", "/ok"], "cwd": "/", "env": ["PATH=/bin"]}).close()
    assert _until(box, "healthy")["FailingStreak"] == 0
    wait_until(lambda: len(box.state["Health"]["Log"]) == 5, "five results")
    turns = [action for action in box.events if action.startswith("health_status")]
    assert turns == ["health_status: unhealthy", "health_status: healthy"]
    words = f"/bin/sh -c {'echo out; echo err >&2; test -f /ok'}"
    assert box.events[1:4] == [f"exec_create: {words}", f"exec_start: {words}", "exec_die"]


def test_failures_in_the_start_period_do_not_count(supervised, tmp_path: Path) -> None:
    box = supervised(health=_checks(tmp_path, "false", start_period_s=100.0))
    box.start("sleep", "100")
    wait_until(lambda: len(box.state["Health"]["Log"]) >= 3, "three results")
    assert (box.state["Health"]["Status"], box.state["Health"]["FailingStreak"]) == ("starting", 0)


def test_its_own_interval_in_the_start_period(supervised, tmp_path: Path) -> None:
    checks = _checks(tmp_path, "true", start_period_s=100.0, interval_s=1000.0)
    box = supervised(health=checks)
    box.start("sleep", "100")
    assert len(_until(box, "healthy")["Log"]) == 1


def test_a_check_that_takes_too_long_is_killed(supervised, tmp_path: Path) -> None:
    checks = _checks(tmp_path, *SHELL, "echo begun; exec sleep 71", timeout_s=0.3, timeout_text="300ms")
    box = supervised(health=checks)
    box.start("sleep", "100")
    result = _until(box, "unhealthy")["Log"][0]
    assert result["ExitCode"] == -1
    assert result["Output"] == "Health check exceeded timeout (300ms): begun\n"
    wait_until(lambda: box.events.count("exec_die") >= 2, "the end of what was run")


def test_a_program_that_is_not_there(supervised, tmp_path: Path) -> None:
    box = supervised(health=_checks(tmp_path, "nope", retries=1))
    box.start("sleep", "100")
    result = _until(box, "unhealthy")["Log"][0]
    assert result["ExitCode"] == -1
    assert result["Output"].startswith("OCI runtime exec failed: exec failed: ")
    assert 'exec: "nope": executable file not found in $PATH: unknown' in result["Output"]


def test_only_so_much_output_is_kept(supervised, tmp_path: Path) -> None:
    box = supervised(health=_checks(tmp_path, *SHELL, "yes | head -c 200000"))
    box.start("sleep", "100")
    assert _until(box, "healthy")["Log"][0]["Output"] == "y\n" * 2048 + "..."


def test_frozen_or_ended_is_unhealthy_and_unchecked(supervised, tmp_path: Path) -> None:
    box = supervised(health=_checks(tmp_path, "true"), restart=("always", 0))
    box.start("sleep", "100")
    _until(box, "healthy")
    box.client.request("pause")
    assert box.state["Health"]["Status"] == "unhealthy"
    box.client.request("resume")
    _until(box, "healthy")
    box.client.request("signal", signal=11, stop_signal=15)  # no handler: passed over by a first process
    box.client.request("stop", signal=9, timeout=0)
    state = box.ended()
    assert (state["Health"]["Status"], state["ExitCode"]) == ("unhealthy", 137)
    assert state["Health"]["Log"]


def test_a_restart_begins_anew(supervised, tmp_path: Path) -> None:
    box = supervised(health=_checks(tmp_path, "true", interval_s=0.3), restart=("on-failure", 1))
    box.start(*SHELL, "sleep 1; exit 3")
    _until(box, "healthy")
    wait_until(lambda: box.document["RestartCount"] == 1 and box.state["Pid"] > 0, "the restart")
    _until(box, "starting")
    _until(box, "healthy")
    box.ended()


def test_a_check_that_ends_before_its_runtime_does(supervised, tmp_path: Path) -> None:
    """As on a busy machine; the supervisor must not take its number, which is none any more, for its own."""
    box = supervised(health=_checks(tmp_path, "false", start_period_s=100.0))
    box.call_runtime_by('$RUNC "$@"; status=$?; sleep 0.2; exit $status')
    box.start("sleep", "100")
    wait_until(lambda: len(box.state["Health"]["Log"]) >= 3, "three results")
    assert box.alive
