"""Keys of daemon.json that change every container: the same file for dockerd and Onggi, seen inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from onggi.runtime.host import HostFacts
from tests.peers.busybox import box_layout
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.processes import require, wait_until

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("containers")]

Both = tuple[Onggi, Daemon]
NONE = ("--network", "none")
# It allows everything but one system call.
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "args": []}],
}


def _settings(profile: Path, runtime: Path) -> dict[str, object]:
    return {
        "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 500, "Soft": 400}},
        "default-shm-size": "3M",
        "default-ipc-mode": "shareable",
        "default-cgroupns-mode": "private",
        "no-new-privileges": True,
        "seccomp-profile": str(profile),
        "cgroup-parent": "/onggi-test-parent",
        "init": True,
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "log-driver": "local",
        "log-opts": {"max-size": "1m", "max-file": "3"},
        "runtimes": {"marked": {"path": str(runtime), "runtimeArgs": ["--rootless", "false"]}},
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[Both]:
    directory = tmp_path_factory.mktemp("settings")
    profile, runtime = directory / "profile.json", directory / "marked"
    profile.write_text(json.dumps(PROFILE))
    # runc by another name, which leaves a mark.
    runtime.write_text(f'#!/bin/sh\necho "$@" >> {directory}/called\nexec {require("runc")} "$@"\n')
    runtime.chmod(0o755)
    settings = _settings(profile, runtime)
    with serving(OCILayout(box_layout(directory / "layout").directory)) as url:
        config = directory / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [url], "compat": "20.10", **settings}))
        ours = Onggi(directory / "root", config)
        with Daemon(directory / "docker", directory / "d", mirror=url, settings=settings) as theirs:
            for peer in (ours, theirs):
                peer.run("pull", "-q", "box")
            yield ours, theirs


PROBE = (
    "ulimit -Sn; ulimit -Hn; df -k /dev/shm | tail -1 | awk '{print $2}'; grep NoNewPrivs /proc/self/status;"
    "mkdir /nope; grep pids /proc/self/cgroup; cat /proc/1/comm; grep ' /dev/shm ' /proc/mounts | cut -d' ' -f1"
)


def test_inside(both: Both) -> None:
    seen = []
    for peer in both:
        done = peer.run("run", "--rm", *NONE, "box", "sh", "-c", PROBE, check=False)
        seen.append((re.sub(r"[0-9a-f]{64}", "ID", done.stdout), done.stderr, done.returncode))
    assert seen[0] == seen[1]
    assert seen[0][0].splitlines()[:3] == ["400", "500", "3072"]
    assert "NoNewPrivs:\t1" in seen[0][0] and "Operation not permitted" in seen[0][1]


def test_what_a_container_says_wins(both: Both) -> None:
    flags = [
        *("--ulimit", "nofile=100:200", "--shm-size", "1m", "--ipc", "private", "--cgroup-parent", "/own"),
        *(
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "no-new-privileges=false",
            "--init=false",
        ),
    ]
    seen = []
    for peer in both:
        done = peer.run("run", "--rm", *NONE, *flags, "box", "sh", "-c", PROBE, check=False)
        seen.append((re.sub(r"[0-9a-f]{64}", "ID", done.stdout), done.stderr, done.returncode))
    assert seen[0] == seen[1]
    assert seen[0][0].splitlines()[:2] == ["100", "200"]


def test_the_files_say_the_same(both: Both) -> None:
    fields = ("LogConfig", "IpcMode", "CgroupnsMode", "ShmSize", "Runtime", "Ulimits", "CgroupParent", "Init")
    seen = []
    for peer in both:
        id = peer.output("create", *NONE, "box", "true").strip()
        path = peer.data_root / "containers" / id
        host_config = json.loads((path / "hostconfig.json").read_text())
        document = json.loads((path / "config.v2.json").read_text())
        facts = {field: host_config.get(field) for field in fields}
        seen.append((facts, document["NoNewPrivileges"], document["SeccompProfile"]))
    assert seen[0] == seen[1]


def test_a_runtime_by_name(both: Both) -> None:
    ours, _ = both
    called = Path(json.loads(ours._config.read_text())["runtimes"]["marked"]["path"]).with_name("called")
    for peer in both:
        called.unlink(missing_ok=True)
        assert peer.output("run", "--rm", *NONE, "--runtime", "marked", "box", "echo", "hi") == "hi\n"
        assert "--bundle" in called.read_text() and "--rootless false" in called.read_text()
    told = [peer.run("create", *NONE, "--runtime", "nope", "box", check=False) for peer in both]
    assert all("Unknown runtime specified nope" in done.stderr for done in told)


def test_another_runtime(both: Both) -> None:
    """crun, where it runs: it refuses hosts with both versions of cgroups, and that is told."""
    require("crun")
    ours, _ = both
    words = ("--runtime", "crun", "box", "sh", "-c", "echo in; exit 3")
    done = ours.run("run", "--rm", *NONE, *words, check=False)
    if HostFacts.read().hybrid:
        assert done.returncode == 125
        assert "cgroups in hybrid mode not supported" in done.stderr
        return
    assert (done.returncode, done.stdout) == (3, "in\n")
    ours.run("run", "-d", *NONE, "--runtime", "crun", "--name", "other", "box", "sleep", "100")
    assert ours.output("exec", "other", "echo", "x") == "x\n"
    ours.run("pause", "other")
    ours.run("unpause", "other")
    ours.run("rm", "-f", "other")


def test_restart_policies(both: Both) -> None:
    """Counts, last states, and what a stop by hand means."""
    seen = []
    for peer in both:
        facts = []
        for name, policy, command in (
            ("twice", "on-failure:2", "exit 3"),
            ("fine", "on-failure:2", "exit 0"),
            ("always", "always", "exit 0"),
        ):
            peer.run("run", "-d", *NONE, "--name", name, "--restart", policy, "box", "sh", "-c", command)

        def state(name: str, peer=peer) -> tuple[str, ...]:
            format = "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}"
            return tuple(peer.output("inspect", "--format", format, name).split())

        wait_until(lambda state=state: state("twice") == ("2", "exited", "3"), "two restarts")
        wait_until(lambda state=state: state("fine") == ("0", "exited", "0"), "its end")
        wait_until(lambda state=state: int(state("always")[0]) >= 2, "two restarts")
        peer.run("stop", "-t", "0", "always")
        facts += [state(name)[1:] for name in ("twice", "fine", "always")]
        peer.run("start", "twice")
        wait_until(lambda state=state: state("twice")[1] == "exited", "its end")
        facts.append(state("twice"))
        peer.run("rm", "-f", "twice", "fine", "always")
        seen.append(facts)
    assert seen[0] == seen[1]


def test_without_an_init_program(both: Both, tmp_path: Path) -> None:
    ours, _ = both
    settings = json.loads(ours._config.read_text())
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({**settings, "init-path": "nothing-there"}))
    told = Onggi(ours.data_root, config).run("run", "--rm", *NONE, "box", "true", check=False)
    assert told.returncode != 0
    assert 'exec: "nothing-there": executable file not found in $PATH' in told.stderr
    assert "apt-get install tini" in told.stderr
