from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.fixtures import Onggi
from tests.peers.registries import start_registry


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Iterator[str]:
    """``host:port`` of an empty docker-registry."""
    directory: Path = tmp_path_factory.mktemp("target")
    registry = start_registry(directory, directory / "storage")
    yield registry.host
    registry.process.stop()


def test_transcript(full: Onggi, target: str) -> None:
    full.run("tag", "web:v1", f"{target}/a/web")
    lines = full.output("push", f"{target}/a/web").splitlines()
    assert lines[:2] == ["Using default tag: latest", f"The push refers to repository [{target}/a/web]"]
    assert [line.split(": ")[1] for line in lines[2:4]] == ["Preparing", "Preparing"]
    assert [line.split(": ")[1] for line in lines[4:6]] == ["Pushed", "Pushed"]
    assert re.fullmatch(r"latest: digest: sha256:[0-9a-f]{64} size: \d+", lines[6])
    again = full.output("image", "push", f"{target}/a/web:latest").splitlines()
    assert [line.split(": ")[1] for line in again[3:5]] == ["Layer already exists"] * 2
    assert again[-1] == lines[-1]
    digest = lines[-1].split()[2]
    assert digest in full.output("images", "--digests", f"{target}/a/web")


def test_quiet_all_tags_and_json(full: Onggi, target: str) -> None:
    for tag in ("v1", "v2"):
        full.run("tag", f"web:{tag}", f"{target}/b/web:{tag}")
    assert full.output("push", "-q", f"{target}/b/web:v1") == f"{target}/b/web:v1\n"
    assert full.output("push", "-qa", f"{target}/b/web") == f"{target}/b/web\n"
    done = full.run("push", "-a", f"{target}/b/web:v1", check=False)
    assert (done.returncode, done.stderr) == (1, "tag can't be used with --all-tags/-a\n")
    documents = [
        json.loads(line) for line in full.output("push", "--json", "-a", f"{target}/b/web").splitlines()
    ]
    assert documents[0] == {"status": f"The push refers to repository [{target}/b/web]"}
    assert [document["aux"]["Tag"] for document in documents if "aux" in document] == ["v1", "v2"]


def test_events_and_errors(full: Onggi, target: str) -> None:
    full.run("tag", "web:v1", f"{target}/c/web:v1")
    full.run("push", "-q", "--disable-content-trust=false", f"{target}/c/web:v1")
    told = full.output("events", "--since", "1h", "--until", "0s", "--format", "{{.Action}} {{.ID}}")
    assert f"push {target}/c/web:v1" in told.splitlines()
    for words, message in (
        ((f"{target}/none",), f"Error: An image does not exist locally with the tag: {target}/none "),
        ((f"{target}/c/web:v9",), f"Error: tag does not exist: {target}/c/web:v9 "),
        ((f"{target}/c/web@sha256:{'0' * 64}",), "Error: cannot push a digest reference "),
        (("--compression", "lzma", f"{target}/c/web:v1"), ""),
        (("--max-concurrent-uploads", "0", f"{target}/c/web:v1"), "invalid --max-concurrent-uploads: "),
    ):
        done = full.run("push", *words, check=False)
        assert done.returncode != 0
        assert message in done.stderr
        assert done.stderr.count("\n") == 1 or not message


def test_kept_blobs_make_the_digest_stay(empty: Onggi, target: str) -> None:
    empty.run("pull", "-q", "--keep-blobs", "web:v1")
    came = empty.output("images", "--digests", "--format", "{{.Digest}}", "web").strip()
    empty.run("tag", "web:v1", f"{target}/kept:v1")
    assert f"v1: digest: {came} size: " in empty.output("push", f"{target}/kept:v1")
    empty.run("gc")
    assert list((empty.data_root / "onggi/blobs/sha256").glob("*.kept"))
    empty.run("rmi", "web:v1", f"{target}/kept:v1")
    assert not list((empty.data_root / "onggi/blobs/sha256").iterdir())


def test_platforms(full: Onggi, target: str) -> None:
    full.run("tag", "web:v1", f"{target}/d/web:v1")
    lines = full.output("push", "--all-platforms", f"{target}/d/web:v1").splitlines()
    assert re.fullmatch(r"linux/amd64: digest: sha256:[0-9a-f]{64} size: \d+", lines[-2])
    assert re.fullmatch(r"v1: digest: sha256:[0-9a-f]{64} size: \d+", lines[-1])
    done = full.run(
        "push", "--platform", "linux/amd64", "--platform", "linux/s390x", f"{target}/d/web:v1", check=False
    )
    assert done.returncode == 1
    assert "its platform (linux/amd64) does not match the specified platform (linux/s390x)" in done.stderr
    assert "onggi pull --platform linux/s390x" in done.stderr
    done = full.run("push", "--all-platforms", "--platform", "linux/amd64", f"{target}/d/web:v1", check=False)
    assert "--platform can't be used with --all-platforms" in done.stderr
