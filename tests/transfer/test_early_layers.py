"""Layers that are unpacked before the archive is whole: the same end as without, whatever it is."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import onggi
from onggi.errors import OnggiError
from onggi.linux.filesystem import forget_bytes
from onggi.store.locks import LockDirectory
from onggi.transfer.early_layers import EarlyLayer
from tests.crash.checks import compare, leftovers, snapshot
from tests.crash.child import command
from tests.peers.images import Layout, member, tar
from tests.peers.processes import wait_until
from tests.transfer.archives import archive, docker_archive, engine
from tests.transfer.test_load import load, untouched


def large(name: str, size: int = 300_000) -> bytes:
    """A layer that is worth a worker of its own."""
    noise = random.Random(name)
    return tar([member("d/", None), *(member(f"d/{name}{n}", noise.randbytes(size // 3)) for n in range(3))])


A, B, C = large("a"), large("b"), large("c")
SMALL = tar([member("small", b"content")])


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """``taken``, or ``lost``, for every early layer that was asked for; ``begun`` for every one there was.

    The archive waits for each to begin: how many there are is not a matter of luck then.
    """
    found: list[str] = []
    result, begin = EarlyLayer.result, EarlyLayer.begin

    def noted_result(early: EarlyLayer) -> object:
        given = result(early)
        found.append("lost" if given is None else "taken")
        return given

    def noted_begin(early: EarlyLayer, slots: object) -> None:
        found.append("begun")
        begin(early, slots)
        wait_until(lambda: early.has_begun() or not early._thread.is_alive(), "an early layer")

    monkeypatch.setattr(EarlyLayer, "result", noted_result)
    monkeypatch.setattr(EarlyLayer, "begin", noted_begin)
    return found


def saved(compat: str, format: str = "docker") -> Callable[[Path], bytes]:
    def build(work: Path) -> bytes:
        out = io.BytesIO()
        with engine(work / "from", compat) as opened:
            opened.images.load(io.BytesIO(docker_archive([A, SMALL, B])))
            opened.images.save("hand:made", out, format=format)
        return out.getvalue()

    return build


def podman(work: Path) -> bytes:
    """Layers called by their diffIDs, links in the old places."""
    names = [f"{hashlib.sha256(layer).hexdigest()}.tar" for layer in (A, B)]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{name[:64]}" for name in names]},
    }
    item = {"Config": "c.json", "RepoTags": ["hand:made"], "Layers": names}
    link = member("v1/layer.tar", b"", type=tarfile.SYMTYPE, linkname=f"../{names[0]}")
    files = [member(names[0], A), link, member(names[1], B), member("c.json", json.dumps(document).encode())]
    return tar([*files, member("manifest.json", json.dumps([item]).encode())])


def manifest_first(work: Path) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(docker_archive([A, B]))) as source:
        members = [(info.name, source.extractfile(info).read()) for info in source]
    return archive([members[-1], *members[:-1]])


def two_images(work: Path) -> bytes:
    """The same layers in another order: each is needed in two chains."""
    documents, items = [], []
    for number, layers in enumerate(([A, B], [B, A])):
        diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
        config = {"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        documents.append((f"{number}.json", json.dumps(config).encode()))
        names = [f"{'a' if layer is A else 'b'}/layer.tar" for layer in layers]
        items.append({"Config": f"{number}.json", "RepoTags": [f"hand:{number}"], "Layers": names})
    layers = [("a/layer.tar", A), ("b/layer.tar", B)]
    return archive([*layers, *documents, ("manifest.json", json.dumps(items).encode())])


def layout(work: Path, compression: str = "gzip") -> bytes:
    made = Layout(work / "layout")
    index = [
        (
            made.manifest([A, layer], architecture=name, compression=compression),
            {"os": "linux", "architecture": name},
        )
        for name, layer in (("amd64", B), ("arm64", C))
    ]
    made.name("library/many:1", made.index(index))
    # As a writer has them that goes by names.
    return subprocess.run(["tar", "-C", made.directory, "--sort=name", "-c", "."], capture_output=True).stdout


Build = Callable[[Path], bytes]
ALIKE: dict[str, tuple[Build, int, dict[str, object]]] = {
    "docker 20.10": (saved("20.10"), 2, {}),
    "docker 28": (saved("28"), 2, {}),
    "OCI, saved": (saved("28", "oci"), 2, {}),
    "podman": (podman, 2, {}),
    "manifest first": (manifest_first, 2, {}),
    "layers compressed too": (
        lambda work: docker_archive(
            [gzip.compress(A), gzip.compress(B)],
            config={
                "rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in (A, B)]}
            },
        ),
        2,
        {},
    ),
    "a layer twice in an image": (
        lambda work: docker_archive(
            [A, B],
            changes={"Layers": ["l0/layer.tar", "l1/layer.tar", "l0/layer.tar"]},
            config={
                "rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in (A, B, A)]}
            },
        ),
        2,
        {},
    ),
    "layers in two chains": (two_images, 2, {}),
    "OCI, this platform": (layout, 2, {}),
    "OCI, another": (layout, 2, {"platform": "linux/arm64"}),
    "OCI, all": (layout, 3, {"all_platforms": True}),
    "OCI, plain layers": (lambda work: layout(work, "none"), 2, {}),
    "nobody wants one": (lambda work: docker_archive([A], more=[member("x/layer.tar", C)]), 1, {}),
    "more of them": (lambda work: docker_archive([large(str(n), 150_000) for n in range(12)]), -1, {}),
}


@pytest.mark.parametrize("case", ALIKE)
def test_the_same_store(tmp_path: Path, case: str, outcomes: list[str]) -> None:
    build, taken, settings = ALIKE[case]
    data = build(tmp_path)
    outcomes.clear()
    first = load(tmp_path / "plain", data, tmp_path / "archive.tar", **settings)
    assert not outcomes
    assert load(tmp_path / "early", gzip.compress(data, 1), **settings) == first
    if taken >= 0:
        assert outcomes.count("taken") == taken
    assert not compare(snapshot(tmp_path / "early"), snapshot(tmp_path / "plain"))
    assert not leftovers(tmp_path / "early")


@pytest.mark.parametrize(
    "case, given_up", [("docker 28", 2), ("layers in two chains", 0), ("nobody wants one", 1)]
)
def test_bytes_are_given_up_once_nobody_reads_them_again(
    tmp_path: Path, case: str, given_up: int, outcomes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was put aside need not reach the disk; where a layer is needed twice it must stay."""
    data = ALIKE[case][0](tmp_path)
    holes: list[tuple[int, int]] = []

    def noted(fd: int, start: int, size: int) -> None:
        layer = os.pread(fd, size, start)
        assert layer in (A, B)
        before = os.fstat(fd).st_blocks
        forget_bytes(fd, start, size)
        assert os.pread(fd, size, start) == bytes(size) and os.fstat(fd).st_blocks < before
        holes.append((start, size))

    monkeypatch.setattr("onggi.transfer.early_layers.forget_bytes", noted)
    outcomes.clear()
    load(tmp_path / "root", gzip.compress(data, 1))
    assert outcomes.count("taken") >= given_up == len(holes)


