"""Real containers under real supervisors: what they write, how they end, what commands can ask."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from onggi.errors import Conflict, Unsupported
from onggi.runtime.client import NoSupervisor
from onggi.runtime.oci_runtime import NotExecutable, ProgramNotFound
from tests.peers.processes import wait_until

SHELL = ("/bin/sh", "-c")


def test_output_exit_code_and_state(supervised) -> None:
    box = supervised()
    assert box.run(*SHELL, "echo out; echo err >&2; exit 3") == "out\nerr\n"
    streams = {json.loads(line)["stream"] for line in box.log.read_text().splitlines()}
    state = box.state
    assert streams == {"stdout", "stderr"}
    assert (state["ExitCode"], state["Running"], state["Pid"], state["OOMKilled"]) == (3, False, 0, False)
    assert state["FinishedAt"] > state["StartedAt"] > "2020"
    assert box.document["HasBeenStartedBefore"]
    assert box.events == ["start", "die"]


def test_a_signal_is_128_and_its_number(supervised) -> None:
    box = supervised()
    box.run(*SHELL, "kill -9 $$")
    assert box.state["ExitCode"] == 0  # nobody can kill the first process of a namespace from inside
    other = supervised()
    other.start("sleep", "100")
    other.client.request("signal", signal=int(signal.SIGKILL), stop_signal=15)
    assert other.ended()["ExitCode"] == 137


def test_nothing_is_left(supervised, tmp_path: Path) -> None:
    box = supervised()
    box.run("true")
    assert not box.running.exists()
    assert not (box.directory / "merged").exists()
    assert box.id not in Path("/proc/self/mounts").read_text()
    assert not list((tmp_path / "runc").iterdir())
    assert not Path(f"/sys/fs/cgroup/pids/docker/{box.id}").exists()


def test_changes_are_in_the_upper_directory(supervised) -> None:
    box = supervised()
    box.run(*SHELL, "echo hello > /made; rm /etc/group")
    assert (box.directory / "upper/made").read_text() == "hello\n"
    assert not (box.directory / "upper/etc/group").is_file()


def test_the_mount_is_the_supervisors_own(supervised) -> None:
    box = supervised()
    box.start("sleep", "100")
    assert not os.path.ismount(box.directory / "merged")
    root = box.client.rootfs()
    try:
        assert os.readlink("bin/sh", dir_fd=root) == "busybox"
    finally:
        os.close(root)


@pytest.mark.parametrize(
    ("program", "error", "code"),
    [("nope", ProgramNotFound, 127), ("/etc/passwd", NotExecutable, 126), ("/etc", NotExecutable, 126)],
)
def test_a_start_that_fails(supervised, program: str, error: type[Exception], code: int) -> None:
    box = supervised()
    with pytest.raises(error, match="start container: exec: "):
        box.start(program)
    assert box.ended()["ExitCode"] == code
    assert program in box.state["Error"]
    assert not box.running.exists()


def test_who_is_attached_from_the_start_misses_nothing(supervised) -> None:
    box = supervised(stdin=True)
    attached = box.start("cat", attach=True)
    attached.write(b"some words\n")
    attached.close_input()
    assert b"".join(data for _, data in attached) == b"some words\n"
    assert attached.result == {"exit": 0, "oom": False, "error": ""}
    attached.close()
    assert box.ended()["ExitCode"] == 0


@pytest.mark.parametrize("stays", [True, False])
def test_who_said_it_would_remove_does_unless_it_left(supervised, tmp_path: Path, stays: bool) -> None:
    mark = tmp_path / "cleaned"
    box = supervised(cleanup=["/bin/touch", str(mark)])
    attached = box.start(*SHELL, "sleep 0.2; echo end", attach=True)
    if stays:
        assert b"".join(data for _, data in attached) == b"end\n"
    attached.close()
    box.ended()
    if stays:
        time.sleep(0.2)
        assert not mark.exists()
    else:
        wait_until(mark.exists, "the clean-up")


def test_much_output_arrives_whole_and_in_order(supervised) -> None:
    """More than every buffer on the way holds."""
    box = supervised()
    attached = box.start(*SHELL, "i=0; while [ $i -lt 6 ]; do seq 1 70000; i=$((i+1)); done", attach=True)
    received = b"".join(data for _, data in attached)
    expected = b"".join(b"%d\n" % number for number in range(1, 70001)) * 6
    assert received == expected
    box.ended()
    assert box.logged.encode() == expected


def test_a_client_that_does_not_read_holds_the_container_up(supervised) -> None:
    box = supervised()
    attached = box.start(*SHELL, "yes | head -c 20000000; echo end", attach=True)
    time.sleep(0.5)
    assert box.state["Running"]
    assert sum(len(data) for _, data in attached) == 20_000_004
    attached.close()
    box.ended()


def test_a_client_that_goes_does_not_disturb(supervised) -> None:
    box = supervised()
    attached = box.start(*SHELL, "yes | head -c 5000000; echo end", attach=True)
    attached.close()
    assert box.ended()["ExitCode"] == 0
    assert '"log":"end\\n"' in box.log.read_bytes()[-200:].decode()


def test_two_attached_later(supervised) -> None:
    box = supervised(stdin=True)
    box.start(*SHELL, "read line; echo got $line >&2; exit 4")
    first, second = box.client.attach(stdin=True), box.client.attach(stdout=False)
    first.write(b"this\n")
    assert list(first) == list(second) == [(2, b"got this\n")]
    assert first.result == second.result == {"exit": 4, "oom": False, "error": ""}


def test_a_terminal(supervised) -> None:
    box = supervised(tty=True, stdin=True)
    attached = box.start(*SHELL, "sleep 0.2; stty size; read x; echo [$x]; tty", attach=True)
    box.client.request("resize", height=33, width=77)
    attached.write(b"typed\n")
    said = b"".join(data for _, data in attached)
    assert b"33 77\r\n" in said
    assert b"[typed]\r\n/dev/pts/0\r\n" in said
    assert box.ended()["ExitCode"] == 0
    assert "33 77\r\n" in box.logged


def test_exec(supervised) -> None:
    box = supervised()
    box.start("sleep", "100")
    process = {"args": ["/bin/sh", "-c", "cat; pwd; echo $A >&2; exit 9"], "cwd": "/tmp", "env": ["A=b"]}
    with box.client.exec("e1", process, stdin=True) as running:
        running.write(b"given\n")
        running.close_input()
        said = list(running)
    assert b"".join(data for kind, data in said if kind == 1) == b"given\n/tmp\n"
    assert b"".join(data for kind, data in said if kind == 2) == b"b\n"
    assert running.result == {"exit": 9}
    assert box.client.request("status")["execs"] == []
    with pytest.raises(ProgramNotFound, match="exec container"):
        box.client.exec("e2", {"args": ["nope"], "cwd": "/"})


def test_exec_with_a_terminal_and_detached(supervised) -> None:
    box = supervised()
    box.start("sleep", "100")
    terminal = {"args": ["/bin/sh", "-c", "tty"], "cwd": "/", "terminal": True}
    with box.client.exec("e1", terminal) as running:
        assert b"".join(data for _, data in running) == b"/dev/pts/0\r\n"
    words = {"args": ["/bin/sleep", "50"], "cwd": "/"}
    answer = box.client.request("exec", id="e2", process=words, detach=True, stdin=False)
    assert box.client.request("status")["execs"] == [{"id": "e2", "pid": answer["pid"]}]
    os.kill(answer["pid"], signal.SIGKILL)
    wait_until(lambda: box.client.request("status")["execs"] == [], "the end of the exec")
    assert "exec_die" in box.events


def test_stop_asks_then_insists(supervised) -> None:
    polite, deaf = supervised(), supervised()
    polite.start(*SHELL, "trap 'exit 5' TERM; echo listening; while :; do sleep 0.05; done")
    # Before that the kernel drops the signal: the first process of a namespace gets what it handles.
    wait_until(lambda: "listening" in polite.log.read_text(), "the trap")
    assert polite.client.request("stop", signal=15, timeout=10)["exit"] == 5
    deaf.start("sleep", "100")  # no handler: the first process of a namespace ignores it
    assert deaf.client.request("stop", signal=15, timeout=0.3)["exit"] == 137
    assert deaf.ended()
    assert deaf.document["HasBeenManuallyStopped"]
    assert deaf.events == ["start", "kill", "kill", "die", "stop"]


def test_pause(supervised) -> None:
    box = supervised()
    box.start(*SHELL, "while :; do echo x; sleep 0.02; done")
    box.client.request("pause")
    assert box.state["Paused"]
    size = box.log.stat().st_size
    time.sleep(0.2)
    assert box.log.stat().st_size == size
    with pytest.raises(Conflict, match="is already paused"):
        box.client.request("pause")
    with pytest.raises(Conflict, match="unpause the container before exec"):
        box.client.exec("e", {"args": ["true"], "cwd": "/"})
    box.client.request("resume")
    assert not box.state["Paused"]
    box.client.request("pause")
    # KILL thaws it, else nothing would ever end.
    assert box.client.request("stop", signal=9, timeout=0)["exit"] == 137


def test_restart_on_failure_gives_up_after_the_count(supervised) -> None:
    box = supervised(restart=("on-failure", 2))
    box.start(*SHELL, "echo run; exit 7")
    assert box.ended()["ExitCode"] == 7
    assert box.document["RestartCount"] == 2
    assert box.logged == "run\n" * 3


def test_restart_always_until_stopped(supervised) -> None:
    box = supervised(restart=("always", 0))
    box.start(*SHELL, "exit 1")
    wait_until(lambda: box.document["RestartCount"] >= 2, "two restarts")
    box.client.request("stop", signal=15, timeout=1)
    state = box.ended()
    assert (state["Running"], state["Restarting"]) == (False, False)


def test_waiting_for_the_exit_and_for_the_end(supervised) -> None:
    box = supervised(restart=("on-failure", 1))
    answers: dict[str, int] = {}
    box.start(*SHELL, "sleep 0.2; exit 7")

    def wait(until: str) -> None:
        answers[until] = box.client.request("wait", until=until)["exit"]
        answers[f"{until} count"] = box.document["RestartCount"]

    threads = [threading.Thread(target=wait, args=(until,)) for until in ("exit", "stopped")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers["exit"] == answers["stopped"] == 7
    assert answers["stopped count"] == 1


def test_out_of_memory_is_seen(supervised) -> None:
    box = supervised(memory=8 * 1024 * 1024)
    box.start(*SHELL, "x=y; while :; do x=$x$x; done")
    state = box.ended()
    assert state["OOMKilled"]
    assert state["ExitCode"] in (137, 2)
    assert "oom" in box.events


def test_others_do_not_outlive_a_container_without_a_pid_namespace(supervised) -> None:
    box = supervised(pid="host")
    box.run(*SHELL, "sleep 321 & echo $!")
    assert not Path(f"/proc/{int(box.logged)}").exists()


def test_logs_rotate(supervised) -> None:
    box = supervised(rotation=(2000, 3))
    box.run(*SHELL, "seq 1 200")
    files = sorted(path.name for path in box.directory.glob("log.json*"))
    assert files == ["log.json", "log.json.1", "log.json.2"]
    kept = [box.directory / name for name in ("log.json.2", "log.json.1", "log.json")]
    numbers = [int(json.loads(line)["log"]) for path in kept for line in path.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 201))


def test_nobody_answers_for_a_container_that_is_gone(supervised) -> None:
    box = supervised()
    with pytest.raises(NoSupervisor):
        box.client.request("status")
    box.start("sleep", "100")
    with pytest.raises(Unsupported, match="unknown request 'fly'"):
        box.client.request("fly")
    box.client.request("stop", signal=9, timeout=0)
    with pytest.raises(Conflict):
        box.ended()
        box.client.request("status")


def test_it_is_small(supervised) -> None:
    """Not a measurement: a limit that an import too many would break."""
    box = supervised()
    box.start("sleep", "100")
    pids = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and box.id.encode() in _lock_holders(entry)
    ]
    assert len(pids) == 1
    rollup = (Path("/proc") / str(pids[0]) / "smaps_rollup").read_text()
    anonymous = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss_Anon"))
    assert anonymous < 8_000  # kB


def _lock_holders(process: Path) -> bytes:
    try:
        links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
    except OSError:
        return b""
    return "\n".join(link for link in links if link.endswith("locks/supervisor")).encode()
