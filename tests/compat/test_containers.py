"""Containers in Docker's files: made by either, listed, started and removed by the other.

The same options are given to both command lines; what they leave on disk is equal but for ids,
times, paths and the name of the runtime.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.busybox import box_layout
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("containers")]

IMAGE = {
    "Cmd": ["sh", "-c", "echo from the image"],
    "Env": ["A=image", "B=image"],
    "Labels": {"a": "image", "b": "image"},
    "User": "user",
    "WorkingDir": "/srv/dir/../here",
    "StopSignal": "SIGUSR1",
    "ExposedPorts": {"80/tcp": {}},
}
CASES = {
    "nothing": ["box"],
    "image": ["rich"],
    # One -e only: docker's command line keeps them in a Go map, and sends several in any order.
    "over the image": [
        "-e",
        "A=own",
        "-l",
        "a=own",
        "-u",
        "bin",
        "-w",
        "/w",
        "rich",
        "echo",
        "x",
    ],
    "entrypoint": ["--entrypoint", "/bin/echo", "rich", "a", "b"],
    "no entrypoint": ["--entrypoint", "", "box", "true"],
    "streams": ["-i", "-t", "-a", "stdout", "--stop-signal", "HUP", "--stop-timeout", "3", "box"],
    "names": ["-h", "name", "--domainname", "dom", "--add-host", "a:1.2.3.4", "--dns", "1.1.1.1", "box"],
    "interactive": ["-it", "--restart", "on-failure:3", "--log-opt", "max-size=1m", "box"],
    "always": ["--restart", "always", "--log-driver", "none", "box"],
    "privileged": ["--privileged", "--pid", "host", "--ipc", "host", "box"],
    "capabilities": [
        "--cap-add",
        "net_admin",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "box",
    ],
    "limits": [
        *("--memory", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--pids-limit", "50"),
        *("--cpu-shares", "1", "--cpuset-cpus", "0", "--ulimit", "nofile=100:200", "--oom-score-adj", "5"),
        *(
            "--shm-size",
            "1m",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "--tmpfs",
            "/t:size=1m",
            "--read-only",
            "box",
        ),
    ],
    "devices": [
        *("--device", "/dev/full:/dev/x:r", "--device", "/dev/zero", "--device-cgroup-rule", "c 1:* r"),
        *("--device-read-bps", "/dev/full:1mb", "--device-write-iops", "/dev/full:7"),
        *("--group-add", "wheel", "--init", "--cgroup-parent", "/up", "--userns", "host", "box"),
    ],
    "quota": [
        "--cpu-period",
        "50000",
        "--cpu-quota",
        "20000",
        "--memory-swappiness",
        "3",
        "--uts",
        "host",
        "box",
    ],
    "unconfined": ["--security-opt", "systempaths=unconfined", "--security-opt", "seccomp=unconfined", "box"],
    "shareable": ["--ipc", "shareable", "--cgroupns", "private", "--oom-kill-disable", "-m", "6m", "box"],
}


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Iterator[str]:
    """A registry with library/box and library/rich."""
    layout = box_layout(tmp_path_factory.mktemp("boxes") / "layout", rich=IMAGE)
    with serving(OCILayout(layout.directory)) as url:
        yield url


def _onggi(directory: Path, url: str, data_root: Path | None = None) -> Onggi:
    directory.mkdir(exist_ok=True)
    config = directory / "daemon.json"
    config.write_text(json.dumps({"registry-mirrors": [url], "compat": "20.10"}))
    return Onggi(data_root or directory / "root", config)


@pytest.fixture(scope="module")
def both(tmp_path_factory, boxes: str) -> Iterator[tuple[Onggi, Daemon]]:
    """Onggi and dockerd, each with its own root and the same images."""
    directory = tmp_path_factory.mktemp("both")
    ours = _onggi(directory, boxes)
    with Daemon(directory / "docker", directory / "d", mirror=boxes) as theirs:
        for image in ("box", "rich"):
            ours.run("pull", "-q", image)
            theirs.run("pull", "-q", image)
        yield ours, theirs


def _files(root: Path, id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    directory = root / "containers" / id
    documents = (json.loads((directory / name).read_text()) for name in ("config.v2.json", "hostconfig.json"))
    document, host_config = documents
    return document, host_config


def _normal(text: str, root: Path, id: str) -> str:
    text = text.replace(str(root), "ROOT").replace(id, "ID").replace(id[:12], "SHORT")
    return re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME", text)


@pytest.mark.parametrize("case", CASES)
def test_the_same_options_leave_the_same_files(both: tuple[Onggi, Daemon], case: str) -> None:
    ours, theirs = both
    words = ["create", "--network", "none", "--name", f"c-{case.replace(' ', '-')}", *CASES[case]]
    our_id, their_id = ours.output(*words).strip(), theirs.output(*words).strip().splitlines()[-1]
    for kind in ("config.v2.json", "hostconfig.json"):
        our_text, their_text = (
            _normal((root / "containers" / id / kind).read_text(), root, id)
            for root, id in ((ours.data_root, our_id), (theirs.data_root, their_id))
        )
        assert json.loads(our_text) == json.loads(their_text)
        assert our_text == their_text  # order, spacing, escapes


def test_the_same_directories(both: tuple[Onggi, Daemon]) -> None:
    """The container's directory, layerdb's entry, the init layer: names, modes, owners, contents."""
    ours, theirs = both
    seen = []
    for run, root in ((ours.output, ours.data_root), (theirs.output, theirs.data_root)):
        id = run("create", "--network", "none", "box", "true").strip().splitlines()[-1]
        entry = root / "image/overlay2/layerdb/mounts" / id
        mount_id = (entry / "mount-id").read_text()
        assert (entry / "init-id").read_text() == f"{mount_id}-init"
        layer, init = root / "overlay2" / mount_id, root / "overlay2" / f"{mount_id}-init"
        seen.append(
            (
                (entry / "parent").read_text(),
                sorted(path.name for path in entry.iterdir()),
                [_shape(path) for path in (root / "containers" / id, entry, layer, init)],
                [(path.name, _shape(path)) for path in sorted((root / "containers" / id).iterdir())],
                [(path.name, _shape(path)) for path in sorted(layer.iterdir())],
                [(path.name, _shape(path)) for path in sorted(init.iterdir())],
                _tree(init / "diff"),
                len((layer / "lower").read_text()),
            )
        )
    assert seen[0] == seen[1]


def _tree(root: Path) -> dict[str, tuple[object, ...]]:
    return {
        str(path.relative_to(root)): (*_shape(path), path.readlink() if path.is_symlink() else "")
        for path in sorted(root.rglob("*"))
    }


def _shape(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_mode, status.st_uid, status.st_gid


def test_dockerd_takes_over_what_onggi_made(tmp_path: Path, boxes: str) -> None:
    ours = _onggi(tmp_path, boxes)
    words = ("--network", "none", "--name", "ran", "box", "sh", "-c", "echo one >> /f; cat /f; exit 3")
    made = ours.run("run", "-q", *words, check=False)
    assert (made.returncode, made.stdout) == (3, "one\n")
    assert "Unable to find image 'box:latest' locally" in made.stderr
    ours.run("create", "--network", "none", "--name", "fresh", "-l", "x=y", "box", "echo", "fresh")
    before = json.loads(ours.output("inspect", "ran", "fresh"))
    with Daemon(ours.data_root, tmp_path / "taker", mirror=boxes) as daemon:
        rows = daemon.output("ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}").splitlines()
        assert sorted(row.split(" (")[0] for row in rows) == ["fresh created Created", "ran exited Exited"]
        after = json.loads(daemon.output("inspect", "ran", "fresh"))
        assert [_comparable(one) for one in after] == [_comparable(one) for one in before]
        assert daemon.output("logs", "ran") == "one\n"
        again = daemon.run("start", "-a", "ran", check=False)
        assert (again.returncode, again.stdout) == (3, "one\none\n")
        assert daemon.output("start", "-a", "fresh") == "fresh\n"
        assert daemon.output("diff", "ran") == "A /f\n"
        daemon.run("rm", "ran")
    assert ours.output("ps", "-a", "--format", "{{.Names}}") == "fresh\n"
    assert ours.output("start", "-a", "fresh") == "fresh\n"
    ours.run("rm", "fresh")
    assert ours.output("verify", "--all").endswith("nothing has changed\n")


def _comparable(inspected: dict[str, Any]) -> dict[str, Any]:
    """Without what belongs to a network sandbox."""
    settings = inspected["NetworkSettings"]
    for field in ("SandboxID", "SandboxKey"):
        settings.pop(field)
    for endpoint in settings["Networks"].values():
        endpoint.pop("NetworkID"), endpoint.pop("EndpointID")
    return inspected


def test_onggi_takes_over_what_dockerd_made(tmp_path: Path, boxes: str) -> None:
    with Daemon(tmp_path / "docker", tmp_path / "d", mirror=boxes) as daemon:
        daemon.run("pull", "-q", "box")
        daemon.run("run", "--network", "none", "--name", "ran", "box", "sh", "-c", "echo one >> /f; cat /f")
        daemon.run("create", "--network", "none", "--name", "fresh", "box", "echo", "fresh")
        before = json.loads(daemon.output("inspect", "ran", "fresh"))
    ours = _onggi(tmp_path / "ours", boxes, daemon.data_root)
    after = json.loads(ours.output("inspect", "ran", "fresh"))
    assert [_comparable(one) for one in after] == [_comparable(one) for one in before]
    assert ours.output("logs", "ran") == "one\n"
    assert ours.output("start", "-a", "ran") == "one\none\n"
    assert ours.output("start", "-a", "fresh") == "fresh\n"
    ours.run("rm", "ran", "fresh")
    with Daemon(daemon.data_root, tmp_path / "again", mirror=boxes) as daemon:
        assert daemon.output("ps", "-aq") == ""
        assert daemon.output("run", "--rm", "--network", "none", "box", "echo", "on") == "on\n"
