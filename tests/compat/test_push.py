"""Pushes to docker-registry: images of dockerd's and of Onggi's, read by dockerd, podman and skopeo."""

from __future__ import annotations

import hashlib
import json
import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.images import member, tar
from tests.peers.registries import Registry, htpasswd, start_registry
from tests.peers.tools import Tool

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("dockerd")]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A fresh docker-registry that writes down every request."""
    started = start_registry(tmp_path / "registry", tmp_path / "storage", log={"level": "info"})
    yield started
    started.process.stop()


@pytest.fixture
def ours(tmp_path: Path, hub: str) -> Onggi:
    """Onggi on the data root that dockerd had."""
    config = tmp_path / "onggi.json"
    config.write_text(json.dumps({"registry-mirrors": [hub], "compat": "20.10"}))
    return Onggi(tmp_path / "docker", config)


def requests(registry: Registry) -> list[str]:
    """``METHOD /path`` of every request so far."""
    return re.findall(r'"([A-Z]+ /v2/[^ ?"]*)[^"]*" \d', registry.process.log.read_text())


def transcript(text: str) -> list[str]:
    """A push's lines in an order that threads cannot change."""
    lines = [line for line in text.splitlines() if not line.endswith(": Waiting")]
    states = [line for line in lines if re.match(r"[0-9a-f]{12}: ", line)]
    first = [line for line in states if line.endswith("Preparing")]
    return [line for line in lines if line not in states] + first + sorted(set(states) - set(first))


def without_digest(lines: list[str]) -> list[str]:
    return [re.sub(r"sha256:[0-9a-f]{64} size: \d+", "DIGEST", line) for line in lines]


def build(dockerd: Daemon, tmp_path: Path, name: str) -> None:
    """Two layers made by dockerd itself: an import, and a commit on it."""
    files = [
        member("etc/", None),
        member("etc/motd", b"one\n"),
        member("big", random.Random(3).randbytes(2_500_000)),
    ]
    (tmp_path / "root.tar").write_bytes(tar(files))
    (tmp_path / "new").write_bytes(b"two\n" * 1000)
    dockerd.run("import", str(tmp_path / "root.tar"), "base:1")
    dockerd.run("create", "--name", "cc", "base:1", "/none")
    dockerd.run("cp", str(tmp_path / "new"), "cc:/etc/new")
    dockerd.run("commit", "-c", 'CMD ["/x"]', "cc", name)
    dockerd.run("rm", "cc")


def test_an_image_of_dockerd_goes_through_us_to_everybody(
    tmp_path: Path, registry: Registry, ours: Onggi, skopeo: Tool, hub: str
) -> None:
    name = f"{registry.host}/built:1"
    with Daemon(tmp_path / "docker", tmp_path / "w") as dockerd:
        build(dockerd, tmp_path, name)
        (inspected,) = json.loads(dockerd.output("inspect", name))
    before = len(requests(registry))
    assert ours.output("push", "-q", name) == f"{name}\n"
    sent = requests(registry)[before:]
    assert sum(line.startswith("PATCH") for line in sent) == 1
    again = len(requests(registry))
    ours.run("push", name)
    assert {line.split()[0] for line in requests(registry)[again:]} == {"GET", "HEAD", "PUT"}
    assert [line for line in requests(registry)[again:] if line.startswith("PUT")] == [
        "PUT /v2/built/manifests/1"
    ]
    config = json.loads(skopeo.output("inspect", "--tls-verify=false", "--config", f"docker://{name}"))
    assert config["rootfs"]["diff_ids"] == inspected["RootFS"]["Layers"]
    raw = json.loads(skopeo.output("inspect", "--tls-verify=false", "--raw", f"docker://{name}"))
    assert raw["config"]["digest"] == inspected["Id"]
    with Daemon(tmp_path / "docker2", tmp_path / "w2") as dockerd:
        dockerd.run("pull", name)
        (pulled,) = json.loads(dockerd.output("inspect", name))
        assert (pulled["Id"], pulled["RootFS"]) == (inspected["Id"], inspected["RootFS"])
    # podman wants its run root's path to be below 50 characters.
    with tempfile.TemporaryDirectory(prefix="onggi-") as run:
        check_with_podman(tmp_path, Path(run), name, inspected)


def check_with_podman(tmp_path: Path, run: Path, name: str, inspected: dict[str, Any]) -> None:
    options = ("--root", str(tmp_path / "p"), "--runroot", str(run), "--storage-driver", "vfs")
    podman = Tool(tmp_path, "podman", *options, "--events-backend", "none")
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    podman.run("pull", "-q", "--tls-verify=false", "--signature-policy", policy, name)
    (seen,) = json.loads(podman.output("image", "inspect", name))
    assert f"sha256:{seen['Id']}" == inspected["Id"]
    assert seen["RootFS"]["Layers"] == inspected["RootFS"]["Layers"]


def test_where_dockerd_has_pushed_we_push_the_same_manifest(
    tmp_path: Path, registry: Registry, ours: Onggi
) -> None:
    name = f"{registry.host}/built:1"
    with Daemon(tmp_path / "docker", tmp_path / "w") as dockerd:
        build(dockerd, tmp_path, name)
        theirs = dockerd.output("push", name).splitlines()[-1]
        dockerd.run("tag", name, f"{registry.host}/other:1")
        mounted = transcript(dockerd.output("push", f"{registry.host}/other:1"))
        held = transcript(dockerd.output("push", f"{registry.host}/other:1"))
        digests = dockerd.output("images", "--digests", "--format", "{{.Digest}}", f"{registry.host}/other")
    assert ours.output("push", name).splitlines()[-1] == theirs
    assert transcript(ours.output("push", f"{registry.host}/other:1")) == held
    ours.run("tag", name, f"{registry.host}/third:1")
    again = transcript(ours.output("push", f"{registry.host}/third:1"))
    assert [line.replace("third", "other") for line in again] == [
        re.sub(r"Mounted from \S+", "Mounted from other", line) for line in mounted
    ] or [line.replace("third", "other") for line in again] == mounted
    shown = ours.output("images", "--digests", "--format", "{{.Digest}}", f"{registry.host}/third")
    assert set(shown.split()) == set(digests.split())


