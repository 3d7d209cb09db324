"""Containers by the Python interface, on real runc."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from pathlib import Path

import pytest

import onggi
from onggi.engine.containers.container import CannotKill, Container
from onggi.engine.containers.names import AmbiguousContainer, ContainerNotFound, InvalidName, NameTaken
from onggi.engine.containers.removal import ContainerIsRunning
from onggi.engine.filters import InvalidFilter
from onggi.errors import Conflict, DeadlineExceeded, InvalidArgument
from onggi.runtime.oci_runtime import ProgramNotFound
from onggi.runtime.user import UserNotFound
from tests.peers.processes import wait_until

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]


def _left(engine: onggi.Engine) -> set[str]:
    """Driver directories that belong to no image."""
    layers = {layer.cache_id for image in engine.images.list() for layer in image.layers}
    home = engine.config.data_root / "overlay2"
    return {path.name for path in home.iterdir() if path.name != "l"} - layers


def _supervisor(container: Container) -> int:
    """The process that holds the container's lease."""
    lock = engine_lock(container)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if any(os.readlink(fd) == lock for fd in (entry / "fd").iterdir()):
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("nobody watches it")


def engine_lock(container: Container) -> str:
    return str(container._core.locks.path(f"supervisor-{container.id}"))


def test_run_wait_logs_remove(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", ["sh", "-c", "echo out; echo err >&2; exit 3"], name="first")
    assert container.wait() == 3
    assert {(entry.stream, entry.data) for entry in container.logs()} == {
        ("stdout", b"out\n"),
        ("stderr", b"err\n"),
    }
    assert (container.status, container.exit_code, container.name) == ("exited", 3, "first")
    assert container.image == engine.images.get("box")
    container.remove()
    assert not _left(engine)
    with pytest.raises(ContainerNotFound):
        engine.containers.get("first")


def test_the_image_says_how(engine: onggi.Engine) -> None:
    with engine.containers.run("rich", labels={"own": "1"}) as container:
        container.wait()
        assert b"".join(entry.data for entry in container.logs()) == b"/srv/here\nuser\nimage\n"
        assert container.labels == {"kind": "rich", "own": "1"}
    assert not _left(engine)


def test_two_of_one_image_do_not_see_each_other(engine: onggi.Engine) -> None:
    first = engine.containers.run("box", ["sh", "-c", "echo 1 > /f; rm /etc/group; sleep 60"])
    second = engine.containers.run("box", FOREVER)
    assert second.exec(["ls", "/f"]).communicate().exit_code != 0
    assert second.exec(["cat", "/etc/group"]).communicate().stdout.startswith(b"root")
    for container in (first, second):
        container.remove(force=True)
    assert not _left(engine)


def test_exec_is_like_popen(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", FOREVER, env={"A": "own"})
    output = container.exec(["sh", "-c", "cat; echo $A >&2; exit 5"], stdin=True, workdir="/tmp").communicate(
        b"in"
    )
    assert (output.stdout, output.stderr, output.exit_code) == (b"in", b"own\n", 5)
    who = container.exec(["id", "-u"], user="user").communicate()
    assert who.stdout == b"1000\n"
    with pytest.raises(DeadlineExceeded), container.exec(["sleep", "30"]) as slow:
        slow.communicate(timeout_s=0.2)
    with pytest.raises(ProgramNotFound):
        container.exec(["nope"])
    with pytest.raises(UserNotFound):
        container.exec(["true"], user="nobody-here")
    container.stop(0)
    with pytest.raises(Conflict, match="is not running"):
        container.exec(["true"])


def test_logs_follow_tail_and_times(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"])
    begun = time.time()
    assert [entry.data for entry in container.logs(follow=True)] == [b"1\n", b"2\n", b"3\n"]
    assert [entry.data for entry in container.logs(tail=1)] == [b"3\n"]
    assert list(container.logs(tail=0)) == []
    assert list(container.logs(since=begun + 60)) == []
    assert list(container.logs(until=begun - 60)) == []


def test_what_is_removed_at_its_end(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", ["true"], remove=True)
    wait_until(lambda: not engine.containers.list(all=True), "its removal")
    assert not (engine.config.data_root / "containers" / container.id).exists()
    wait_until(lambda: not _left(engine), "the removal of its layers")


def test_a_start_that_fails(engine: onggi.Engine) -> None:
    container = engine.containers.create("box", ["nope"])
    with pytest.raises(ProgramNotFound):
        container.start()
    assert (container.status, container.stored.state["ExitCode"]) == ("created", 127)
    with pytest.raises(UserNotFound):
        engine.containers.run("box", ["true"], user="ghost", remove=True)
    assert engine.containers.list(all=True) == [container]
    container.remove()
    assert not _left(engine)


def test_a_killed_supervisors_container_is_ended_by_the_next_command(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", ["sleep", "100"])
    pid = container.stored.state["Pid"]
    os.kill(_supervisor(container), signal.SIGKILL)
    wait_until(lambda: not container.running, "its end")
    assert Path(f"/proc/{pid}").exists()
    assert container.status == "exited"
    with pytest.raises(CannotKill):
        container.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of what ran in it")
    assert container.stored.state["ExitCode"] == 137
    container.start()
    assert container.running
    container.remove(force=True)
    assert not _left(engine)


def test_dockerd_is_kept_out_while_a_container_runs(engine: onggi.Engine) -> None:
    """The lock that a dockerd takes for life is held, shared, by the supervisor alone."""
    container = engine.containers.run("box", FOREVER)
    path = engine.config.data_root / "volumes/metadata.db"
    with open(path) as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    container.stop()
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_removing_and_killing(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", FOREVER, name="alive")
    with pytest.raises(ContainerIsRunning, match='cannot remove container "/alive": container is running'):
        container.remove()
    container.pause()
    assert container.status == "paused"
    container.unpause()
    container.restart()
    assert container.running
    # Its shell is not asked to end before it can hear it.
    wait_until(
        lambda: container.exec(["grep", "SigCgt.*4[0-9a-f]\\{3\\}$", "/proc/1/status"]).wait() == 0,
        "its trap",
    )
    container.stop()
    assert container.exit_code == 0
    container.stop()  # again: nothing to do
    with pytest.raises(CannotKill, match="Cannot kill container: alive"):
        container.kill()
    with pytest.raises(Conflict, match="attach to a stopped container"):
        container.attach()


def test_names(engine: onggi.Engine) -> None:
    first = engine.containers.create("box", name="one1")
    assert (
        engine.containers.get("one1") == engine.containers.get(first.id[:6]) == engine.containers.get("/one1")
    )
    with pytest.raises(NameTaken, match=f'"/one1" is already in use by container "{first.id}"'):
        engine.containers.create("box", name="one1")
    with pytest.raises(InvalidName):
        engine.containers.create("box", name="a b")
    with pytest.raises(ContainerNotFound, match="No such container: nope"):
        engine.containers.get("nope")
    first.rename("two2")
    assert first.name == "two2"
    with pytest.raises(AmbiguousContainer):
        from onggi.engine.containers.names import find_id

        find_id("a", {}, ["ab", "ac"])
    assert "_" in engine.containers.create("box").name


def test_rows_and_filters(engine: onggi.Engine) -> None:
    old = engine.containers.create("rich", name="old1")
    new = engine.containers.run("box", FOREVER, name="new1", labels={"a": "b"})

    def found(**filters: str) -> list[str]:
        wanted = {name: [value] for name, value in filters.items()}
        return [row.name for row in engine.containers.rows(all=True, filters=wanted)]

    assert [row.name for row in engine.containers.rows()] == ["new1"]
    assert found() == ["new1", "old1"]
    assert [row.name for row in engine.containers.rows(limit=1)] == ["new1"]
    assert found(status="created") == ["old1"]
    assert found(since="new1") == []
    assert found(label="a=b") == found(since="old1") == found(name="^new") == ["new1"]
    assert found(label="kind") == found(ancestor="rich") == found(before="new1") == ["old1"]
    assert found(id=new.id[:8]) == ["new1"]
    assert engine.containers.rows()[0].command.startswith("sh -c 'trap")
    with pytest.raises(InvalidFilter):
        found(color="red")
    new.remove(force=True)
    pruned = engine.containers.prune()
    assert pruned.ids == (old.id,)


def test_sizes(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", ["sh", "-c", "head -c 1000 /dev/zero > /f; mkdir /d"])
    container.wait()
    own, virtual = engine.containers.sizes(container.id)
    assert own == 1000
    assert virtual == own + engine.images.get("box").size
    assert container.inspect(size=True)["SizeRw"] == 1000


def test_an_image_with_links_where_things_are_mounted(engine: onggi.Engine) -> None:
    """Its links are replaced in the init layer, WORKDIR stays inside, nothing appears on the host."""
    container = engine.containers.run("evil", ["/bin/sh", "-c", "pwd; ls /etc; ls -d /out/deep"])
    container.wait()
    said = b"".join(entry.data for entry in container.logs()).decode()
    assert "hostname\nhosts\nmtab\nresolv.conf\n" in said
    assert said.endswith("/out/deep\n")
    assert not Path("/host-etc").exists()
    assert not Path("/out").exists()


def test_sharing_namespaces(engine: onggi.Engine) -> None:
    owner = engine.containers.run("box", FOREVER, name="owner", host_config={"IpcMode": "shareable"})
    joined = {"NetworkMode": "container:owner", "IpcMode": "container:owner", "PidMode": "container:owner"}
    guest = engine.containers.run(
        "box", ["sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/pid"], host_config=joined
    )
    guest.wait()
    pid = owner.stored.state["Pid"]
    expected = [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "pid")]
    assert b"".join(entry.data for entry in guest.logs()).decode().split() == expected
    owner.stop()
    with pytest.raises(Conflict, match="is not running"):
        guest.start()


def test_what_is_not_possible(engine: onggi.Engine) -> None:
    for host_config in ({"Memory": 1}, {"RestartPolicy": {"Name": "sometimes"}}, {"Sysctls": {"vm.x": "1"}}):
        with pytest.raises(InvalidArgument):
            engine.containers.create("box", host_config=host_config)
    with pytest.raises(InvalidArgument, match="needs to be an absolute path"):
        engine.containers.create("box", workdir="relative")
    assert not _left(engine)


def test_events(engine: onggi.Engine) -> None:
    since = time.time()
    container = engine.containers.run("box", ["true"], name="told")
    container.wait()
    container.remove()
    events = [event for event in engine.events.read(since=since, follow=False) if event.id == container.id]
    assert [event.action for event in events] == ["create", "start", "die", "destroy"]
    assert events[2].attributes == {"exitCode": "0", "image": "box", "name": "told"}


def test_files_a_container_sees(engine: onggi.Engine) -> None:
    options = {
        "ExtraHosts": ["a:1.2.3.4"],
        "Dns": ["9.9.9.9"],
        "DnsSearch": ["x.org"],
        "DnsOptions": ["ndots:1"],
    }
    container = engine.containers.run(
        "box", ["cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"], host_config=options
    )
    container.wait()
    said = b"".join(entry.data for entry in container.logs()).decode()
    assert "127.0.0.1\tlocalhost\n" in said
    assert "1.2.3.4\ta\nsearch x.org\nnameserver 9.9.9.9\noptions ndots:1\n" in said
    assert said.endswith(f"{container.short_id}\n")
    document = json.loads(
        (engine.config.data_root / "containers" / container.id / "config.v2.json").read_text()
    )
    assert document["HostnamePath"].endswith("/hostname")


def test_nothing_is_flushed_for_what_goes_at_its_end(engine: onggi.Engine) -> None:
    """Started again (as ``restart`` does), the kernel takes the upper directory of a volatile mount."""
    passing = engine.containers.run("box", FOREVER, network="none", remove=True)
    staying = engine.containers.run("box", FOREVER, network="none")
    for container, volatile in ((passing, True), (staying, False)):
        mounts = container.exec(["head", "-n1", "/proc/mounts"]).communicate().stdout.decode()
        assert mounts.startswith("overlay / overlay")
        assert ("volatile" in mounts) == volatile
        container.remove(force=True)


def test_an_upper_directory_whose_volatile_mount_was_cut_off(engine: onggi.Engine) -> None:
    container = engine.containers.create("box", ["true"], network="none")
    layer = engine._core.writable.get(container.id)
    os.close(engine._core.writable.mount(layer, volatile=True))
    assert (engine._core.driver.path(layer.mount_id) / "work/work/incompat/volatile").is_dir()
    container.start()
    assert container.wait() == 0
