"""Volumes on disk: names, options, what a crash leaves between the database and the directories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onggi.store.bolt import read_database
from onggi.store.layout import Layout
from onggi.store.locks import LockDirectory
from onggi.store.trash import Trash
from onggi.store.volumes import StoredVolume, VolumeNotFound, VolumeStore


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    layout = Layout(tmp_path / "root", "overlay2")
    layout.create()
    return VolumeStore(layout, LockDirectory(layout.locks), Trash(layout.trash))


def test_the_files_are_dockers(store: VolumeStore, tmp_path: Path) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    store.create("vol", labels={"z": "1", "a": "<ö>"}, options=options)
    root = tmp_path / "root/volumes"
    modes = {
        path.name: oct(path.stat().st_mode & 0o7777) for path in (root / "vol", *(root / "vol").iterdir())
    }
    assert modes == {"vol": "0o701", "_data": "0o755", "opts.json": "0o600"}
    assert (root / "vol/opts.json").read_text() == (
        '{"MountType":"tmpfs","MountOpts":"size=1m","MountDevice":"tmpfs","Quota":{"Size":0}}'
    )
    entry = read_database(root / "metadata.db").bucket(b"volumes").entries[b"vol"]
    assert (
        entry
        == (
            '{"Name":"vol","Driver":"local","Labels":{"a":"\\u003cö\\u003e","z":"1"},'
            '"Options":{"device":"tmpfs","o":"size=1m","type":"tmpfs"}}'
        ).encode()
    )
    assert (root / "metadata.db").stat().st_mode & 0o777 == 0o600


def test_a_directory_is_a_volume_and_an_entry_alone_is_none(store: VolumeStore, tmp_path: Path) -> None:
    root = tmp_path / "root/volumes"
    (root / "found" / "_data").mkdir(parents=True)
    document = {"MountType": "nfs", "MountOpts": "addr=h", "MountDevice": ":/x", "Quota": {"Size": 0}}
    (root / "found" / "opts.json").write_text(json.dumps(document))
    (root / "no volume").mkdir()
    store.create("gone", labels={"a": "b"})
    (root / "gone" / "_data").rmdir()
    (root / "gone").rmdir()
    options = {"type": "nfs", "o": "addr=h", "device": ":/x"}
    assert store.all() == [StoredVolume("found", root / "found/_data", None, options)]
    with pytest.raises(VolumeNotFound):
        store.get("gone")
    assert store.create("gone").labels is None
    assert store.get("gone").labels is None


def test_removing(store: VolumeStore, tmp_path: Path) -> None:
    store.create("one")
    store.create("two", labels={"a": "b"})
    (store.path("one") / "f").write_text("x")
    store.remove("one")
    assert store.names() == ["two"]
    assert list(read_database(tmp_path / "root/volumes/metadata.db").bucket(b"volumes").entries) == [b"two"]
    with pytest.raises(VolumeNotFound):
        store.remove("one")
