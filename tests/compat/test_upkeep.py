"""gc and prune on data roots that a dockerd had, and has again afterwards; crashed ones among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compat.stores import layer_trees, metadata_tree
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.processes import wait_until

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("dockerd")]


@pytest.fixture
def ours(tmp_path: Path, hub: str) -> Onggi:
    """Onggi on the data root that dockerd has."""
    config = tmp_path / "onggi.json"
    config.write_text(json.dumps({"registry-mirrors": [hub], "compat": "20.10"}))
    return Onggi(tmp_path / "docker", config)


def listed(daemon: Daemon) -> list[str]:
    fields = "{{.ID}} {{.Repository}} {{.Tag}} {{.Digest}} {{.Size}}"
    return sorted(daemon.output("images", "-a", "--no-trunc", "--digests", "--format", fields).splitlines())


def directories(root: Path) -> set[str]:
    return {path.name for path in (root / "overlay2").iterdir()} - {"l"}


def crash_in_a_pull(daemon: Daemon) -> None:
    """Some of 125 layers are here, and nobody knows of them any more."""
    before = len(directories(daemon.data_root))
    pull = daemon.start("pull", "deep")
    wait_until(lambda: len(directories(daemon.data_root)) > before + 20, "layers of deep")
    daemon.crash()
    pull.wait()


def test_gc_after_dockerd_crashed(ours: Onggi, tmp_path: Path, hub: str) -> None:
    """What it left goes; its images, its container and what that wrote stay, and it pulls on."""
    root = ours.data_root
    with Daemon(root, tmp_path / "first", mirror=hub) as daemon:
        for image in ("many", "odd", "tags:v1"):
            daemon.run("pull", image)
        daemon.run("create", "--network", "none", "--name", "cc", "many", "/arch")
        written = tmp_path / "written"
        written.write_text("by a container")
        daemon.run("cp", str(written), "cc:/written")
        daemon.run("commit", "cc", "made:here")
        images, known = listed(daemon), directories(root)
        before = metadata_tree(root), layer_trees(root)
        crash_in_a_pull(daemon)
    orphans = directories(root) - known
    assert len(orphans) > 20
    assert ours.output("gc").count("\n") > 20
    assert not directories(root) - known and known == directories(root)
    after = metadata_tree(root)
    assert {name: after[name] for name in before[0]} == before[0]
    assert layer_trees(root) == before[1]
    assert not json.loads(ours.output("gc", "--json"))["Items"]
    assert ours.output("verify", "--all").endswith("nothing has changed\n")
    with Daemon(root, tmp_path / "second", mirror=hub) as daemon:
        assert listed(daemon) == images
        assert daemon.output("diff", "cc") == "A /written\n"
        daemon.run("pull", "tags:v2")
        daemon.run("rm", "cc")
        daemon.run("rmi", "made:here", "odd")
    assert ours.run("doctor").returncode == 0


def test_prune_and_give_back(ours: Onggi, tmp_path: Path, hub: str) -> None:
    """A container keeps its image, and a pin too; the others can be pulled again."""
    root = ours.data_root
    with Daemon(root, tmp_path / "first", mirror=hub) as daemon:
        for image in ("many", "tags:v3", "tags:v1", "nohistory", "twice"):
            daemon.run("pull", image)
        daemon.run("create", "--network", "none", "--name", "cc", "many", "/arch")
    ours.run("image", "pin", "tags:v3")
    ours.run("system", "prune", "-f", "--keep-bytes", "1B")
    with Daemon(root, tmp_path / "second", mirror=hub) as daemon:
        names = daemon.output("images", "-a", "--format", "{{.Repository}}:{{.Tag}}").split()
        assert set(names) == {"many:latest", "tags:v3"}
        for image in ("tags:v1", "twice"):
            assert "Pull complete" in daemon.output("pull", image)
        daemon.run("save", "-o", str(tmp_path / "saved"), "many", "tags:v3", "twice")
        daemon.run("export", "-o", str(tmp_path / "exported"), "cc")
        daemon.run("rm", "cc")
    assert ours.run("doctor").returncode == 0
    assert ours.output("verify", "--all").endswith("nothing has changed\n")
