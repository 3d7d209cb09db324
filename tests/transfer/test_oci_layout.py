"""OCI layouts of images for several platforms."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from onggi.errors import DataLoss, InvalidArgument, NotFound
from tests.peers.images import Layout, member, tar
from tests.transfer.archives import docker_archive, engine
from tests.transfer.test_load import load, untouched

PLATFORMS = ("arm64", "amd64", "s390x")
ATTESTATION = {"os": "unknown", "architecture": "unknown"}


def image(layout: Layout, architecture: str, **how: Any) -> tuple[dict[str, Any], dict[str, str]]:
    layer = tar([member("arch", architecture.encode())])
    descriptor = layout.manifest([layer], architecture=architecture, **how)
    return descriptor, {"os": "linux", "architecture": architecture}


def attestation(layout: Layout) -> tuple[dict[str, Any], dict[str, str]]:
    """What buildx puts beside an image: no image."""
    statement = layout.blob(b"{}", "application/vnd.in-toto+json")
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob(b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [statement],
    }
    return layout.blob(json.dumps(document).encode(), document["mediaType"]), ATTESTATION


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """``many:1``: three platforms, one of them in a nested index, and an attestation."""
    layout = Layout(tmp_path / "layout")
    first, second, third = (image(layout, architecture) for architecture in PLATFORMS)
    nested = layout.index([third]), {"os": "linux", "architecture": "s390x"}
    layout.name("library/many:1", layout.index([first, second, nested, attestation(layout)]))
    return layout


def test_all_platforms(tmp_path: Path, layout: Layout) -> None:
    with engine(tmp_path / "root") as opened:
        loaded = opened.images.load(layout.directory, all_platforms=True).images
        found = {opened.images.get(image.id).config.architecture: image for image in loaded}
        assert list(found) == list(PLATFORMS)
        assert [str(name) for name in found["amd64"].references] == ["docker.io/library/many:1"]
        for other in ("arm64", "s390x"):
            (name,) = found[other].references
            assert name.tag is None
            assert opened.images.get(name.familiar).id == found[other].id
        # They are the platforms of one name, as after pulls.
        members = opened._core.manifests.indexes_of(found["s390x"].id)
        assert len(members) == 2


def test_chosen_platforms(tmp_path: Path, layout: Layout) -> None:
    lines = load(tmp_path / "two", layout_tar(layout), platform=("linux/s390x", "linux/arm64"))
    assert lines[0] == "Loaded image: many:1"
    assert lines[1].startswith("Loaded image: many@sha256:")
    with engine(tmp_path / "two") as opened:
        assert opened.images.get("many:1").config.architecture == "s390x"
    with pytest.raises(NotFound, match="no matching manifest for linux/386"):
        load(tmp_path / "none", layout_tar(layout), platform=("linux/s390x", "linux/386"))
    assert untouched(tmp_path / "none")
    with pytest.raises(InvalidArgument, match="--platform can't be used with --all-platforms"):
        load(tmp_path / "none", layout_tar(layout), platform="linux/s390x", all_platforms=True)


def layout_tar(layout: Layout) -> bytes:
    files = (path for path in sorted(layout.directory.rglob("*")) if path.is_file())
    return tar([member(str(path.relative_to(layout.directory)), path.read_bytes()) for path in files])


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_a_platform_that_is_not_there_whole_is_left_out(tmp_path: Path, layout: Layout, part: str) -> None:
    """A layout need not have everything that its index lists."""
    descriptor, _ = image(layout, "arm64")
    blobs = layout.directory / "blobs/sha256"
    document = json.loads((blobs / descriptor["digest"][7:]).read_bytes())
    gone = {"manifest": descriptor, "config": document["config"], "layer": document["layers"][0]}[part]
    (blobs / gone["digest"][7:]).unlink()
    with engine(tmp_path / "root") as opened:
        loaded = opened.images.load(layout.directory, all_platforms=True).images
        assert [opened.images.get(image.id).config.architecture for image in loaded] == ["amd64", "s390x"]


def test_nothing_of_an_index_is_there(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    descriptor, platform = image(layout, "amd64")
    layout.name("library/x:1", layout.index([(descriptor, platform)]))
    (layout.directory / "blobs/sha256" / descriptor["digest"][7:]).unlink()
    with pytest.raises(DataLoss, match=rf"open blobs/sha256/{descriptor['digest'][7:]}: no such file"):
        load(tmp_path / "root", layout_tar(layout), all_platforms=True)


def test_entries_that_are_manifests(tmp_path: Path) -> None:
    """A flat index.json: the platform chooses among its entries."""
    layout = Layout(tmp_path / "layout")
    for architecture in PLATFORMS:
        layout.name(f"library/{architecture}:1", image(layout, architecture)[0])
    data = layout_tar(layout)
    assert len(load(tmp_path / "all", data)) == 3
    assert load(tmp_path / "one", data, platform="linux/s390x") == ["Loaded image: s390x:1"]
    with pytest.raises(NotFound, match="no image in the archive is for linux/386") as caught:
        load(tmp_path / "none", data, platform="linux/386")
    assert caught.value.hint.startswith("it has linux/amd64, linux/arm64, linux/s390x:")


def test_uncompressed_layers_leave_no_manifest_to_push(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.name("library/x:1", image(layout, "amd64", compression="none")[0])
    layout.name("library/y:1", image(layout, "arm64")[0])
    with engine(tmp_path / "root") as opened:
        opened.images.load(layout.directory)
        kept = [opened._core.manifests.of(opened.images.get(name).id) for name in ("x:1", "y:1")]
        assert [len(manifests) for manifests in kept] == [0, 1]


def test_a_docker_archive_with_a_layout_beside(tmp_path: Path, layout: Layout) -> None:
    """As Docker's containerd store saves: manifest.json knows one platform, index.json all."""
    data = joined(docker_archive([tar([member("own", b"own")])], tags=["many:1"]), layout_tar(layout))
    assert load(tmp_path / "plain", data) == ["Loaded image: many:1"]
    assert load(tmp_path / "one", data, platform="linux/s390x") == ["Loaded image: many:1"]
    lines = load(tmp_path / "all", data, all_platforms=True)
    assert [line.partition("@")[0] for line in lines] == ["Loaded image: many:1", *["Loaded image: many"] * 3]


def joined(*archives: bytes) -> bytes:
    """The members of all archives in one."""
    members = []
    for data in archives:
        with tarfile.open(fileobj=io.BytesIO(data)) as source:
            members += [(info, source.extractfile(info).read()) for info in source if info.isreg()]
    return tar(members)