def test_the_same_with_erofs(tmp_path: Path, outcomes: list[str]) -> None:
    """Kept as tars: every one proves that it is its layer."""
    config = onggi.Config(
        data_root=tmp_path / "root",
        storage_driver="erofs",
        docker_config_dir=Path("/nonexistent"),
        certs_dirs=(),
    )
    with onggi.open(config=config) as opened:
        opened.images.load(io.BytesIO(gzip.compress(two_images(tmp_path), 1)))
        assert outcomes.count("taken") == 2
        assert {tag for image in opened.images.list() for tag in image.tags} == {"hand:0", "hand:1"}
        assert not list(opened.images.verify(all=True))
    assert not list((tmp_path / "root/onggi/staging").iterdir())


def _damaged() -> bytes:
    packed = bytearray(gzip.compress(A, 1))
    packed[len(packed) // 2] ^= 0xFF
    diff_ids = [f"sha256:{hashlib.sha256(A).hexdigest()}"]
    return docker_archive([bytes(packed)], config={"rootfs": {"diff_ids": diff_ids}})


def _changed_blob(work: Path) -> bytes:
    """The same tar, compressed otherwise: only the blob's own digest tells."""
    made = Layout(work / "layout")
    descriptor = made.layer(A)
    made.image("library/x:1", [A])
    (made.directory / "blobs/sha256" / descriptor["digest"][7:]).write_bytes(gzip.compress(A, 9, mtime=1))
    return subprocess.run(["tar", "-C", made.directory, "--sort=name", "-c", "."], capture_output=True).stdout


REFUSED: dict[str, Build] = {
    "no layer": lambda work: docker_archive([A, B], changes={"Layers": ["l0/layer.tar", "nope"]}),
    "no config": lambda work: docker_archive([A], changes={"Config": "nope"}),
    "another layer": lambda work: docker_archive(
        [A, B], changes={"Layers": ["l1/layer.tar", "l0/layer.tar"]}
    ),
    "no tar": lambda work: docker_archive([A[:512] + b"x" * 300_000]),
    "cut": lambda work: docker_archive([A[:150_000]]),
    "damaged": lambda work: _damaged(),
    "twice": lambda work: docker_archive([A], more=[member("./l0/../l0/layer.tar", B)]),
    "another system": lambda work: docker_archive([A], config={"os": "windows"}),
    "changed blob": _changed_blob,
    "no image at all": lambda work: archive([("x/layer.tar", A)]),
    "then garbage": lambda work: docker_archive([A, B])[:-20_000] + b"x" * 20_000,
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_same_errors(tmp_path: Path, case: str, outcomes: list[str]) -> None:
    """In the same words as where nothing was unpacked early, and nothing stays."""
    data = REFUSED[case](tmp_path)
    with pytest.raises(OnggiError) as plain:
        load(tmp_path / "plain", data, tmp_path / "archive.tar")
    with pytest.raises(OnggiError) as early:
        load(tmp_path / "early", gzip.compress(data, 1))
    assert "begun" in outcomes
    assert (type(early.value), early.value.message) == (type(plain.value), plain.value.message)
    assert untouched(tmp_path / "early")


def test_a_stream_that_ends_too_soon(tmp_path: Path, outcomes: list[str]) -> None:
    """Compressed or not, in the middle of a layer that is being unpacked."""
    data = docker_archive([A, B])
    for number, cut in enumerate((data[:400_000], gzip.compress(data, 1)[:400_000])):
        with pytest.raises(OnggiError, match="unexpected EOF"):
            load(tmp_path / f"root{number}", cut)
        assert untouched(tmp_path / f"root{number}")
    assert outcomes.count("begun") >= 2 and "taken" not in outcomes


@pytest.mark.parametrize("compat", ["20.10", "28"])
def test_what_is_here_is_not_unpacked_again(tmp_path: Path, compat: str, outcomes: list[str]) -> None:
    """The names in the archive tell, of either generation."""
    data = gzip.compress(saved(compat)(tmp_path), 1)
    load(tmp_path / "root", data)
    assert outcomes.count("taken") == 2 + 2  # the sample's own load, then this one
    outcomes.clear()
    load(tmp_path / "root", data)
    assert not outcomes


def test_a_damaged_layer_is_remade_under_its_own_name(tmp_path: Path, outcomes: list[str]) -> None:
    root = tmp_path / "root"
    data = gzip.compress(docker_archive([A, B]), 1)
    load(root, data)
    before = {
        path.parent.name: path.read_text() for path in root.glob("image/overlay2/layerdb/sha256/*/cache-id")
    }
    base = before[hashlib.sha256(A).hexdigest()]
    os.rename(root / "overlay2" / base / "diff", tmp_path / "gone")
    outcomes.clear()
    load(root, data)
    assert "taken" not in outcomes and "begun" in outcomes
    after = {
        path.parent.name: path.read_text() for path in root.glob("image/overlay2/layerdb/sha256/*/cache-id")
    }
    assert after == before and not leftovers(root)
    with engine(root) as opened:
        assert not list(opened.images.verify(all=True))


def test_killed_while_layers_are_unpacked_early(tmp_path: Path) -> None:
    """The next command clears what nobody had asked for yet."""
    root, data = tmp_path / "root", docker_archive([A, B, C])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    child = subprocess.Popen(command("load", root, "http://127.0.0.1:1", str(pipe)))
    with open(pipe, "wb", buffering=0) as out:
        out.write(data[: len(data) - 200_000])
        wait_until(lambda: len(list(root.glob("onggi/staging/*/layer/diff/d/*"))) >= 6, "early layers")
        child.send_signal(signal.SIGKILL)
        child.wait()
    locks = LockDirectory(root / "onggi/locks")
    wait_until(
        lambda: not any(locks.is_held(path.name) for path in root.glob("onggi/locks/staging-*")),
        "the end of the workers",
    )
    with engine(root) as opened:
        opened.system.recover()
        assert not opened.images.list(all=True)
    assert untouched(root)
    load(root, gzip.compress(data, 1))
    assert not leftovers(root)
