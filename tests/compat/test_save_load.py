"""Archives between dockerd 20.10 and Onggi, in all four directions; OCI layouts for skopeo and umoci."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.compat.stores import layer_trees
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.tools import Tool
from tests.transfer.archives import sample_layout

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("dockerd")]

IMAGES = ("rich", "twice", "plain")
DOCKERFILE = 'FROM twice\nLABEL a=b\nCOPY Dockerfile /\nENV X=1\nCMD ["sh"]\n'


def without_times(path: Path) -> bytes:
    """An archive with the times, and so the checksums, of its headers set to zeros."""
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        for info in archive:
            data[info.offset + 136 : info.offset + 156] = bytes(20)
    return bytes(data)


@pytest.fixture
def built(tmp_path: Path, dockerd: Daemon) -> Daemon:
    """dockerd with the samples, a built image and some more names."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    for image in IMAGES:
        dockerd.run("pull", image)
    dockerd.run("build", "-q", "-t", "built:1", str(context))
    dockerd.run("tag", "twice", "other/n:5")
    dockerd.run("tag", "twice", "other/n:4")
    return dockerd


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[str]:
    """The samples on our own registry, for the ``dockerd`` fixture."""
    with serving(OCILayout(sample_layout(tmp_path_factory.mktemp("samples") / "layout").directory)) as url:
        yield url


def settings(onggi: Onggi, compat: str) -> None:
    """Another ``compat`` for the next commands."""
    onggi._config.write_text(json.dumps({"compat": compat}))


def ids(daemon: Daemon | Onggi) -> set[str]:
    return set(daemon.output("images", "-q", "--no-trunc").split())


def test_four_directions(built: Daemon, onggi: Onggi, tmp_path: Path) -> None:
    # dockerd → Onggi, with the same words, all images with their parents in one archive.
    everything = sorted(set(built.output("images", "-aq", "--no-trunc").split()))
    for words in (IMAGES, ("built:1",), ("other/n",), everything):
        path = tmp_path / "theirs.tar"
        built.run("save", "-o", str(path), *words)
        theirs, ours = built.output("load", "-i", str(path)), onggi.output("load", "-i", str(path))
        assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
    assert ids(onggi) == ids(built)
    parents = onggi.data_root / "image/overlay2/imagedb/metadata/sha256"
    assert len(list(parents.glob("*/parent"))) == 4
    trees, reference = layer_trees(onggi.data_root), layer_trees(built.data_root)
    assert trees.keys() == reference.keys()
    for chain, tree in reference.items():
        # dockerd's build ran containers on some of its layers.
        assert {**trees[chain], "./committed": 0} == {**tree, "./committed": 0}
    # Onggi's archives are dockerd's.
    for words in (("twice",), ("plain",), ("built:1",), ("other/n",), (everything[0],)):
        built.run("save", "-o", str(tmp_path / "theirs.tar"), *words)
        onggi.run("save", "-o", str(tmp_path / "ours.tar"), *words)
        assert without_times(tmp_path / "ours.tar") == without_times(tmp_path / "theirs.tar"), words
    # Onggi → dockerd and → Onggi, in both layouts.
    expected = ids(built)
    built.run("image", "prune", "-af")
    for compat in ("20.10", "28"):
        settings(onggi, compat)
        path = tmp_path / f"{compat}.tar"
        with open(path, "wb") as out:
            subprocess.run([*words_of(onggi), "save", *IMAGES, "built:1", "other/n"], stdout=out, check=True)
        built.run("load", "-i", str(path))
        assert ids(built) == expected
        assert layer_trees(built.data_root).keys() == trees.keys()
        built.run("image", "prune", "-af")
        other = Onggi(tmp_path / f"other{compat}", onggi._config)
        with open(path, "rb") as archive:
            subprocess.run(
                [*words_of(other), "load", "-q"], stdin=archive, check=True, stdout=subprocess.DEVNULL
            )
        assert ids(other) == expected
        assert all(layer_trees(other.data_root)[chain].keys() == trees[chain].keys() for chain in trees)


def words_of(onggi: Onggi) -> list[str]:
    """The program on a data root, for streams of bytes."""
    import sys

    return [
        "env",
        f"ONGGI_CONFIG={onggi._config}",
        sys.executable,
        "-m",
        "onggi",
        "--data-root",
        str(onggi.data_root),
    ]


def test_words_of_failure(built: Daemon, onggi: Onggi, tmp_path: Path) -> None:
    built.run("save", "-o", str(tmp_path / "twice.tar"), "twice")
    onggi.run("load", "-i", str(tmp_path / "twice.tar"))
    (tmp_path / "garbage").write_bytes(b"x" * 3000)
    out = str(tmp_path / "x.tar")
    for step in (
        ("save", "-o", out, "nope"),
        ("save", "-o", out, "nope:1"),
        ("save", "-o", out, "twice", "nope:1"),
        ("save", "-o", out, "UPPER:1"),
        ("save", "-o", str(tmp_path / "nodir/x"), "twice"),
        ("save", "-o", str(tmp_path), "twice"),
        ("load", "-i", str(tmp_path / "nope")),
    ):
        theirs, ours = built.run(*step, check=False), onggi.run(*step, check=False)
        assert (ours.returncode, theirs.returncode) == (1, 1), step
        reason = theirs.stderr.strip().removeprefix("Error response from daemon: ")
        assert reason in ours.stderr, step
        assert ours.stderr.count("\n") == 1
        assert not Path(out).exists()
    refused = onggi.run("load", "-i", str(tmp_path / "garbage"), check=False)
    assert "archive/tar: invalid tar header" in refused.stderr


