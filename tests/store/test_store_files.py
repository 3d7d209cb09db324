"""imagedb, distribution, journal, data root: bytes on disk and behaviour under damage."""

from __future__ import annotations

import fcntl
import json
import os
import uuid

import pytest

from onggi.errors import InvalidArgument
from onggi.oci.digest import DiffID, Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.store.atomic import write_file
from onggi.store.dataroot import (
    DataRootOwned,
    DriverMismatch,
    claim,
    create_engine_id,
    engine_id,
    open_layout,
)
from onggi.store.distribution import BlobSource, DistributionDB
from onggi.store.imagedb import CorruptImage, ImageDB, UnknownImage
from onggi.store.journal import Event, Journal
from onggi.store.layout import Layout
from onggi.store.locks import LockDirectory

CONFIG = ImageConfig.parse(b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}')


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "root", "overlay2")
    made.create()
    return made


@pytest.fixture
def images(layout):
    return ImageDB(layout.imagedb)


def test_layout_has_dockers_modes(layout):
    modes = {
        "": 0o710,
        "tmp": 0o700,
        "containers": 0o710,
        "volumes": 0o701,
        "overlay2": 0o710,
        "image": 0o700,
        "image/overlay2": 0o700,
        "image/overlay2/distribution": 0o700,
        "image/overlay2/imagedb/content/sha256": 0o700,
        "image/overlay2/layerdb": 0o700,
    }
    found = {name: (layout.root / name).stat().st_mode & 0o7777 for name in modes}
    assert found == modes


def test_image_is_its_bytes(images, layout):
    images.add(CONFIG)
    path = layout.imagedb / "content/sha256" / CONFIG.id.hex
    assert path.read_bytes() == CONFIG.raw
    assert path.stat().st_mode & 0o7777 == 0o600
    assert images.get(CONFIG.id).raw == CONFIG.raw
    images.remove(CONFIG.id)
    with pytest.raises(UnknownImage):
        images.get(CONFIG.id)


def test_changed_config_is_noticed(images, layout):
    images.add(CONFIG)
    images.path(CONFIG.id).write_bytes(CONFIG.raw + b" ")
    with pytest.raises(CorruptImage, match="failed to verify"):
        ImageDB(layout.imagedb).get(CONFIG.id)
    assert [image_id for image_id, _ in images.broken()] in ([CONFIG.id], [])
    assert [image_id for image_id, _ in ImageDB(layout.imagedb).broken()] == [CONFIG.id]


def test_children_lose_their_parent(images, layout):
    child = ImageConfig.parse(CONFIG.raw + b"\n")
    images.add(CONFIG)
    images.add(child)
    metadata = layout.imagedb / "metadata/sha256" / child.id.hex
    metadata.mkdir()
    (metadata / "parent").write_text(CONFIG.id)
    assert images.children(CONFIG.id) == [child.id]
    images.remove(CONFIG.id)
    assert images.parent(child.id) is None


def test_last_updated(images, layout):
    images.add(CONFIG)
    images.set_last_updated(CONFIG.id, "2026-01-02T03:04:05.6Z")
    assert images.last_updated(CONFIG.id) == "2026-01-02T03:04:05.6Z"
    assert images.last_updated(ImageID.of(b"other")) is None


def test_distribution_is_dockers_and_bounded(layout):
    locks = LockDirectory(layout.locks)
    db = DistributionDB(layout.distribution, locks)
    diff = DiffID.of(b"diff")
    sources = [BlobSource(Digest.of(str(i).encode()), "docker.io/library/a") for i in range(52)]
    for source in sources:
        db.add(diff, source)
    assert db.sources(diff) == tuple(sources[2:])
    db.add(diff, sources[10])
    assert db.sources(diff)[-1] == sources[10]
    assert db.diff_id(sources[0].digest) == diff
    path = layout.distribution / "v2metadata-by-diffid/sha256" / diff.hex
    assert json.loads(path.read_text())[0] == {
        "Digest": sources[2].digest,
        "SourceRepository": "docker.io/library/a",
        "HMAC": "",
    }
    path.write_text("torn")
    assert db.sources(diff) == ()


def test_live_docker_daemon_is_the_master(layout):
    with open(layout.root / "volumes/metadata.db", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataRootOwned, match="Docker daemon"), claim(layout.root):
            pass
    with claim(layout.root), claim(layout.root), open(layout.root / "volumes/metadata.db", "rb+") as file:
        file_is_held = pytest.raises(BlockingIOError)
        with file_is_held:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_driver_never_switches_behind_images(layout):
    images = layout.root / "image/btrfs/imagedb/content/sha256"
    images.mkdir(parents=True)
    (images / ("a" * 64)).write_text("x")
    with pytest.raises(DriverMismatch, match="btrfs"):
        open_layout(layout.root, "", ("overlay2",))
    with pytest.raises(DriverMismatch):
        open_layout(layout.root, "overlay2", ("overlay2",))
    with pytest.raises(InvalidArgument, match="not supported"):
        open_layout(layout.root, "zfs", ("overlay2",))


def test_write_file_leaves_nothing_behind_on_failure(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_file(target, b"old", 0o640)

    def refuse(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_file(target, b"new", 0o640)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    assert target.stat().st_mode & 0o7777 == 0o640


def test_journal_survives_torn_lines_and_tells_what_comes(layout):
    journal = Journal(layout.events, LockDirectory(layout.locks))
    journal.append(Event("image", "pull", "nginx:latest", {"name": "nginx"}, 1_000_000_001))
    tail = journal.follow()
    assert tail.read() == []
    with open(layout.events / "journal.jsonl", "ab") as file:
        file.write(b'{"torn\n')
    journal.append(Event("image", "tag", "sha256:1", {}, 2_000_000_000))
    assert [event.action for event in journal.read()] == ["pull", "tag"]
    assert [event.action for event in tail.read()] == ["tag"]
    assert next(journal.read()).to_json()["timeNano"] == 1_000_000_001


def test_the_engine_id_is_made_once(layout):
    assert engine_id(layout.root) is None
    create_engine_id(layout.root)
    made = engine_id(layout.root)
    assert uuid.UUID(made).version == 4 and str(uuid.UUID(made)) == made
    create_engine_id(layout.root)
    assert engine_id(layout.root) == made
    assert (layout.root / "engine-id").stat().st_mode & 0o7777 == 0o600
