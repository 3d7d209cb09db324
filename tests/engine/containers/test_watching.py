"""top, stats and update by the Python interface."""

from __future__ import annotations

import os
import time

import pytest

import onggi
from onggi.engine.containers.processes import PsFailed, parse_table
from onggi.engine.containers.stats import block_bytes, network_bytes, used_memory
from onggi.engine.containers.update import CannotUpdate
from onggi.errors import Conflict
from onggi.store.journal import Event

BUSY = ["sh", "-c", "while :; do :; done"]


def test_processes_have_the_hosts_numbers(engine: onggi.Engine) -> None:
    with engine.containers.run("box", ["sh", "-c", "sleep 600 & exec sleep 601"]) as container:
        table = container.top("-o pid,args")
        assert table.titles == ("PID", "COMMAND")
        assert {command for _, command in table.rows} == {"sleep 600", "sleep 601"}
        assert str(container.stored.state["Pid"]) in {number for number, _ in table.rows}
        assert os.readlink(f"/proc/{table.rows[0][0]}/ns/pid") != os.readlink("/proc/self/ns/pid")
        container.kill()
        container.wait()
        with pytest.raises(Conflict, match="is not running"):
            container.top()


def test_a_table_of_ps() -> None:
    text = "  PID TTY   CMD\n    1 ?     init\n    - -     -\n   22 pts/0 sleep 1 2\n    - -     thread\n"
    assert parse_table(text, {22}).rows == (("22", "pts/0", "sleep 1 2"), ("-", "-", "thread"))
    with pytest.raises(PsFailed, match="PID"):
        parse_table("TTY CMD\n", {1})
    with pytest.raises(PsFailed, match="Unexpected pid 'x'"):
        parse_table("PID CMD\nx y\n", {1})


def test_what_a_container_uses(engine: onggi.Engine) -> None:
    with engine.containers.run("box", BUSY, host_config={"Memory": 64 << 20}) as container:
        stats = container.stats(0.3)
        assert stats.cpu_percent > 5
        assert 0 < stats.memory_bytes < stats.limit_bytes == 64 << 20
        assert 0 < stats.memory_percent < 100
        assert (stats.processes, stats.received_bytes, stats.sent_bytes) == (1, 0, 0)
        container.kill()
        container.wait()
        assert container.usage() is None
        assert container.stats().processes == 0


def test_numbers_of_both_versions_of_control_groups() -> None:
    assert used_memory(100, {"total_inactive_file": 30, "inactive_file": 10}) == 70
    assert used_memory(100, {"inactive_file": 10}) == 90
    assert used_memory(100, {"inactive_file": 100}) == 100
    ops = [{"op": "Read", "value": 3}, {"op": "write", "value": 4}, {"op": "Total", "value": 7}]
    assert block_bytes({"ioServiceBytesRecursive": [*ops, *ops]}) == (6, 8)
    assert block_bytes({}) == (0, 0)
    assert network_bytes(0) == (0, 0)


def test_update_of_a_running_container(engine: onggi.Engine) -> None:
    with engine.containers.run("box", ["sleep", "600"], host_config={"PidsLimit": 20}) as container:
        assert container.update(PidsLimit=30, RestartPolicy={"Name": "always", "MaximumRetryCount": 0}) == []
        script = "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max"
        assert container.exec(["sh", "-c", script]).communicate().stdout == b"30\n"
        stored = container.stored.host_config
        assert (stored["PidsLimit"], stored["RestartPolicy"]["Name"]) == (30, "always")
        container.update(PidsLimit=-1)
        assert container.exec(["sh", "-c", script]).communicate().stdout == b"max\n"
        with pytest.raises(CannotUpdate, match="Memory limit should be smaller"):
            container.update(Memory=64 << 20)
        # Its supervisor reads the policy when its program ends.
        container.exec(["kill", "-9", "1"])
        os.kill(container.stored.state["Pid"], 9)
        deadline = time.monotonic() + 30
        while container.stored.document["RestartCount"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_what_the_kernel_refuses_changes_no_file(engine: onggi.Engine) -> None:
    with engine.containers.run("box", ["sleep", "600"], host_config={"Memory": 64 << 20}) as container:
        before = container.stored.host_config
        with pytest.raises(CannotUpdate):
            container.update(CpuPeriod=100_000, CpuQuota=10**15)
        assert container.stored.host_config == before


def test_filters_of_events(engine: onggi.Engine) -> None:
    journal = engine._core.journal
    attributes = {"image": "box:1", "name": "filtered", "kind": "x"}
    moment = time.time()
    for action in ("start", "health_status: healthy", "die"):
        journal.append(Event("container", action, "f" * 64, attributes, time.time_ns()))
    journal.append(Event("image", "pull", "box:1", {"name": "box:1"}, time.time_ns()))

    def seen(**filters: str) -> list[str]:
        wanted = {key: [value] for key, value in filters.items()}
        found = engine.events.read(since=moment, follow=False, filters=wanted)
        return [event.action for event in found]

    every = ["start", "health_status: healthy", "die"]
    assert seen(container="filtered") == seen(container="ffff") == seen(label="kind=x") == every
    assert seen(container="other") == seen(volume="filtered") == []
    assert seen(image="box:1") == seen(image="box") == [*every, "pull"]
    assert seen(event="health_status") == ["health_status: healthy"]
    assert seen(type="container", event="die") == ["die"]
