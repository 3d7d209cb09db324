from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DataLoss, InvalidArgument, NotFound, OnggiError, Unsupported
from onggi.progress import Message
from tests.compat.stores import layer_trees
from tests.crash.checks import leftovers
from tests.peers.images import Layout, member, tar
from tests.transfer.archives import archive, docker_archive, engine, rich_layers, sample_layout

LAYER = tar([member("f", b"content")])
OTHER = tar([member("g", b"other")])


def load(root: Path, data: bytes, path: Path | None = None, **settings: object) -> list[str]:
    """Load from a stream, or from a file at ``path``; the messages."""
    messages: list[str] = []

    def sink(event: object) -> None:
        if isinstance(event, Message):
            messages.append(event.text)

    if path is not None:
        path.write_bytes(data)
    with engine(root) as opened:
        opened.images.load(path or io.BytesIO(data), progress=sink, **settings)
    return messages


def untouched(root: Path) -> bool:
    """No image, no name, no layer, nothing left behind."""
    with engine(root) as opened:
        images = opened.images.list(all=True)
    layers = list(root.glob("image/overlay2/layerdb/sha256/*"))
    return not images and not layers and not leftovers(root)


# --- what is loaded ---------------------------------------------------------------------------


def test_messages_and_names(tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = docker_archive([LAYER], tags=["a:1", "docker.io/library/b:2"])
    assert load(root, first) == ["Loaded image: a:1", "Loaded image: b:2"]
    second = docker_archive([LAYER, OTHER], tags=["a:1"])
    with engine(root) as opened:
        before = opened.images.get("a:1").id
    assert load(root, second, tmp_path / "x") == [
        f"The image a:1 already exists, renaming the old one with ID {before} to empty string",
        "Loaded image: a:1",
    ]
    (line,) = load(root, docker_archive([OTHER], tags=None))
    assert line.startswith("Loaded image ID: sha256:")
    with engine(root) as opened:
        assert {tag for image in opened.images.list(all=True) for tag in image.tags} == {"a:1", "b:2"}
        assert [event.action for event in opened.events.read(follow=False)] == ["load"] * 3


COMPRESSIONS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressions_of_archive_and_layers(tmp_path: Path, name: str) -> None:
    """The stream, the file, and each layer may be compressed; the store is the same."""
    compress = COMPRESSIONS[name]
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in (LAYER, OTHER)]
    config = {"rootfs": {"type": "layers", "diff_ids": diff_ids}}
    inside = docker_archive([compress(LAYER), compress(OTHER)], config=config)
    outside = compress(docker_archive([LAYER, OTHER]))
    for number, data in enumerate((inside, outside)):
        for path in (None, tmp_path / "file"):
            root = tmp_path / f"{number}{path is None}"
            assert load(root, data, path) == ["Loaded image: hand:made"]
            (trees,) = [layer_trees(root)]
            assert len(trees) == 2
            assert not leftovers(root)


def test_oci_layouts(tmp_path: Path) -> None:
    """As a directory and as a tar, compressed and plain layers, names from annotations."""
    layout = sample_layout(tmp_path / "layout")
    subprocess.run(["tar", "-C", layout.directory, "-cf", tmp_path / "oci.tar", "."], check=True)
    roots = []
    for number, source in enumerate((layout.directory, tmp_path / "oci.tar")):
        roots.append(root := tmp_path / f"root{number}")
        with engine(root) as opened:
            loaded = opened.images.load(source)
            assert [str(image.references[0]) for image in loaded.images] == [
                f"docker.io/library/{name}:latest" for name in ("rich", "twice", "plain")
            ]
            assert {image.id for image in loaded.images} == {image.id for image in opened.images.list()}
    assert layer_trees(roots[0]).keys() == layer_trees(roots[1]).keys()


