"""layerdb: strict where dockerd is strict, and the chain must add up."""

from __future__ import annotations

import shutil
import threading

import pytest

from onggi.oci.digest import CacheID, ChainID, DiffID, chain_id
from onggi.store.layerdb import CorruptLayer, LayerDB, LayerRecord

DIFF = DiffID("sha256:" + "a" * 64)
UPPER = DiffID("sha256:" + "b" * 64)


@pytest.fixture
def db(tmp_path):
    database = LayerDB(tmp_path / "layerdb")
    (tmp_path / "layerdb").mkdir()
    database.prepare()
    return database


def store(db, tmp_path, diff=DIFF, parent=None, size=5):
    record = LayerRecord(chain_id(parent, diff), diff, parent, CacheID.random(), size)
    staged = tmp_path / f"set-{record.chain_id.hex}"
    staged.mkdir(mode=0o700)
    db.write_set(staged, record)
    db.commit(staged, record.chain_id)
    return record


def test_files_are_dockers(db, tmp_path):
    base = store(db, tmp_path)
    upper = store(db, tmp_path, UPPER, base.chain_id, 0)
    directory = db.path(upper.chain_id)
    assert {path.name: path.read_text() for path in directory.iterdir()} == {
        "diff": UPPER,
        "parent": base.chain_id,
        "size": "0",
        "cache-id": upper.cache_id,
    }
    assert all(path.stat().st_mode & 0o7777 == 0o644 for path in directory.iterdir())
    assert not (db.path(base.chain_id) / "parent").exists()
    assert db.get(upper.chain_id) == upper
    assert list(db.records()) == sorted([base, upper], key=lambda record: record.chain_id)


def test_unknown_is_none(db):
    assert db.get(ChainID("sha256:" + "0" * 64)) is None


def test_removed_and_made_anew_while_it_is_read(db, tmp_path):
    """One file after the other is read; what comes and goes in between is not damaged."""
    record = store(db, tmp_path)
    end = threading.Event()

    def come_and_go():
        while not end.is_set():
            removing = db.begin_removal(record.chain_id)
            store(db, tmp_path)
            shutil.rmtree(removing)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        found = [db.get(record.chain_id) for _ in range(3000)]
    finally:
        end.set()
        thread.join()
    assert {item and item.diff_id for item in found} == {DIFF, None}


@pytest.mark.parametrize(
    ("name", "content"),
    [("size", "5\n"), ("size", ""), ("size", "x"), ("cache-id", ""), ("diff", ""), ("diff", "sha256:12")],
)
def test_bad_files_are_named(db, tmp_path, name, content):
    record = store(db, tmp_path)
    (db.path(record.chain_id) / name).write_text(content)
    with pytest.raises(CorruptLayer, match=record.chain_id.hex):
        db.get(record.chain_id)
    assert list(db.records()) == []


def test_white_space_is_trimmed_where_docker_trims(db, tmp_path):
    record = store(db, tmp_path)
    for name in ("diff", "cache-id"):
        path = db.path(record.chain_id) / name
        path.write_text(path.read_text() + "\n")
    assert db.get(record.chain_id) == record


def test_chain_must_add_up(db, tmp_path):
    record = store(db, tmp_path)
    (db.path(record.chain_id) / "diff").write_text(UPPER)
    with pytest.raises(CorruptLayer, match="add up"):
        db.get(record.chain_id)


def test_commit_replaces_an_empty_directory(db, tmp_path):
    """A crash of another engine can leave one; it must not block the rename for ever."""
    db.path(ChainID(DIFF)).mkdir()
    record = store(db, tmp_path)
    assert db.get(record.chain_id) == record
