"""Archives of before Docker 1.10: the images that dockerd 20.10 makes of them are those that Onggi makes."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.compat.stores import layer_trees
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.images import member, tar
from tests.transfer.archives import legacy_archive, rich_layers

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("dockerd")]

CREATED = "2015-11-03T04:05:06.700800000Z"
# What old Dockers wrote, and what they did not: each becomes an image.
OLD_JSON: dict[str, Any] = {
    "before 1.8.3": {
        "id": "x",
        "created": CREATED,
        "container": "c" * 64,
        "container_config": {
            "Cmd": ["/bin/sh", "-c", "#(nop) ADD <x> & y"],
            "Env": None,
            "Memory": 0,
            "Tty": True,
        },
        "docker_version": "1.8.2",
        "author": "Ann <a@b>",
        "config": {
            "Cmd": "sh",
            "Labels": {"z": "1", "a": "<2>"},
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/v": {}},
        },
        "architecture": "arm",
        "variant": "v7",
        "os": "linux",
        "comment": "said",
        "Size": 12345,
        "unknown": 1,
    },
    "since 1.8.3": {
        "Size": 7,
        "zz": {"b": 1.50, "a": [1, 2.0, 1e3, "\u2028<&>", "\b\f\x7f"]},
        "layer_id": "sha256:1",
        "throwaway": True,
        "parent_id": "sha256:2",
        "docker_version": "1.10.0-dev",
        "created": "2015-11-03T06:05:06.120+02:00",
        "container_config": {"Cmd": ["a", "b c"], "Unknown": {"x": None}},
        "config": {"Cmd": None, "Image": "sha256:3"},
        "author": "é",
    },
    "no version": {"created": "2015-11-03T06:05:06+00:00"},
    "no time": {"docker_version": "1.9"},
    "odd version": {
        "docker_version": "x.9.9",
        "created": CREATED,
        "config": {"Entrypoint": ["e"], "OnBuild": ["RUN x"]},
    },
    "nothing": {},
}


def configs(root: Path) -> dict[str, bytes]:
    """Every config, with its parent."""
    base = root / "image/overlay2/imagedb"
    return {
        path.name: path.read_bytes()
        + (
            parent.read_bytes()
            if (parent := base / "metadata/sha256" / path.name / "parent").exists()
            else b""
        )
        for path in (base / "content/sha256").iterdir()
    }


def loaded_alike(dockerd: Daemon, onggi: Onggi, path: Path) -> None:
    dockerd.run("load", "-i", str(path))
    onggi.run("load", "-q", "-i", str(path))
    theirs, ours = configs(dockerd.data_root), configs(onggi.data_root)
    assert ours == theirs
    listed = [
        sorted(
            engine.output(
                "images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"
            ).splitlines()
        )
        for engine in (dockerd, onggi)
    ]
    assert listed[1] == listed[0]
    trees, reference = layer_trees(onggi.data_root), layer_trees(dockerd.data_root)
    assert trees.keys() == reference.keys()


def test_old_json(tmp_path: Path, dockerd: Daemon, onggi: Onggi) -> None:
    first, second = rich_layers()
    layers = [first, second, b"", tar([]), tar([member("a", b"1")]), first]
    images, parent = [], ""
    for number, (document, layer) in enumerate(zip(OLD_JSON.values(), layers, strict=True)):
        name = f"{9 - number}" * 64
        raw = json.dumps(document, indent=number % 3 or None, ensure_ascii=bool(number % 2)).encode()
        images.append((name, parent, raw, layer))
        parent = name
    # A second one on the same base.
    images.append(("a" * 64, images[0][0], b'{"docker_version": "1.9.1", "x" : [ 1 , "a  b" ] }', layers[4]))
    names = {"old": {"latest": parent, "base": images[0][0]}, "127.0.0.1:5000/a/b": {"1": "a" * 64}}
    path = tmp_path / "old.tar"
    path.write_bytes(legacy_archive(images, names))
    loaded_alike(dockerd, onggi, path)


def test_what_dockerd_saves_without_its_manifest(tmp_path: Path, dockerd: Daemon, onggi: Onggi) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text('FROM twice\nLABEL a="<b>"\nCOPY Dockerfile /\nENV X=1\nCMD ["sh"]\n')
    for name in ("tags:v1", "twice"):
        dockerd.run("pull", name)
    dockerd.run("build", "-q", "-t", "built:1", str(context))
    dockerd.run("save", "-o", str(tmp_path / "new.tar"), "tags:v1", "twice", "built:1")
    path = tmp_path / "old.tar"
    with tarfile.open(tmp_path / "new.tar") as source, tarfile.open(path, "w") as target:
        for info in source:
            if info.name != "manifest.json":
                target.addfile(info, source.extractfile(info) if info.isreg() else None)
    dockerd.run("rmi", "tags:v1", "twice", "built:1")
    dockerd.run("image", "prune", "-af")
    loaded_alike(dockerd, onggi, path)


LAYER = tar([member("a", b"1")])
REFUSED = {
    "no such target": (legacy_archive([("a", "", b"{}", LAYER)], {"x": {"1": "b"}}), "invalid target ID: b"),
    "no such parent": (legacy_archive([("a", "b", b"{}", LAYER)], {}), "open b/json: no such file"),
    "windows": (
        legacy_archive([("a", "", b'{"os": "windows"}', LAYER)], {}),
        "cannot load windows image on linux",
    ),
    "no json": (legacy_archive([("a", "", b"{", LAYER)], {}), "a/json"),
    "bad time": (
        legacy_archive([("a", "", b'{"created": "now"}', LAYER)], {}),
        "a/json: created is not a time",
    ),
    "bad tag": (legacy_archive([("a", "", b"{}", LAYER)], {"x": {"?": "a"}}), "invalid reference format"),
    "no tar": (legacy_archive([("a", "", b"{}", b"x" * 2000)], {}), "invalid tar header"),
}


def test_what_dockerd_refuses(tmp_path: Path, dockerd: Daemon, onggi: Onggi) -> None:
    path = tmp_path / "old.tar"
    for case, (data, message) in REFUSED.items():
        path.write_bytes(data)
        assert dockerd.run("load", "-i", str(path), check=False).returncode == 1, case
        done = onggi.run("load", "-i", str(path), check=False)
        assert done.returncode == 1, case
        assert message in done.stderr, case
        assert done.stderr.count("\n") == 1, case
    assert onggi.output("images", "-aq") == ""
