"""bbolt's files: what is written is read, damage is told, an interrupted change changes nothing.

That dockerd reads what is written here, and the reverse, is in tests/compat/test_volumes.py.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.store import bolt
from onggi.store.bolt import Bucket, CorruptDatabase, read_database, write_database

KEYS = st.binary(min_size=1, max_size=40)
VALUES = st.one_of(st.binary(max_size=30), st.integers(0, 9000).map(lambda size: b"x" * size))


def _content(entries: dict[bytes, bytes]) -> Bucket:
    return Bucket(
        {b"volumes": Bucket(dict(entries)), b"other": Bucket({b"kept": Bucket({b"k": b"v"}, 7)})}, 3
    )


@settings(max_examples=30)
@given(changes=st.lists(st.dictionaries(KEYS, VALUES, max_size=30), min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory, changes: list[dict[bytes, bytes]]) -> None:
    path = tmp_path_factory.mktemp("bolt") / "metadata.db"
    assert read_database(path) == Bucket({})
    for entries in changes:
        content = _content(entries)
        write_database(path, content, durable=False)
        assert read_database(path) == content


def test_pages_are_used_again(tmp_path: Path) -> None:
    """A thousand changes of a database with several levels leave a file of about twice its content."""
    path, numbers = tmp_path / "db", random.Random(1)
    content = Bucket({})
    for number in range(400):
        content.bucket(b"volumes").entries[b"%04d" % number] = b"x" * 200
    write_database(path, content, durable=False)
    first = path.stat().st_size
    for _ in range(100):
        content.bucket(b"volumes").entries[b"%04d" % numbers.randrange(400)] = b"y" * numbers.randrange(300)
        write_database(path, content, durable=False)
    assert read_database(path) == content
    assert path.stat().st_size < 3 * first


def test_a_change_that_is_cut_off_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any write, or in the midst of one, the old content is there; afterwards the new one."""
    path = tmp_path / "db"
    old, new = _content({b"a": b"1" * 5000, b"b": b"2"}), _content({b"a": b"3", b"c": b"4" * 9000})
    write_database(path, old, durable=False)
    before = path.read_bytes()
    real, writes = os.pwrite, []
    monkeypatch.setattr(
        bolt.os, "pwrite", lambda fd, data, at: writes.append((data, at)) or real(fd, data, at)
    )
    write_database(path, new, durable=False)
    monkeypatch.undo()
    assert read_database(path) == new
    for count in range(len(writes)):
        torn = bytearray(before.ljust(max(at + len(data) for data, at in writes), b"\0"))
        for data, at in writes[:count]:
            torn[at : at + len(data)] = data
        data, at = writes[count]
        torn[at : at + len(data) // 2] = data[: len(data) // 2]
        path.write_bytes(torn)
        # Of the last write, the meta, half is all that says something.
        assert read_database(path) == (old if count < len(writes) - 1 else new)
        write_database(path, new, durable=False)
        assert read_database(path) == new


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_told_or_changes_nothing_else(tmp_path: Path, seed: int) -> None:
    path, numbers = tmp_path / "db", random.Random(seed)
    write_database(path, _content({b"%d" % number: b"x" * 100 for number in range(200)}), durable=False)
    data = bytearray(path.read_bytes())
    for _ in range(20):
        data[numbers.randrange(len(data))] = numbers.randrange(256)
    path.write_bytes(data[: numbers.choice((len(data), len(data) // 2, 100))])
    try:
        read_database(path)
    except CorruptDatabase as error:
        assert str(path) in str(error)
