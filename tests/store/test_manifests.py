from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from onggi.oci.digest import Digest, ImageID
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.store.layout import Layout, sweep_temporary_files
from onggi.store.manifests import ManifestDB

CONFIG = b"{}"
IMAGE = ImageID.of(CONFIG)


def manifest(config: bytes = CONFIG, note: str = "") -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest.of(config),
            "size": 2,
        },
        "layers": [],
        "annotations": {"note": note},
    }
    parsed = parse_manifest(json.dumps(document).encode())
    assert isinstance(parsed, Manifest)
    return parsed


def index(note: str) -> Index:
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
        "annotations": {"note": note},
    }
    parsed = parse_manifest(json.dumps(document).encode())
    assert isinstance(parsed, Index)
    return parsed


@pytest.fixture
def kept(tmp_path: Path) -> ManifestDB:
    return ManifestDB(tmp_path / "manifests")


def test_manifests_and_indexes_of_an_image(kept: ManifestDB) -> None:
    assert (kept.of(IMAGE), kept.indexes_of(IMAGE), kept.image_ids(), list(kept.all())) == ([], [], [], [])
    documents = index("a"), manifest()
    for document in documents:
        kept.add(IMAGE, document)
    assert (kept.indexes_of(IMAGE), kept.of(IMAGE)) == ([documents[0]], [documents[1]])
    assert (kept.image_ids(), list(kept.all())) == ([IMAGE], [documents[1]])
    kept.remove(IMAGE)
    assert (kept.of(IMAGE), kept.image_ids()) == ([], [])


def test_what_is_forgotten_while_it_is_looked_at(kept: ManifestDB, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.add(IMAGE, manifest())
    entries = kept._entries(IMAGE)
    kept.remove(IMAGE)
    monkeypatch.setattr(kept, "_entries", lambda image_id: entries)
    assert kept.of(IMAGE) == []


def test_what_is_added_again_is_the_newest(kept: ManifestDB, tmp_path: Path) -> None:
    notes = [manifest(note=note) for note in "abc"]
    for when, document in enumerate((*notes, notes[0])):
        kept.add(IMAGE, document)
        if when < 3:
            os.utime(tmp_path / "manifests" / IMAGE.hex / document.digest.hex, (when, when))
    assert kept.of(IMAGE) == [notes[0], notes[2], notes[1]]


def test_the_oldest_indexes_go(kept: ManifestDB, tmp_path: Path) -> None:
    kept.add(IMAGE, manifest())
    added = [index(str(number)) for number in range(11)]
    for when, document in enumerate(added):
        kept.add(IMAGE, document)
        os.utime(tmp_path / "manifests" / IMAGE.hex / document.digest.hex, (when, when))
    assert kept.indexes_of(IMAGE) == added[:2:-1]
    assert len(kept.of(IMAGE)) == 1


def test_what_is_not_what_it_says_counts_as_absent(kept: ManifestDB, tmp_path: Path) -> None:
    good, other = manifest(), manifest(b"another config")
    for document in (good, other, index("x")):
        kept.add(IMAGE, document)
    directory = tmp_path / "manifests" / IMAGE.hex
    assert kept.of(IMAGE) == [good]
    (directory / good.digest.hex).write_bytes(good.raw + b" ")
    (directory / Digest.of(b"no json").hex).write_bytes(b"no json")
    assert kept.of(IMAGE) == []
    assert len(kept.indexes_of(IMAGE)) == 1


def test_what_a_killed_writer_leaves_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path, "overlay2")
    layout.create()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "rename", _killed)
        ManifestDB(layout.manifests).add(IMAGE, manifest())
    assert len(list(layout.manifests.glob("**/.tmp-*"))) == 1
    sweep_temporary_files(layout)
    assert not list(layout.manifests.glob("**/.tmp-*"))


def _killed(*names: object) -> None:
    raise KeyboardInterrupt
