"""What a crash leaves of a container, and that whoever meets it settles it by the rule of removal.py."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import onggi
from onggi.engine.containers.container import Container
from onggi.engine.containers.init_layer import fill_init_layer
from onggi.engine.containers.names import ContainerNotFound
from onggi.engine.containers.removal import ContainerIsRunning
from onggi.errors import Conflict, OnggiError
from onggi.oci.digest import random_id
from onggi.runtime.cgroups import end_groups
from onggi.runtime.directories import running_directory
from tests.engine.containers.test_containers import FOREVER, _left, _supervisor
from tests.peers.processes import wait_until

SLEEP = ["sleep", "1000"]


def _kill_supervisor(container: Container) -> int:
    """Kill it, and wait until its lease is free; the number of the container's process."""
    pid = int(container.stored.state["Pid"])
    os.kill(_supervisor(container), signal.SIGKILL)
    lock = f"supervisor-{container.id}"
    wait_until(lambda: not container._core.locks.is_held(lock), "the end of its supervisor")
    return pid


def _is_alive(pid: int) -> bool:
    """Not so for a zombie."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:4]
    except FileNotFoundError:
        return False


def _groups(container: Container) -> list[str]:
    return glob.glob(f"/sys/fs/cgroup/*/docker/{container.id}") + glob.glob(
        f"/sys/fs/cgroup/docker/{container.id}"
    )


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "paused"])
def test_a_look_settles(engine: onggi.Engine, frozen: bool) -> None:
    container = engine.containers.run("box", SLEEP)
    if frozen:
        container.pause()
    pid = _kill_supervisor(container)
    assert _is_alive(pid)
    (row,) = engine.containers.rows(all=True)
    assert row.state == "exited" and row.status.startswith("Exited (137)")
    assert not _is_alive(pid)
    assert not _groups(container)
    assert not running_directory(engine.config.exec_root, container.id).exists()
    container.start()
    assert container.running


def test_a_number_that_is_somebody_elses_by_now(engine: onggi.Engine) -> None:
    """The host was switched off; what had its process number then is another process today."""
    container = engine.containers.run("box", FOREVER)
    joining = engine.containers.create("box", host_config={"NetworkMode": f"container:{container.id}"})
    os.kill(_kill_supervisor(container), signal.SIGKILL)
    end_groups(f"/docker/{container.id}")
    shutil.rmtree(engine.config.exec_root)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]) as other:
        engine._core.containers.update(container.id, lambda doc: doc["State"].update(Pid=other.pid))
        with pytest.raises(Conflict, match="is not running"):
            joining.start()
        assert engine.containers.get(container.id).status == "exited"
        assert other.poll() is None
        other.kill()
    container.start()
    assert container.exec(["true"]).wait() == 0


def test_a_directory_that_was_deleted_while_it_ran(engine: onggi.Engine, monkeypatch) -> None:
    """Nobody can ask its supervisor any more; it hears of the end."""
    monkeypatch.setattr("onggi.engine.containers.ending._PATIENCE_S", 0.2)
    container = engine.containers.run("box", SLEEP)
    pid = int(container.stored.state["Pid"])
    shutil.rmtree(running_directory(engine.config.exec_root, container.id))
    container.stop()
    assert not _is_alive(pid) and not _groups(container)
    assert container.status == "exited"
    container.start()
    shutil.rmtree(running_directory(engine.config.exec_root, container.id))
    container.remove(force=True)
    assert not _left(engine)


def test_layers_of_a_container_that_never_was(engine: onggi.Engine) -> None:
    image = engine.images.get("box")
    chain = engine._core.images.get(image.id).chain_ids[-1]
    id = random_id()
    engine._core.writable.create(id, chain, fill_init_layer, durable=False)
    assert len(_left(engine)) == 2
    with engine._core.locks.acquire("container-making", exclusive=False):
        engine.images.tag("box", "other")  # somebody may be making it
        assert len(_left(engine)) == 2
    engine.images.remove("other")
    assert not _left(engine)
    assert not engine._core.writable.path(id).exists()


def test_the_runtime_dies_with_the_supervisor(engine: onggi.Engine, tmp_path: Path) -> None:
    """It would start a container that nobody watches, after the next command has cleared up."""
    runtime, mark = tmp_path / "slow", tmp_path / "began"
    runtime.write_text(f"#!/bin/sh\necho $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 1000\n")
    runtime.chmod(0o755)
    container = engine.containers.create("box", SLEEP, host_config={"Runtime": str(runtime)})
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            _START,
            str(engine.config.data_root),
            str(engine.config.exec_root),
            container.id,
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as starter:
        wait_until(mark.exists, "the runtime")
        supervisor = Path(f"/proc/{int(mark.read_text())}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(supervisor), signal.SIGKILL)
        assert "it died" in starter.communicate()[1]
    wait_until(lambda: not _is_alive(int(mark.read_text())), "the end of the runtime")
    assert container.status == "created"
    container.remove()
    assert not _left(engine)


_START = """
import onggi, sys
engine = onggi.open(sys.argv[1], exec_root=sys.argv[2], config_file=None)
engine.containers.get(sys.argv[3]).start()
"""


def test_a_start_leaves_nothing_when_its_runtime_is_killed(engine: onggi.Engine, tmp_path: Path) -> None:
    runtime = tmp_path / "runc"
    runtime.write_text(
        '#!/bin/sh\nfor word; do [ "$word" = run ] && { runc "$@"; kill -9 $$; }; done\nexec runc "$@"\n'
    )
    runtime.chmod(0o755)
    container = engine.containers.create("box", SLEEP, host_config={"Runtime": str(runtime)})
    with pytest.raises(OnggiError):
        container.start()
    assert not _groups(container)
    assert not list((engine.config.exec_root / "runtime/runc").glob(container.id))
    assert not container.running


def test_nobody_waits_for_the_end_of_what_was_just_started(engine: onggi.Engine) -> None:
    """Who starts a container hands its lease on for as long as it runs."""
    container = engine.containers.create("box", SLEEP, name="jar")
    lease = container._core.locks.try_acquire(f"supervisor-{container.id}", exclusive=True)
    assert lease is not None
    with ThreadPoolExecutor() as pool, lease:
        removal = pool.submit(container.remove)
        container._core.containers.update(
            container.id, lambda document: document["State"].update(Running=True)
        )
        with pytest.raises(ContainerIsRunning):
            removal.result(timeout=30)
    container.remove()


def test_removed_by_force_while_others_start_it(engine: onggi.Engine) -> None:
    def start_again_and_again(container: Container) -> None:
        try:
            while True:
                container.start()
        except ContainerNotFound:
            return

    def remove(container: Container) -> None:
        with suppress(ContainerNotFound):
            container.remove(force=True)

    for _ in range(3):
        since = time.time()
        container = engine.containers.run("box", SLEEP)
        with ThreadPoolExecutor() as pool:
            starts = [pool.submit(start_again_and_again, container) for _ in range(2)]
            for each in [pool.submit(remove, container) for _ in range(2)]:
                each.result(timeout=60)
            for each in starts:
                each.result(timeout=60)
        events = engine.events.read(since=since, follow=False)
        assert [event.id for event in events if event.action == "destroy"] == [container.id]
    assert engine.containers.list(all=True) == []