def test_platforms_of_an_oci_layout(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    entries = []
    for architecture in ("arm64", "amd64"):
        descriptor = layout.manifest(
            [tar([member("arch", architecture.encode())])], architecture=architecture
        )
        entries.append((descriptor, {"os": "linux", "architecture": architecture}))
    layout.name(
        "library/many:1", layout.index([(layout.index(entries), {"os": "linux", "architecture": "arm64"})])
    )
    with engine(tmp_path / "root") as opened:
        opened.images.load(layout.directory, platform="linux/arm64")
        assert opened.images.get("many:1").config.architecture == "arm64"
        with pytest.raises(NotFound, match="no matching manifest for linux/s390x"):
            opened.images.load(layout.directory, platform="linux/s390x")


def test_platforms_of_a_docker_archive(tmp_path: Path) -> None:
    data = docker_archive([LAYER])
    assert load(tmp_path / "root", data, platform="linux/amd64") == ["Loaded image: hand:made"]
    with pytest.raises(NotFound, match="no image in the archive is for linux/arm64"):
        load(tmp_path / "other", data, platform="linux/arm64")
    assert untouched(tmp_path / "other")


def test_links_are_followed_inside_the_archive_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(LAYER)
    up = "../" * 40
    for target, ok in ((f"{up}real/layer.tar", True), ("/real/layer.tar", True), (f"{up}{secret}", False)):
        link = member("l0/link", b"", type=tarfile.SYMTYPE, linkname=target)
        data = docker_archive(
            [LAYER], changes={"Layers": ["l0/link"]}, more=[link, member("real/layer.tar", LAYER)]
        )
        root = tmp_path / f"root{len(target)}"
        if ok:
            assert load(root, data) == ["Loaded image: hand:made"]
        else:
            with pytest.raises(DataLoss, match="no such file in the archive"):
                load(root, data)
            assert untouched(root)


def test_names_are_no_host_paths(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(LAYER)
    directory = tmp_path / "layout"
    directory.mkdir()
    (directory / "manifest.json").write_bytes(b"[]")
    (directory / "link").symlink_to(tmp_path / "outside")
    for name in ("../outside", str(tmp_path / "outside"), "link"):
        item = {"Config": name, "RepoTags": None, "Layers": []}
        (directory / "manifest.json").write_text(json.dumps([item]))
        with (
            engine(tmp_path / "root") as opened,
            pytest.raises(DataLoss, match="no such file in the archive"),
        ):
            opened.images.load(directory)


# --- what is refused, with the store as before ------------------------------------------------


def twice_named(data: bytes) -> bytes:
    return docker_archive([LAYER], more=[member("./l0/../l0/layer.tar", OTHER)])


WRONG_TAGS = ["../evil:1", "x", "UPPER:1", "a:1@sha256:" + "0" * 64, "sha256:abc", "0" * 64]
HUGE = {"Config": "c.json", "RepoTags": None, "Layers": ["x" * 20_000_000]}
REFUSED = {
    "no layer": (docker_archive([LAYER], changes={"Layers": ["nope"]}), DataLoss, "open nope: no such file"),
    "no config": (docker_archive([LAYER], changes={"Config": "nope"}), DataLoss, "open nope: no such file"),
    "other content": (
        docker_archive([LAYER, OTHER], changes={"Layers": ["l0/layer.tar", "l0/layer.tar"]}),
        DataLoss,
        "invalid diffID for layer 1: expected",
    ),
    "too few": (
        docker_archive([LAYER, OTHER], changes={"Layers": ["l0/layer.tar"]}),
        DataLoss,
        "layers length mismatch: expected 1, got 2",
    ),
    "no tar": (docker_archive([b"x" * 3000]), DataLoss, "invalid tar header"),
    "twice": (twice_named(b""), DataLoss, "stands twice in the archive"),
    "windows": (docker_archive([LAYER], config={"os": "windows"}), Unsupported, "cannot load windows image"),
    "null": (archive([("manifest.json", b"null")]), DataLoss, "manifest cannot be null"),
    "no json": (archive([("manifest.json", b"{")]), DataLoss, "not JSON"),
    "deep json": (archive([("manifest.json", b"[" * 100_000)]), DataLoss, "manifest.json"),
    "no list": (archive([("manifest.json", b"{}")]), DataLoss, "not a list"),
    "number": (docker_archive([LAYER], changes={"Layers": [1]}), DataLoss, "Layers is not a list of strings"),
    "huge": (archive([("manifest.json", json.dumps([HUGE]).encode())]), DataLoss, "bytes are more than"),
    "config": (docker_archive([LAYER], config={"rootfs": None}), DataLoss, "no RootFS key"),
    "digest": (
        docker_archive([LAYER], config={"rootfs": {"diff_ids": ["sha256:../../x"]}}),
        DataLoss,
        "rootfs.diff_ids",
    ),
    "garbage": (b"x" * 3000, DataLoss, "Error processing tar file: archive/tar: invalid tar header"),
    "empty": (b"", InvalidArgument, "no image archive"),
    "a root file system": (LAYER, InvalidArgument, "no image archive"),
    "cut": (docker_archive([LAYER])[:3000], DataLoss, "unexpected EOF"),
    "cut gzip": (gzip.compress(docker_archive([LAYER]))[:-20], DataLoss, "unexpected EOF"),
    "loop": (
        docker_archive(
            [LAYER],
            changes={"Layers": ["a"]},
            more=[
                member("a", b"", type=tarfile.SYMTYPE, linkname="b"),
                member("b", b"", type=tarfile.SYMTYPE, linkname="a"),
            ],
        ),
        DataLoss,
        "too many levels of symbolic links",
    ),
    **{tag[:12]: (docker_archive([LAYER], tags=[tag]), OnggiError, "") for tag in WRONG_TAGS},
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_refused(tmp_path: Path, case: str, kind: str) -> None:
    data, error, text = REFUSED[case]
    with pytest.raises(error) as caught:
        load(tmp_path / "root", data, tmp_path / "file" if kind == "file" else None)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert untouched(tmp_path / "root")


def test_a_bad_layer_leaves_images_and_layers_of_before(tmp_path: Path) -> None:
    """The good layers of a bad archive go again; those that were here stay."""
    root = tmp_path / "root"
    load(root, docker_archive([LAYER], tags=["kept:1"]))
    before = layer_trees(root)
    layers = [LAYER, OTHER, tar([member("h", b"third")])]
    bad = docker_archive(
        layers, tags=["kept:1"], changes={"Layers": ["l0/layer.tar", "l1/layer.tar", "l1/layer.tar"]}
    )
    with pytest.raises(DataLoss, match="invalid diffID for layer 2"):
        load(root, bad)
    after = layer_trees(root)
    assert after.keys() == before.keys()
    for chain, tree in before.items():
        # A layer that another stood on for a moment stays marked as frozen, as with Docker.
        after[chain].pop("./committed", None)
        assert after[chain] == tree
    assert not leftovers(root)
    with engine(root) as opened:
        (image,) = opened.images.list(all=True)
        assert image.tags == ["kept:1"]


def test_image_ids_are_computed(tmp_path: Path) -> None:
    """A config under another image's name does not become that image (CVE-2014-9358)."""
    root = tmp_path / "root"
    load(root, docker_archive([LAYER], tags=["victim:1"]))
    with engine(root) as opened:
        victim = opened.images.get("victim:1").id
    with tarfile.open(fileobj=io.BytesIO(docker_archive([OTHER]))) as source:
        raw = source.extractfile("c.json").read()
    item = {"Config": f"{victim[7:]}.json", "RepoTags": ["evil:1"], "Layers": ["l"]}
    members = [(item["Config"], raw), ("l", OTHER), ("manifest.json", json.dumps([item]).encode())]
    load(root, archive(members))
    with engine(root) as opened:
        assert opened.images.get("victim:1").id == victim
        assert opened.images.get("evil:1").id == f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_oci_blobs_are_checked(tmp_path: Path) -> None:
    """A changed manifest, config or layer blob; a digest that is a path; a wrong size."""
    for part in ("manifest", "config", "layer", "size"):
        layout = Layout(tmp_path / part)
        digest = layout.image("library/x:1", [LAYER])
        blobs = layout.directory / "blobs/sha256"
        manifest = json.loads((blobs / digest[7:]).read_bytes())
        name = {"manifest": digest, "config": manifest["config"]["digest"]}.get(
            part, manifest["layers"][0]["digest"]
        )
        if part == "layer":
            # The same tar, compressed otherwise: only the blob's own digest tells.
            (blobs / name[7:]).write_bytes(gzip.compress(LAYER, 1, mtime=1))
        else:
            (blobs / name[7:]).write_bytes((blobs / name[7:]).read_bytes() + b" ")
        with engine(tmp_path / "root") as opened, pytest.raises(DataLoss, match=name):
            opened.images.load(layout.directory)
        assert untouched(tmp_path / "root")


def test_digests_are_no_paths(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.name("library/x:1", {"mediaType": "m", "digest": "sha256:../../../etc/passwd", "size": 1})
    with engine(tmp_path / "root") as opened, pytest.raises(DataLoss, match="digest"):
        opened.images.load(layout.directory)


def test_parents(tmp_path: Path) -> None:
    """A link holds inside one archive, when the histories agree; another claim is refused or means nothing."""
    step = {"created": "2026-01-01T00:00:00Z", "created_by": "one"}
    parent = docker_archive([LAYER], tags=None, config={"history": [step]})
    config = {"history": [step, {"created_by": "two"}]}
    child = docker_archive([LAYER, OTHER], tags=None, config=config)
    items, members = [], []
    for number, data in enumerate((parent, child)):
        with tarfile.open(fileobj=io.BytesIO(data)) as source:
            (item,) = json.load(source.extractfile("manifest.json"))
            raw = source.extractfile("c.json").read()
            members += [(f"{number}.json", raw)]
            item["Config"] = f"{number}.json"
            items.append((item, f"sha256:{hashlib.sha256(raw).hexdigest()}"))
    members += [("l0/layer.tar", LAYER), ("l1/layer.tar", OTHER)]
    for claimed, held in ((items[0][1], items[0][1]), ("sha256:" + "1" * 64, None)):
        documents = [items[0][0], {**items[1][0], "Parent": claimed}]
        root = tmp_path / claimed[7:12]
        load(root, archive([*members, ("manifest.json", json.dumps(documents).encode())]))
        with engine(root) as opened:
            assert opened.images.get(items[1][1]).parent == held
    documents = [{**items[0][0], "Parent": items[1][1]}, items[1][0]]
    with pytest.raises(DataLoss, match="is not a valid parent for"):
        load(tmp_path / "bad", archive([*members, ("manifest.json", json.dumps(documents).encode())]))
    assert untouched(tmp_path / "bad")


# --- streams ----------------------------------------------------------------------------------


def test_a_plain_file_is_not_copied(tmp_path: Path) -> None:
    """Layers come straight from the archive: nothing of its size is written aside."""
    big = tar([member("big", os.urandom(6_000_000))])
    path = tmp_path / "a.tar"
    path.write_bytes(docker_archive([big]))
    code = f"import sys; sys.path[:] = {sys.path!r}\n" + (
        "from pathlib import Path\nfrom tests.transfer.archives import engine\n"
        f"engine(Path({str(tmp_path / 'root')!r})).images.load(Path({str(path)!r}))\n"
        "print(open('/proc/self/io').read())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    written = int(done.stdout.partition("wchar: ")[2].split()[0])
    assert written < 1_000_000


def test_a_stream_that_says_nothing_can_be_left(tmp_path: Path) -> None:
    read, write = os.pipe()
    cancel = CancelToken()
    threading.Timer(0.3, cancel.cancel).start()
    with (
        engine(tmp_path / "root") as opened,
        open(read, "rb", buffering=0) as stream,
        pytest.raises(Cancelled),
    ):
        opened.images.load(stream, cancel=cancel)
    os.close(write)
    assert untouched(tmp_path / "root")


def test_rich_layers_through_both_layouts(tmp_path: Path) -> None:
    """Loaded, saved in every layout, loaded again: the same layers."""
    with engine(tmp_path / "root") as opened:
        opened.images.load(io.BytesIO(docker_archive(rich_layers())))
        image = opened.images.get("hand:made").id
    for compat, format in (("20.10", "docker"), ("28", "docker"), ("28", "oci")):
        out = tmp_path / f"{compat}{format}.tar"
        with engine(tmp_path / "root", compat) as opened:
            opened.images.save("hand:made", out, format=format)
        with engine(tmp_path / f"{compat}{format}") as other:
            other.images.load(out)
            assert other.images.get("hand:made").id == image
        assert layer_trees(tmp_path / f"{compat}{format}").keys() == layer_trees(tmp_path / "root").keys()
