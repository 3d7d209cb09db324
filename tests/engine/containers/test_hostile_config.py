"""Images whose config or files try to reach the host, or to make a start go wrong in an unclear way."""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import onggi
from onggi.errors import OnggiError
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from onggi.oci.image_config import InvalidImageConfig
from tests.peers.busybox import box_layer
from tests.peers.images import Layout, member, tar
from tests.peers.processes import wait_until

# What the container says when it runs: who it is, where, and whether it sees the host's files.
SPY = ["sh", "-c", "id -u; pwd; ls / /.. ../../../.. | grep -c host-marker"]


def _link(name: str, target: str) -> bytes:
    return tar([member(name, type=tarfile.SYMTYPE, linkname=target)])


def _file(name: str, data: bytes) -> bytes:
    return tar([member(name, data)])


# An image's config, its upper layers, and what is said: by the container, or (a str) by the error.
CONFIGS: dict[str, tuple[dict, list[bytes], tuple[str, str] | str]] = {
    "plain": ({}, [], ("0", "/")),
    "user-wraps-to-root": ({"User": "4294967296"}, [], "uids and gids must be in range"),
    "group-wraps-to-root": ({"User": "1:4294967296"}, [], "uids and gids must be in range"),
    "user-below-zero": ({"User": "-1"}, [], "uids and gids must be in range"),
    "user-out-of-file": (
        {"User": "x"},
        [_file("etc/passwd", b"x:x:4294967295:0::/:/bin/sh\n")],
        "uids and gids must be in range",
    ),
    "user-with-a-line": ({"User": "root\nx"}, [], "unable to find user root"),
    "hosts-passwd": (
        {"User": "daemon"},
        [_link("etc/passwd", "/proc/1/root/etc/passwd")],
        "unable to find user daemon",
    ),
    "hosts-passwd-by-dots": (
        {"User": "daemon"},
        [_link("etc/passwd", "../../../../../../etc/passwd")],
        "unable to find user daemon",
    ),
    "passwd-that-never-ends": (
        {"User": "daemon"},
        [tar([member("etc/passwd", type=tarfile.FIFOTYPE)])],
        "unable to find user daemon",
    ),
    "workdir-of-a-descriptor": ({"WorkingDir": "/proc/self/fd/7"}, [], "not a directory"),
    "workdir-above-a-descriptor": ({"WorkingDir": "/proc/self/fd/8/../../.."}, [], ("0", "/proc")),
    "workdir-by-a-link": (
        {"WorkingDir": "/lnk/deep"},
        [_link("lnk", "/../../../../tmp")],
        ("0", "/tmp/deep"),
    ),
    "workdir-with-a-zero": ({"WorkingDir": "/a\0b"}, [], "invalid argument"),
    "workdir-too-long": ({"WorkingDir": "/" + "a" * 5000}, [], "file name too long"),
    "environment-too-large": ({"Env": ["A=" + "x" * 200_000]}, [], ("argument list too long", "")),
    "environment-with-a-zero": ({"Env": ["A\0B=1"]}, [], "can't contain null"),
    "environment-odd": ({"Env": ["=x", "", "LD_PRELOAD=/x", "A=\n"]}, [], ("0", "/")),
    "labels-odd": ({"Labels": {"a\nb": "c\0d", "x" * 70_000: "y"}}, [], ("0", "/")),
    "ports-odd": ({"ExposedPorts": {"99999/tcp": {}, "x/y": {}, "-1": {}}}, [], ("0", "/")),
    "hosts-files": ({}, [_link("etc/hosts", "/../../../tmp/onggi-hosts")], ("0", "/")),
    "sys-and-proc": (
        {},
        [tar([member(".wh.sys"), member(".wh.proc")]), _link("sys", "/etc"), _link("proc", "/etc")],
        ("0", "/"),
    ),
}
# Configs that are no configs.
NONSENSE: dict[str, dict] = {
    "volumes": {"Volumes": ["/x"]},
    "user": {"User": 5},
    "environment": {"Env": "A=b"},
    "labels": {"Labels": ["a"]},
}


@pytest.fixture(scope="module")
def stocked(tmp_path_factory) -> Iterator[onggi.Engine]:
    """The engine of conftest's fixture, with these images."""
    work = tmp_path_factory.mktemp("hostile")
    layout = Layout(work / "layout")
    for name, (config, layers, _) in CONFIGS.items():
        layout.image(f"library/{name}:latest", [box_layer(), *layers], config={"Cmd": SPY, **config})
    for name, config in NONSENSE.items():
        layout.image(f"library/nonsense-{name}:latest", [box_layer()], config=config)
    settings = work / "none.json"
    settings.write_text("{}")
    with (
        serving(OCILayout(layout.directory)) as url,
        onggi.open(
            work / "root", exec_root=work / "run", registry_mirrors=(url,), config_file=settings
        ) as engine,
    ):
        marker = Path(f"/host-marker-{os.getpid()}")
        marker.touch()
        try:
            yield engine
        finally:
            marker.unlink()


@pytest.mark.parametrize("name", CONFIGS)
def test_it_stays_inside(engine: onggi.Engine, name: str) -> None:
    said = CONFIGS[name][2]
    engine.images.pull(name)
    container = engine.containers.create(name)
    if isinstance(said, str):
        with pytest.raises(OnggiError, match=said):
            container.start()
        assert not container.running
        return
    container.start()
    container.wait(timeout_s=30)
    lines = b"".join(entry.data for entry in container.logs()).decode().splitlines()
    if said[1]:
        assert lines == [*said, "0"]
    else:
        assert said[0] in lines[0]
    assert not Path("/tmp/onggi-hosts").exists()


@pytest.mark.parametrize("name", NONSENSE)
def test_no_config(engine: onggi.Engine, name: str) -> None:
    with pytest.raises(InvalidImageConfig, match="invalid image JSON: config"):
        engine.images.pull(f"nonsense-{name}")


def test_a_fork_bomb_is_held(engine: onggi.Engine) -> None:
    """By --pids-limit: others live on, it can be looked at, stopped and removed, and all of it goes."""
    engine.images.pull("plain")
    bomb = engine.containers.run(
        "plain",
        ["sh", "-c", "(while :; do sleep 1000 & done) & exec sleep 1000"],
        host_config={"PidsLimit": 40},
    )
    wait_until(lambda: len(_processes(bomb.id)) > 35, "the bomb")
    time.sleep(0.5)
    assert len(_processes(bomb.id)) <= 40
    with engine.containers.run("plain", ["echo", "others"]) as other:
        assert other.wait(timeout_s=30) == 0
    assert bomb.running
    bomb.stop(0)
    assert (bomb.status, _processes(bomb.id)) == ("exited", [])


def _processes(id: str) -> list[str]:
    """Numbers of what runs in a container."""
    for place in ("pids/docker", "docker"):
        try:
            return Path(f"/sys/fs/cgroup/{place}/{id}/cgroup.procs").read_text().split()
        except FileNotFoundError:
            continue
    return []