def test_an_owned_root_can_be_saved_from(built: Daemon, onggi: Onggi, tmp_path: Path) -> None:
    """A live dockerd owns the root: reading it needs no leave."""
    reader = Onggi(built.data_root, onggi._config)
    reader.run("save", "-o", str(tmp_path / "ours.tar"), "plain")
    built.run("save", "-o", str(tmp_path / "theirs.tar"), "plain")
    assert without_times(tmp_path / "ours.tar") == without_times(tmp_path / "theirs.tar")
    assert not (built.data_root / "onggi").exists()
    refused = reader.run("load", "-i", str(tmp_path / "ours.tar"), check=False)
    assert "a running Docker daemon owns this data root" in refused.stderr


def test_oci_layouts_for_skopeo_and_umoci(
    onggi: Onggi, hub: str, skopeo: Tool, umoci: Tool, tmp_path: Path
) -> None:
    onggi._config.write_text(json.dumps({"registry-mirrors": [hub]}))
    onggi.run("pull", "rich")
    (image,) = json.loads(onggi.output("inspect", "rich"))
    for format in ("docker", "oci"):
        path = tmp_path / f"{format}.tar"
        onggi.run("save", "--format", format, "-o", str(path), "rich")
        target = tmp_path / f"{format}-layout"
        skopeo.run("copy", f"oci-archive:{path}", f"oci:{target}:rich")
        manifest = json.loads(skopeo.output("inspect", "--raw", f"oci-archive:{path}"))
        assert manifest["config"]["digest"] == image["Id"]
        assert [layer["digest"] for layer in manifest["layers"]] == image["RootFS"]["Layers"]
        unpacked = tmp_path / f"{format}-unpacked"
        unpacked.mkdir()
        subprocess.run(["tar", "-C", unpacked, "-xf", path], check=True)
        stat = json.loads(umoci.output("stat", "--image", f"{unpacked}:latest", "--json"))
        assert [row["layer"]["digest"] for row in stat["history"] if row["layer"]] == [
            layer["digest"] for layer in manifest["layers"]
        ]
        # And back: what skopeo wrote (compressed, another manifest) is the same image.
        other = Onggi(tmp_path / f"{format}-root", onggi._config)
        assert other.output("load", "-i", str(target)) == f"Loaded image ID: {image['Id']}\n"
        skopeo.run("copy", f"oci-archive:{path}", f"docker-archive:{tmp_path / format}.docker:rich:2")
        assert other.output("load", "-i", str(tmp_path / f"{format}.docker")) == "Loaded image: rich:2\n"


def test_real_images(real_registry, skopeo: Tool, tmp_path: Path) -> None:
    """nginx as it is: dockerd's archive to the byte, and a program that runs where it was loaded."""
    if real_registry is None:
        return
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"registry-mirrors": [real_registry.url], "compat": "20.10"}))
    onggi = Onggi(tmp_path / "onggi", config)
    onggi.run("pull", "nginx")
    onggi.run("save", "-o", str(tmp_path / "ours.tar"), "nginx")
    onggi.run("save", "--format", "oci", "--compression", "gzip", "-o", str(tmp_path / "oci.tar"), "nginx")
    with Daemon(tmp_path / "docker", tmp_path / "d", mirror=real_registry.url) as daemon:
        assert daemon.output("load", "-i", str(tmp_path / "ours.tar")) == "Loaded image: nginx:latest\n"
        daemon.run("save", "-o", str(tmp_path / "theirs.tar"), "nginx")
        version = daemon.run("run", "--rm", "--network", "none", "nginx", "nginx", "-v")
        assert "nginx version" in version.stderr + version.stdout
    assert without_times(tmp_path / "ours.tar") == without_times(tmp_path / "theirs.tar")
    image = onggi.output("images", "-q", "--no-trunc").strip()
    manifest = json.loads(skopeo.output("inspect", "--raw", f"oci-archive:{tmp_path / 'oci.tar'}"))
    assert manifest["config"]["digest"] == image
    skopeo.run("copy", f"oci-archive:{tmp_path / 'oci.tar'}", f"dir:{tmp_path / 'copied'}")
    other = Onggi(tmp_path / "other", config)
    assert other.output("load", "-i", str(tmp_path / "oci.tar")) == "Loaded image: nginx:latest\n"
    assert other.output("images", "-q", "--no-trunc").strip() == image