def test_an_index_of_ours_is_read_by_everybody(
    tmp_path: Path, dockerd: Daemon, onggi: Onggi, registry: Registry, skopeo: Tool
) -> None:
    name, platforms = f"{registry.host}/many:1", ("linux/arm64", "linux/arm/v7", "linux/amd64")
    ids = {}
    for platform in platforms:
        onggi.run("pull", "-q", "--platform", platform, "many")
        ids[platform] = onggi.output("image", "inspect", "--format", "{{.Id}}", "many").strip()
    onggi.run("tag", "many", name)
    told = onggi.output("push", "--all-platforms", name).splitlines()
    digest = told[-1].split()[2]
    assert [line.split(": ")[0] for line in told if " size: " in line] == [*sorted(platforms), "1"]
    assert f"{registry.host}/many@{digest}" in onggi.output("image", "inspect", name)
    skopeo.run("copy", "--all", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path / 'copy'}:1")
    for platform in platforms:
        dockerd.run("pull", "-q", "--platform", platform, name)
        (seen,) = json.loads(dockerd.output("image", "inspect", name))
        assert seen["Id"] == ids[platform]
        dockerd.run("rmi", name)
        overrides = ["--override-arch", seen["Architecture"], "--override-variant", seen.get("Variant", "")]
        config = skopeo.output(*overrides, "inspect", "--config", "--raw", f"oci:{tmp_path / 'copy'}:1")
        assert f"sha256:{hashlib.sha256(config.encode()).hexdigest()}" == ids[platform]


def test_transcripts_and_errors_are_equal(
    tmp_path: Path, dockerd: Daemon, onggi: Onggi, registry: Registry
) -> None:
    host = registry.host
    for engine in (dockerd, onggi):
        engine.run("pull", "-q", "twice")
        engine.run("pull", "-q", "-a", "tags")
    steps = [
        ("tag", "twice", "@/twice:1"),
        ("push", "@/twice:1"),
        ("push", "@/twice:1"),
        ("push", "@/twice"),
        ("push", "@/none"),
        ("push", "-q", "@/twice:1"),
        *(("tag", f"tags:v{n}", f"@/tags:v{n}") for n in (1, 2, 3)),
        ("push", "-a", "@/tags"),
        ("push", "-a", "@/tags:v1"),
        ("tag", "twice", "@/many/names:a"),
        ("push", "@/many/names:a"),
        ("push", "@/twice@sha256:" + "0" * 64),
        ("push", "Bad"),
        ("tag", "twice", "127.0.0.1:1/x"),
        ("push", "127.0.0.1:1/x"),
    ]
    for step in steps:
        theirs = dockerd.run(*(word.replace("@/", f"{host}/one/", 1) for word in step), check=False)
        done = onggi.run(*(word.replace("@/", f"{host}/two/", 1) for word in step), check=False)
        assert done.returncode == theirs.returncode, (step, done.stderr, theirs.stderr)
        stdout = theirs.stdout.replace(f"{host}/one", f"{host}/two").replace("from one/", "from two/")
        assert without_digest(transcript(done.stdout)) == without_digest(transcript(stdout)), step
        message = theirs.stderr.strip().replace(f"{host}/one", f"{host}/two")
        assert message in done.stderr, step


def test_who_may_not_push_hears_it_in_dockers_words(
    tmp_path: Path, dockerd: Daemon, onggi: Onggi, hub: str
) -> None:
    passwords = htpasswd(tmp_path / "htpasswd", "u", "p")
    auth = {"htpasswd": {"realm": "test", "path": str(passwords)}}
    guarded = start_registry(tmp_path / "guarded", tmp_path / "guarded-storage", auth=auth)
    try:
        name = f"{guarded.host}/x:1"
        for engine in (dockerd, onggi):
            engine.run("pull", "-q", "twice")
            engine.run("tag", "twice", name)
        theirs = dockerd.run("push", name, check=False)
        done = onggi.run("push", name, check=False)
        assert (theirs.returncode, done.returncode) == (1, 1)
        assert theirs.stderr.strip() in done.stderr
        onggi.run("login", "-u", "u", "--password-stdin", guarded.host, stdin="p")
        assert "1: digest: sha256:" in onggi.output("push", name)
    finally:
        guarded.process.stop()


def test_who_has_too_few_rights_hears_it_in_dockers_words(
    dockerd: Daemon, onggi: Onggi, token_registry: Registry
) -> None:
    name = f"{token_registry.host}/x:1"
    for engine in (dockerd, onggi):
        engine.run("pull", "-q", "twice")
        engine.run("tag", "twice", name)
    theirs, done = dockerd.run("push", name, check=False), onggi.run("push", name, check=False)
    assert transcript(done.stdout) == transcript(theirs.stdout)
    assert done.stderr.startswith(f"Error: {theirs.stderr.strip()} (")
    onggi.run("login", "-u", "u", "--password-stdin", token_registry.host, stdin="p")
    assert "1: digest: sha256:" in onggi.output("push", name)
