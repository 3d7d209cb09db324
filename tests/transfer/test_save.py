from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DataLoss, InvalidArgument, NotFound, Unsupported
from onggi.layers.tar_stream import layer_tar, layer_tar_size
from tests.peers.images import member, tar
from tests.transfer.archives import docker_archive, engine, rich_layers, sample_layout

BASE = tar([member("base", b"x" * 3000)])
LAYOUTS = [("20.10", "docker"), ("28", "docker"), ("28", "oci")]
LAYOUT = pytest.mark.parametrize(("compat", "format"), LAYOUTS, ids=lambda value: value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images on one base, one with two names, and a nameless one."""
    path = tmp_path / "root"
    with engine(path) as opened:
        for number, tags in enumerate((["a:1", "a:2"], ["b:1"], None)):
            layers = [BASE, tar([member("top", b"%d" % number)])]
            opened.images.load(io.BytesIO(docker_archive(layers, tags=tags)))
    return path


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return {info.name: info for info in archive}


def document(path: Path, name: str) -> object:
    with tarfile.open(path) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return json.load(file)


def ids(root: Path) -> dict[str, str]:
    with engine(root) as opened:
        return {(image.tags or ["none"])[0]: image.id for image in opened.images.list(all=True)}


@LAYOUT
def test_shared_layers_stand_once(root: Path, tmp_path: Path, compat: str, format: str) -> None:
    out = tmp_path / "out.tar"
    with engine(root, compat) as opened:
        opened.images.save(["a", "b:1"], out, format=format)
    sizes = [info.size for info in members(out).values() if info.isreg()]
    assert sizes.count(len(BASE)) == len({BASE, *[tar([member("top", b"%d" % n)]) for n in (0, 1)]})
    assert list(members(out)) == sorted(members(out), key=lambda name: name.split("/"))


def test_names(root: Path, tmp_path: Path) -> None:
    """A repository for all its tags, a tag for itself, an id for none; each image once, in the order asked."""
    out = tmp_path / "out.tar"
    known = ids(root)
    with engine(root) as opened:
        opened.images.save(["b:1", "a", "a:1", known["none"], known["a:1"][7:19]], out)
        items = document(out, "manifest.json")
        assert [item["RepoTags"] for item in items] == [["b:1"], ["a:1", "a:2"], None]
        assert list(document(out, "repositories")) == ["a", "b"]
        index = document(out, "index.json")
        names = [entry.get("annotations", {}).get("io.containerd.image.name") for entry in index["manifests"]]
        assert names == ["docker.io/library/b:1", "docker.io/library/a:1", "docker.io/library/a:2", None]
        opened.images.save(known["none"], out)
        assert "repositories" not in members(out)
        for name, error in (
            ("nope", NotFound),
            ("nope:1", NotFound),
            ("sha256:ff", NotFound),
            ("X:1", InvalidArgument),
        ):
            with pytest.raises(error):
                opened.images.save(["a", name], tmp_path / "other.tar")
        with pytest.raises(InvalidArgument):
            opened.images.save([], out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tar", "root"]


def test_every_blob_is_what_its_name_says(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    with engine(root) as opened:
        opened.images.save(["a", "b"], out)
    with tarfile.open(out) as archive:
        for info in archive:
            if info.name.startswith("blobs/sha256/"):
                data = archive.extractfile(info).read()
                assert hashlib.sha256(data).hexdigest() == Path(info.name).name
    assert out.stat().st_mode & 0o777 == 0o600


@LAYOUT
def test_a_changed_layer_ends_the_archive(root: Path, tmp_path: Path, compat: str, format: str) -> None:
    """One error that names the file; no file where there was none, the old one where there was one."""
    (path,) = root.glob("overlay2/*/diff/base")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"y" * 3000)
    os.utime(path, ns=times)
    out = tmp_path / "out.tar"
    out.write_bytes(b"before")
    stream = io.BytesIO()
    with engine(root, compat) as opened:
        for target in (out, stream):
            with pytest.raises(DataLoss, match="could not verify layer data for: sha256:"):
                opened.images.save("a:1", target, format=format)
        with pytest.raises(DataLoss):
            opened.images.save("a:1", tmp_path / "new.tar", format=format)
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tar", "root"]
    assert not stream.getvalue().endswith(bytes(1024))


def test_sizes_are_known_before_the_bytes(tmp_path: Path) -> None:
    layout = sample_layout(tmp_path / "layout")
    with engine(tmp_path / "root") as opened:
        opened.images.load(layout.directory)
        layers = opened._core.layers
        for record in layers.db.records():
            size = sum(map(len, layer_tar(layers, record.chain_id)))
            assert layer_tar_size(layers, record.chain_id) == size
    assert len(rich_layers()) == 2


def test_platforms_and_formats(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    with engine(root) as opened:
        opened.images.save("a:1", out, platform="linux/amd64")
        with pytest.raises(NotFound, match=r"its platform \(linux/amd64\) does not match .* \(linux/arm64\)"):
            opened.images.save("a:1", out, platform="linux/arm64")
        with pytest.raises(InvalidArgument, match="unknown archive format"):
            opened.images.save("a:1", out, format="zip")
        with pytest.raises(InvalidArgument, match="not compressed"):
            opened.images.save("a:1", out, compression="gzip")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_layers_of_an_oci_layout(root: Path, tmp_path: Path, compression: str) -> None:
    out = tmp_path / "out.tar"
    with engine(root) as opened:
        opened.images.save("a:1", out, format="oci", compression=compression)
        image = opened.images.get("a:1").id
    (entry,) = document(out, "index.json")["manifests"]
    manifest = document(out, f"blobs/{entry['digest'].replace(':', '/')}")
    for layer in manifest["layers"]:
        assert layer["mediaType"] == f"application/vnd.oci.image.layer.v1.tar+{compression}"
        assert members(out)[f"blobs/{layer['digest'].replace(':', '/')}"].size == layer["size"]
    with engine(tmp_path / "other") as other:
        other.images.load(out)
        assert other.images.get("a:1").id == image


def test_an_image_without_layers(tmp_path: Path) -> None:
    with engine(tmp_path / "root") as opened:
        opened.images.load(io.BytesIO(docker_archive([], tags=["none:1"])))
        with pytest.raises(Unsupported, match="empty export - not implemented"):
            opened.images.save("none:1", tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


def test_stopped(root: Path, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with engine(root) as opened, pytest.raises(Cancelled):
        opened.images.save("a:1", tmp_path / "out.tar", cancel=cancel)
    assert not (tmp_path / "out.tar").exists()
