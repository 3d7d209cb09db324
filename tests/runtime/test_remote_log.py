"""Containers whose output a collector sends away: nothing is lost, nobody waits for ever."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from onggi.engine.containers.log_entries import decode_local
from onggi.runtime.launch import LogFailed
from tests.peers.listeners import Stream, closing
from tests.peers.processes import free_port, wait_until

SHELL = ("/bin/sh", "-c")
PACKAGE = str(Path(__file__).parents[2] / "src")
COLLECTOR = (
    f"import sys; sys.path.append({PACKAGE!r}); from onggi.runtime.collectors.main import main; main()"
)


def _log(address: str, *, buffer_bytes: int = 0, cache: Path | None = None, **more: Any) -> dict[str, Any]:
    about = dict.fromkeys(("id", "name", "image_id", "image_name", "command", "created"), "x" * 64)
    return {
        "type": "remote",
        "command": [sys.executable, "-I", "-S", "-c", COLLECTOR],
        "environment": {},
        "collector": {
            "driver": "syslog",
            "options": {"syslog-address": f"tcp://{address}"},
            "about": {**about, "tag": "t", "attributes": {}},
        },
        "buffer_bytes": buffer_bytes,
        "cache": {"path": str(cache), "max_bytes": 0, "max_files": 1, "compress": False} if cache else None,
        **more,
    }


def _texts(received: bytes | bytearray) -> list[bytes]:
    return [line.partition(b"]: ")[2] for line in bytes(received).splitlines()]


def test_everything_arrives_before_the_end_is_told(supervised, tmp_path: Path) -> None:
    with closing(Stream()) as listener:
        cache = tmp_path / "cache" / "container-cached.log"
        box = supervised(log=_log(listener.address, cache=cache))
        box.start(*SHELL, "seq 1 30000; exit 3")
        assert box.client.request("wait", until="exit")["exit"] == 3
        listener.wait(b"]: 30000\n")
        numbers = [b"%d" % number for number in range(1, 30001)]
        assert _texts(listener.received) == numbers
        box.ended()
        assert [entry.data.strip() for entry in decode_local(cache.read_bytes())[0]] == numbers


def test_a_start_fails_with_its_log(supervised) -> None:
    box = supervised(log=_log(f"127.0.0.1:{free_port()}"))
    with pytest.raises(LogFailed, match="failed to initialize logging driver: dial tcp .*connection refused"):
        box.start("true")
    state = box.ended()
    assert (state["ExitCode"], state["Running"]) == (128, False)
    assert "connection refused" in state["Error"]
    missing = supervised(log=_log("127.0.0.1:1", command=["/nope"]))
    with pytest.raises(LogFailed, match="/nope: No such file or directory"):
        missing.start("true")
    assert missing.ended()["ExitCode"] == 128


def _collector(box: Any) -> int:
    """The collector's process: below the supervisor, a child of it."""
    for entry in Path("/proc").iterdir():
        try:
            if b"onggi.runtime.collectors.main" in (entry / "cmdline").read_bytes() and os.path.samefile(
                entry / "fd/2", box.running / "supervisor.log"
            ):
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError("no collector")


def test_who_does_not_read_holds_the_container_up(supervised) -> None:
    with closing(Stream(reads=False)) as listener:
        box = supervised(log=_log(listener.address))
        box.start(*SHELL, "yes 0123456789 | head -c 12000000; touch /through")
        time.sleep(1)
        assert not (box.directory / "upper/through").exists()
        assert box.state["Running"]
        os.kill(_collector(box), signal.SIGKILL)
        box.client.request("stop", signal=9, timeout=0, timeout_s=30)


def test_without_blocking_what_is_too_much_is_dropped(supervised) -> None:
    with closing(Stream(reads=False)) as listener:
        box = supervised(log=_log(listener.address, buffer_bytes=100_000))
        box.start(*SHELL, "yes 0123456789 | head -c 12000000; touch /through; sleep 100")
        wait_until((box.directory / "upper/through").exists, "the end of what it says")
        os.kill(_collector(box), signal.SIGKILL)
        box.client.request("stop", signal=9, timeout=0, timeout_s=30)


def test_a_collector_that_died_is_started_again(supervised) -> None:
    with closing(Stream()) as listener:
        box = supervised(log=_log(listener.address))
        box.start(*SHELL, "i=0; while sleep 0.05; do echo $i; i=$((i+1)); done")
        listener.wait(b"]: 3\n")
        os.kill(_collector(box), signal.SIGKILL)
        seen = len(_texts(listener.received))
        wait_until(lambda: len(_texts(listener.received)) > seen + 10, "more after a death")
        numbers = [int(text) for text in _texts(listener.received)]
        assert numbers == sorted(set(numbers))


def test_a_restart_has_a_log_of_its_own(supervised) -> None:
    with closing(Stream()) as listener:
        box = supervised(log=_log(listener.address), restart=("on-failure", 2))
        box.start(*SHELL, "echo run; exit 1")
        assert box.ended()["ExitCode"] == 1
        assert _texts(listener.received) == [b"run"] * 3
        assert len(listener.connections) == 3


def test_nothing_of_it_is_left(supervised) -> None:
    with closing(Stream()) as listener:
        box = supervised(log=_log(listener.address))
        box.start("sleep", "100")
        pid = _collector(box)
        box.client.request("stop", signal=9, timeout=0)
        box.ended()
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the collector")
