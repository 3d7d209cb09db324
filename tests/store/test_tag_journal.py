"""What names meant: nothing that happened is missing, nothing that did not happen is told."""

from __future__ import annotations

import json
import os
from itertools import pairwise

import pytest

from onggi.oci.digest import ImageID
from onggi.oci.reference import Reference
from onggi.store import tags as tags_module
from onggi.store.locks import LockDirectory
from onggi.store.tag_journal import OUTSIDE, TagChange, TagJournal
from onggi.store.tags import TagStore

ONE, TWO, THREE = (ImageID("sha256:" + digit * 64) for digit in "123")
WEB = Reference.parse("web:v1")


@pytest.fixture
def store(tmp_path):
    made = TagStore(tmp_path / "repositories.json", LockDirectory(tmp_path / "locks"), tmp_path / "tags")
    made.create()
    return made


@pytest.fixture
def lines(tmp_path):
    return tmp_path / "tags" / "journal.jsonl"


def point(store, image_id, by="tag", digest=None):
    with store.transaction(by, digest) as names:
        if image_id is None:
            names.remove(WEB)
        else:
            names.set(WEB, image_id)


def told(store):
    return [(change.before, change.after, change.by) for change in store.history(WEB)]


def test_every_change_newest_first(store):
    point(store, ONE, "pull", "sha256:" + "d" * 64)
    point(store, TWO)
    point(store, None, "rmi")
    assert told(store) == [(TWO, None, "rmi"), (ONE, TWO, "tag"), (None, ONE, "pull")]
    first = store.history(WEB)[-1]
    assert (first.name, first.digest) == ("web:v1", "sha256:" + "d" * 64)
    assert first.time_ns is not None


def test_what_changes_nothing_is_not_noted(store, lines):
    point(store, ONE)
    point(store, ONE)
    with store.transaction("rmi") as names:
        names.remove(Reference.parse("other"))
    assert len(lines.read_bytes().splitlines()) == 1


def test_what_fails_is_not_noted(store, lines):
    with pytest.raises(RuntimeError), store.transaction("tag") as names:
        names.set(WEB, ONE)
        raise RuntimeError
    assert not lines.exists()


def test_names_of_one_transaction(store):
    digest = Reference.parse("web@sha256:" + "d" * 64)
    with store.transaction("pull") as names:
        names.set(WEB, ONE)
        names.set(digest, ONE)
    assert [change.name for change in store.history(digest)] == [digest.familiar]


def test_a_kill_between_journal_and_names(store, monkeypatch):
    """The change was written and never happened: it is not told, not even after further changes."""
    point(store, ONE)
    with monkeypatch.context() as patch:
        patch.setattr(tags_module, "write_file", lambda *args, **kw: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            point(store, TWO)
    assert told(store) == [(None, ONE, "tag")]
    point(store, THREE)
    assert told(store) == [(ONE, THREE, "tag"), (None, ONE, "tag")]


def test_what_somebody_else_changed(store, tmp_path):
    """A dockerd has had the data root: its change is told, without a time."""
    point(store, ONE)
    path = tmp_path / "repositories.json"
    path.write_text(path.read_text().replace(ONE, TWO))
    assert told(store) == [(ONE, TWO, OUTSIDE), (None, ONE, "tag")]
    point(store, THREE)
    assert told(store) == [(TWO, THREE, "tag"), (ONE, TWO, OUTSIDE), (None, ONE, "tag")]
    assert store.history(WEB)[1].time_ns is None


def test_names_older_than_the_journal(store, tmp_path):
    (tmp_path / "repositories.json").write_text(json.dumps({"Repositories": {"web": {"web:v1": ONE}}}))
    assert told(store) == [(None, ONE, OUTSIDE)]


@pytest.mark.parametrize("torn", [b'{"time":1,"na', b"\xff\xfe", b"[]", b'{"name":"web:v1"}'])
def test_a_torn_line_spoils_no_other(store, lines, torn):
    point(store, ONE)
    with open(lines, "ab") as file:
        file.write(torn)
    point(store, TWO)
    assert told(store) == [(ONE, TWO, "tag"), (None, ONE, "tag")]


def test_rotation_keeps_the_last_file(tmp_path, monkeypatch):
    monkeypatch.setattr("onggi.store.json_lines._ROTATE_AT_BYTES", 1000)
    journal = TagJournal(tmp_path / "tags", LockDirectory(tmp_path / "locks"))
    ids = [ImageID(f"sha256:{number:064x}") for number in range(40)]
    for before, after in pairwise(ids):
        journal.append([TagChange("web:v1", before, after, "tag", None, 1)])
    history = journal.history("web:v1", ids[-1])
    assert [change.after for change in history[:5]] == ids[:-6:-1]
    assert sorted(path.name for path in (tmp_path / "tags").iterdir()) == ["journal.1.jsonl", "journal.jsonl"]


def test_a_change_is_durable_before_it_happens(store, lines, tmp_path, monkeypatch):
    seen = []
    flush = os.fdatasync

    def fdatasync(fd):
        flush(fd)
        flushed = os.readlink(f"/proc/self/fd/{fd}")
        seen.append((flushed, lines.read_text().count(ONE), (tmp_path / "repositories.json").read_text()))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    point(store, ONE)
    assert seen == [(str(lines), 1, '{"Repositories":{}}')]
