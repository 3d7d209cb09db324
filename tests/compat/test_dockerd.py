"""The same images by dockerd and by Onggi: same words, same files, and roots that change hands."""

from __future__ import annotations

import json
import re

import pytest

from tests.compat.stores import layer_trees, metadata_tree
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("dockerd")]

IMAGES = ["odd", "twice", "deep", "plain", "nohistory", "many", "tags:v1"]


def transcript(text: str) -> list[str]:
    """A pull's lines in an order that threads cannot change: per layer, then the rest."""
    lines = text.splitlines()
    layers = [line for line in lines if re.match(r"[0-9a-f]{12}: ", line)]
    # Docker's own broadcaster drops these two at will, and Onggi has no reason to.
    dropped = ("Verifying Checksum", "Waiting", "Download complete")
    kept = sorted(line for line in layers if not line.endswith(dropped))
    return [line for line in lines if line not in layers] + kept


def test_transcripts_are_equal(dockerd: Daemon, onggi: Onggi) -> None:
    steps = [
        ("pull", "odd"),
        ("pull", "odd"),
        ("pull", "docker.io/library/twice:latest"),
        ("pull", "index.docker.io/library/many"),
        ("pull", "--platform", "linux/arm/v7", "many"),
        ("pull", "-q", "tags:v1"),
        ("pull", "tags:v2"),
        ("pull", "-a", "tags"),
        ("pull", "deep"),
        ("pull", "tags:v1", "-a"),
        ("pull", "--platform", "linux/s390x", "many"),
        ("pull", "scratch"),
        (
            "images",
            "--no-trunc",
            "--digests",
            "--format",
            "{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}} {{.Size}}",
        ),
        ("history", "--no-trunc", "odd"),
        ("history", "deep"),
        ("history", "nohistory"),
        ("tag", "odd", "other/name:1"),
        ("tag", "odd", "Bad"),
        ("rmi", "other/name:1"),
        ("rmi", "twice"),
        ("rmi", "nothere"),
        ("image", "prune", "-f"),
        ("images", "-q"),
        ("inspect", "odd", "--format", "{{.Id}} {{.RootFS.Layers}} {{json .RepoDigests}}"),
    ]
    for step in steps:
        theirs = dockerd.run(*step, check=False)
        ours = onggi.run(*step, check=False)
        assert ours.returncode == theirs.returncode, (step, ours.stderr, theirs.stderr)
        if step[0] == "images":
            assert sorted(ours.stdout.splitlines()) == sorted(theirs.stdout.splitlines()), step
        elif theirs.returncode == 0:
            assert transcript(ours.stdout) == transcript(theirs.stdout), step
        else:
            reason = theirs.stderr.strip().removeprefix("Error response from daemon: ").splitlines()[0]
            # dockerd goes on to Docker Hub, which is out of reach here, and tells of that.
            if "registry-1.docker.io" not in reason:
                assert reason.removeprefix("Error: ") in ours.stderr, step


def test_stores_are_equal(dockerd: Daemon, onggi: Onggi) -> None:
    for image in IMAGES:
        dockerd.run("pull", image)
        onggi.run("pull", image)
    theirs = json.loads(dockerd.output("inspect", *IMAGES))
    ours = json.loads(onggi.output("inspect", *IMAGES))
    for mine, other in zip(ours, theirs, strict=True):
        for random_name in ("LowerDir", "MergedDir", "UpperDir", "WorkDir"):
            mine["GraphDriver"]["Data"].pop(random_name, None)
            other["GraphDriver"]["Data"].pop(random_name, None)
        assert json.dumps(mine) == json.dumps(other)
    assert metadata_tree(onggi.data_root) == metadata_tree(dockerd.data_root)
    trees, reference = layer_trees(onggi.data_root), layer_trees(dockerd.data_root)
    assert trees.keys() == reference.keys()
    for chain, tree in reference.items():
        assert trees[chain] == tree


def test_dockerd_takes_over_and_gives_back(onggi: Onggi, tmp_path, hub) -> None:
    for image in ("many", "odd", "deep"):
        onggi.run("pull", image)
    with Daemon(onggi.data_root, tmp_path / "taker", mirror=hub) as daemon:
        assert set(daemon.output("images", "--format", "{{.Repository}}").split()) == {"many", "odd", "deep"}
        assert json.loads(daemon.output("inspect", "odd"))[0]["RepoTags"] == ["odd:latest"]
        archive = tmp_path / "saved.tar"
        daemon.run("save", "-o", str(archive), "deep", "many")
        assert archive.stat().st_size > 0
        refused = onggi.run("pull", "twice", check=False)
        assert refused.returncode == 1
        assert "a running Docker daemon owns this data root" in refused.stderr
        assert "odd" in onggi.output("images")
        pulled = daemon.output("pull", "tags:v1")
        assert "Already exists" in pulled
        daemon.run("create", "--network", "none", "--name", "cc", "many", "/arch")
        daemon.run("rmi", "odd")
    assert "odd" not in onggi.output("images")
    assert "tags" in onggi.output("images")
    conflict = onggi.run("rmi", "many", check=False)
    assert "must force" in conflict.stderr
    assert conflict.returncode == 1
    onggi.run("pull", "odd")
    assert onggi.run("doctor").returncode == 0
    assert layer_count(onggi) == len(layer_trees(onggi.data_root))


