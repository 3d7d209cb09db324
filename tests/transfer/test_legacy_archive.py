"""Archives of before Docker 1.10 that no dockerd is asked about; the others are in tests/compat."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from onggi.errors import DataLoss, NotFound
from onggi.transfer.legacy_archive import _version
from tests.peers.images import member, tar
from tests.transfer.archives import engine, legacy_archive
from tests.transfer.test_load import load, untouched

LAYER = tar([member("f", b"content")])
OTHER = tar([member("g", b"other")])
BASE, TOP = "b" * 64, "a" * 64
TWO = [(BASE, "", b"{}", LAYER), (TOP, BASE, b'{"created": "2015-01-01T00:00:00Z"}', OTHER)]


def test_what_is_told(tmp_path: Path) -> None:
    data = legacy_archive(TWO, {"x": {"1": TOP}})
    assert load(tmp_path / "root", data) == ["Loaded image: x:1"]
    with engine(tmp_path / "root") as opened:
        image = opened.images.get("x:1")
        assert [layer.diff_id for layer in image.layers] == list(image.config.diff_ids)
        assert [each.references for each in opened.images.list(all=True) if each.id == image.parent] == [[]]
        assert [each.id for each in opened.images.list()] == [image.id]
    with engine(tmp_path / "other") as opened:
        assert len(opened.images.load(archive_at(tmp_path / "x.tar", data)).images) == 2


def archive_at(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_saved_by_id(tmp_path: Path) -> None:
    """No repositories: dockerd makes the images, and then fails for want of the file."""
    (line,) = load(tmp_path / "root", legacy_archive(TWO, None))
    assert line.startswith("Loaded image ID: sha256:")
    with engine(tmp_path / "root") as opened:
        assert opened.images.get(line.partition(": ")[2]).parent


def test_the_same_from_a_directory_and_with_compressed_layers(tmp_path: Path) -> None:
    packed = [(name, parent, raw, gzip.compress(layer)) for name, parent, raw, layer in TWO]
    (tmp_path / "there").mkdir()
    data = legacy_archive(packed, {"x": {"1": TOP}})
    subprocess.run(["tar", "-C", tmp_path / "there", "-x"], input=data, check=True)
    ids = set()
    for number, source in enumerate((legacy_archive(TWO, {"x": {"1": TOP}}), data, None)):
        with engine(tmp_path / str(number)) as opened:
            place = tmp_path / "there" if source is None else archive_at(tmp_path / "x.tar", source)
            opened.images.load(place)
            ids.add(opened.images.get("x:1").id)
    assert len(ids) == 1


def test_compat_of_times(tmp_path: Path) -> None:
    """An unknown time is no time for Docker 28, the year 1 for 20.10."""
    texts = []
    for compat in ("28", "20.10"):
        with engine(tmp_path / compat, compat) as opened:
            data = legacy_archive([(BASE, "", b"{}", LAYER)], {"x": {"1": BASE}})
            opened.images.load(archive_at(tmp_path / "x.tar", data))
            texts.append(opened.images.get("x:1").config.raw)
    assert b"created" not in texts[0]
    assert texts[1].count(b'"created":"0001-01-01T00:00:00Z"') == 2


def test_platforms(tmp_path: Path) -> None:
    images = [(BASE, "", b'{"architecture": "arm64"}', LAYER), (TOP, "", b'{"architecture": "amd64"}', OTHER)]
    data = legacy_archive(images, {"x": {"arm": BASE, "amd": TOP}})
    assert load(tmp_path / "one", data, platform="linux/arm64") == ["Loaded image: x:arm"]
    assert len(load(tmp_path / "all", data, all_platforms=True)) == 2
    with pytest.raises(NotFound, match="no image in the archive is for linux/s390x"):
        load(tmp_path / "none", data, platform="linux/s390x")


def chain(length: int) -> bytes:
    images = [(f"{n:064}", f"{n - 1:064}" if n else "", b"{}", LAYER) for n in range(length)]
    return legacy_archive(images, {})


REFUSED = {
    "circle": (legacy_archive([(BASE, TOP, b"{}", LAYER), (TOP, BASE, b"{}", LAYER)], {}), "is its own ancestor"),
    "itself": (legacy_archive([(BASE, BASE, b"{}", LAYER)], {}), "is its own ancestor"),
    "deep": (chain(300), "stands on 256 others, or more"),
    "parent": (legacy_archive([(BASE, "", b'{"parent": 1}', LAYER)], {}), "json: parent is not a string"),
    "repositories": (tar([*[member(f"{BASE}/{n}", c) for n, c in (("json", b"{}"), ("layer.tar", LAYER))], member("repositories", b"[]")]), "repositories: not an object"),
    "tags": (legacy_archive([(BASE, "", b"{}", LAYER)], {"x": []}), "x is not an object of tags"),
    "list": (legacy_archive([(BASE, "", b"[]", LAYER)], {}), "json: not an object"),
    "config": (legacy_archive([(BASE, "", b'{"config": 1}', LAYER)], {}), "config is not an object"),
    "cut layer": (legacy_archive([(BASE, "", b"{}", gzip.compress(LAYER)[:-9])], {}), "layer.tar: "),
    "no layer": (tar([member(f"{BASE}/json", b"{}"), member(f"{TOP}/json", b"{}"), member(f"{TOP}/layer.tar", LAYER)]), "layer.tar: no such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, case: str) -> None:
    data, text = REFUSED[case]
    with pytest.raises(DataLoss) as caught:
        load(tmp_path / "root", data)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert untouched(tmp_path / "root")


@pytest.mark.parametrize(
    "text, kept", [("1.8.2", False), ("1.8.3", True), ("1.10.0-dev", True), ("1.9", True), ("", False), ("17.03.1-ce", True), ("x.9", False)]
)  # fmt: skip
def test_versions(text: str, kept: bool) -> None:
    assert (_version(text) >= (1, 8, 3)) is kept
