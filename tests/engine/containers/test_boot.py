"""Starting with the host: which containers run again, and what a shutdown remembers."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import onggi
from onggi.engine.containers.boot import systemd_unit, wants_to_run
from onggi.engine.containers.container import Container
from onggi.store.containers import StoredContainer
from tests.engine.containers.test_containers import FOREVER, _supervisor
from tests.peers.processes import wait_until


def _stored(policy: str, limit: int = 0, *, started: bool = True, **facts: Any) -> StoredContainer:
    document = {
        "HasBeenStartedBefore": started,
        "HasBeenManuallyStopped": facts.get("stopped", False),
        "RestartCount": facts.get("count", 0),
        "State": {"ExitCode": facts.get("code", 0)},
    }
    return StoredContainer(document, {"RestartPolicy": {"Name": policy, "MaximumRetryCount": limit}})


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (_stored("always"), True),
        (_stored("always", stopped=True), True),
        (_stored("always", started=False), False),
        (_stored("unless-stopped"), True),
        (_stored("unless-stopped", stopped=True), False),
        (_stored("unless-stopped", started=False), False),
        (_stored("on-failure", code=255), True),
        (_stored("on-failure"), False),
        (_stored("on-failure", 3, code=1, count=3), False),
        (_stored("on-failure", 3, code=1, count=2), True),
        (_stored("no", code=1), False),
    ],
)
def test_dockerds_rule(stored: StoredContainer, wanted: bool) -> None:
    assert wants_to_run(stored) == wanted


def _run(engine: onggi.Engine, name: str, policy: str, **options: Any) -> Container:
    host_config = {"RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}, **options}
    return engine.containers.run("box", FOREVER, name=name, host_config=host_config)


def test_after_the_power_went(engine: onggi.Engine) -> None:
    """Supervisors, processes and the running directories are gone at once; only the files are left."""
    wanted = [_run(engine, "always", "always"), _run(engine, "unless", "unless-stopped")]
    wanted.append(_run(engine, "joins", "always", NetworkMode="container:always"))
    others = [_run(engine, "stopped", "unless-stopped"), _run(engine, "no", "no")]
    others[0].stop(0)
    made = engine.containers.create(
        "box", FOREVER, name="made", host_config={"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}
    )
    for container in (*wanted, others[1]):
        pid = container.stored.state["Pid"]
        os.kill(_supervisor(container), signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "its end")
    shutil.rmtree(engine.config.exec_root / "containers")
    shutil.rmtree(engine.config.exec_root / "runtime", ignore_errors=True)
    report = engine.containers.boot()
    assert set(report.started) == {container.id for container in wanted}
    assert report.failed == ()
    assert all(container.running for container in wanted)
    assert [container.status for container in (*others, made)] == ["exited", "exited", "created"]
    assert engine.containers.boot().started == ()


def test_who_lost_a_supervisor_runs_again_after_boot_and_not_by_being_looked_at(
    engine: onggi.Engine,
) -> None:
    """Docker's daemon starts them itself. Here a look ends and tells, and ``boot`` starts what is to run."""
    wanted = [_run(engine, policy, policy) for policy in ("always", "unless-stopped", "on-failure")]
    others = [_run(engine, "no", "no"), _run(engine, "stopped", "unless-stopped")]
    others[1].stop(0)
    pids = {container.id: container.stored.state["Pid"] for container in (*wanted, others[0])}
    for container in (*wanted, others[0]):
        os.kill(_supervisor(container), signal.SIGKILL)
    killed = (*wanted, others[0])
    wait_until(lambda: not any(container.running for container in killed), "the supervisors' end")
    rows = {row.name: row.state for row in engine.containers.rows(all=True)}
    assert rows == dict.fromkeys(("always", "unless-stopped", "on-failure", "no", "stopped"), "exited")
    assert [container.stored.state["ExitCode"] for container in wanted] == [137, 137, 137]
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.values()), "their end")
    assert set(engine.containers.boot().started) == {container.id for container in wanted}
    for container in wanted:
        assert container.exec(["echo", "again"]).communicate().stdout == b"again\n"
        assert container.stored.state["Pid"] != pids[container.id]
    assert [container.status for container in others] == ["exited", "exited"]
    assert engine.containers.boot().started == ()


def test_a_shutdown_is_nobodys_wish(engine: onggi.Engine) -> None:
    unless, plain = _run(engine, "unless", "unless-stopped"), _run(engine, "plain", "no")
    assert engine.containers.shut_down() == []
    assert not unless.running and not plain.running
    assert not unless.stored.document["HasBeenManuallyStopped"]
    assert engine.containers.boot().started == (unless.id,)
    unless.stop(0)
    assert unless.stored.document["HasBeenManuallyStopped"]
    assert engine.containers.boot().started == ()


def test_what_cannot_start_is_told(engine: onggi.Engine) -> None:
    container = _run(engine, "broken", "always")
    container.stop(0)
    os.unlink(engine.config.data_root / "containers" / container.id / "hostconfig.json")
    core = engine.containers._core
    core.containers.update(container.id, lambda document: document.update(Path="/nope", Args=[]))
    config = {
        "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
        "NetworkMode": "none",
        "ShmSize": 1 << 20,
    }
    path = engine.config.data_root / "containers" / container.id / "hostconfig.json"
    import json

    path.write_text(json.dumps(config))
    report = engine.containers.boot()
    assert report.started == ()
    ((id, error),) = report.failed
    assert id == container.id and "/nope" in str(error)


def test_the_unit() -> None:
    unit = systemd_unit("/usr/bin/onggi")
    assert "ExecStart=/usr/bin/onggi boot\n" in unit
    assert "ExecStop=/usr/bin/onggi boot --stop\n" in unit


def test_live_restore_by_nature(engine: onggi.Engine) -> None:
    """There is no daemon to lose: an engine that is gone leaves the container as it is."""
    container = _run(engine, "lives", "always")
    with onggi.open(
        engine.config.data_root, exec_root=engine.config.exec_root, config_file=engine.config.config_file
    ) as other:
        assert other.containers.get("lives").running
        assert other.containers.boot().started == ()
    pid = container.stored.state["Pid"]
    assert Path(f"/proc/{pid}").exists()
    assert container.exec(["echo", "on"]).communicate().stdout == b"on\n"