def layer_count(onggi: Onggi) -> int:
    return len(list((onggi.data_root / "image/overlay2/layerdb/sha256").iterdir()))


def test_real_images(real_registry, tmp_path) -> None:
    """nginx, python, debian, busybox as they are: transcript, store and a program that runs."""
    if real_registry is None:
        return
    config = tmp_path / "daemon.json"
    config.write_text(f'{{"registry-mirrors": ["{real_registry.url}"], "compat": "20.10"}}')
    onggi = Onggi(tmp_path / "onggi", config)
    with Daemon(tmp_path / "docker", tmp_path / "d", mirror=real_registry.url) as daemon:
        for image in (
            "nginx:latest",
            "python:3.11",
            "debian:bookworm-slim",
            "busybox",
            "oci/nginx",
            "oci/busybox",
        ):
            theirs, ours = daemon.output("pull", image), onggi.output("pull", image)
            assert transcript(ours) == transcript(theirs)
        assert metadata_tree(onggi.data_root) == metadata_tree(daemon.data_root)
        trees, reference = layer_trees(onggi.data_root), layer_trees(daemon.data_root)
        for chain, tree in reference.items():
            assert trees[chain] == tree
    with Daemon(onggi.data_root, tmp_path / "taker") as daemon:
        version = daemon.run("run", "--rm", "--network", "none", "nginx", "nginx", "-v")
        assert "nginx version" in version.stderr + version.stdout


def test_zstd_layer_is_the_same_tree(onggi: Onggi) -> None:
    """dockerd 20.10 cannot read zstd; the same layers uncompressed are the oracle."""
    onggi.run("pull", "plain")
    before = set(layer_trees(onggi.data_root))
    onggi.run("rmi", "plain")
    onggi.run("pull", "zstd")
    assert set(layer_trees(onggi.data_root)) == before


def test_dockerd_runs_what_was_repaired(onggi: Onggi, tmp_path, hub) -> None:
    """Every layer damaged in some way, all healed: dockerd starts, saves (tar-split is right) and stacks."""
    for image in ("odd", "twice", "tags:v1"):
        onggi.run("pull", "-q", image)
    expected = layer_trees(onggi.data_root)
    entries = sorted((onggi.data_root / "image/overlay2/layerdb/sha256").iterdir())
    for number, entry in enumerate(entries):
        directory = onggi.data_root / "overlay2" / (entry / "cache-id").read_text()
        damages = (
            lambda entry=entry: (entry / "tar-split.json.gz").unlink(),
            lambda entry=entry: (entry / "size").write_text("1\n"),
            lambda directory=directory: (directory / "link").write_text(""),
            lambda directory=directory: (directory / "diff/added").mkdir(),
        )
        damages[number % len(damages)]()
    for image in ("odd", "twice", "tags:v1"):
        onggi.run("repair", image)
    assert onggi.output("verify", "--all").endswith("nothing has changed\n")
    healed = layer_trees(onggi.data_root)
    assert healed.keys() == expected.keys()
    with Daemon(onggi.data_root, tmp_path / "taker", mirror=hub) as daemon:
        images = set(daemon.output("images", "--format", "{{.Repository}}").split())
        assert images == {"odd", "twice", "tags"}
        daemon.run("save", "-o", str(tmp_path / "saved.tar"), "twice", "tags:v1")
        daemon.run("create", "--network", "none", "tags:v1", "/a")


def test_a_store_of_dockerd_is_clean(dockerd: Daemon, onggi: Onggi) -> None:
    """Pulled, built and committed layers, containers on them: nothing that Docker writes is a finding."""
    for image in ("odd", "twice", "many", "tags:v1"):
        dockerd.run("pull", image)
    dockerd.run("create", "--network", "none", "--name", "cc", "tags:v1", "/a")
    dockerd.run("commit", "cc", "committed")
    ours = Onggi(dockerd.data_root, onggi._config)
    assert ours.output("verify", "--all").endswith("nothing has changed\n")
    assert ours.output("verify", "--all", "--fast").endswith("nothing has changed\n")
