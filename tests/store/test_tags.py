"""repositories.json: Docker's bytes, Docker's rules, one writer at a time."""

from __future__ import annotations

import json
import threading

import pytest

from onggi.oci.digest import Digest, ImageID
from onggi.oci.reference import Reference
from onggi.store.locks import LockDirectory
from onggi.store.tags import AmbiguousName, CorruptRepositories, DigestTaken, TagStore

ONE, TWO = ImageID("sha256:" + "1" * 64), ImageID("sha256:" + "2" * 64)
DIGEST = Digest("sha256:" + "d" * 64)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "repositories.json"


@pytest.fixture
def tags(path, tmp_path):
    store = TagStore(path, LockDirectory(tmp_path / "locks"))
    store.create()
    return store


def put(tags, name, image_id):
    with tags.transaction("test") as names:
        return names.set(Reference.parse(name), image_id)


def test_empty_store_is_dockers(tags, path):
    assert path.read_bytes() == b'{"Repositories":{}}'
    assert path.stat().st_mode & 0o7777 == 0o600


def test_bytes_are_dockers(tags, path):
    put(tags, "127.0.0.1:5000/foo/t1:v1", ONE)
    put(tags, f"127.0.0.1:5000/foo/t1@{DIGEST}", ONE)
    put(tags, "bb", TWO)
    name = "127.0.0.1:5000/foo/t1"
    expected = (
        f'{{"Repositories":{{"{name}":{{"{name}:v1":"{ONE}","{name}@{DIGEST}":"{ONE}"}},'
        f'"bb":{{"bb:latest":"{TWO}"}}}}}}'
    )
    assert path.read_text() == expected


def test_find_prefers_the_digest(tags):
    put(tags, "nginx:1", ONE)
    put(tags, f"nginx@{DIGEST}", TWO)
    names = tags.snapshot()
    assert names.find(Reference.parse("nginx:1")) == ONE
    assert names.find(Reference.parse(f"nginx:1@{DIGEST}")) == TWO
    assert names.find(Reference.parse("nginx")) is None


def test_digest_is_never_repointed(tags, path):
    put(tags, f"nginx@{DIGEST}", ONE)
    before = path.read_bytes()
    with pytest.raises(DigestTaken, match="Cannot overwrite digest"):
        put(tags, f"nginx@{DIGEST}", TWO)
    assert path.read_bytes() == before


def test_sha256_is_no_repository(tags):
    with pytest.raises(AmbiguousName):
        put(tags, "sha256:x", ONE)


def test_last_name_takes_the_repository_along(tags, path):
    put(tags, "a:1", ONE)
    with tags.transaction("test") as names:
        assert names.remove(Reference.parse("a:1")) == ONE
        assert names.remove(Reference.parse("a:2")) is None
    assert path.read_bytes() == b'{"Repositories":{}}'


def test_foreign_entries_are_kept(tags, path):
    path.write_text(json.dumps({"Repositories": {"X Y": {"not a reference!": ONE}}}))
    put(tags, "a", TWO)
    assert json.loads(path.read_text())["Repositories"]["X Y"] == {"not a reference!": ONE}
    assert [str(reference) for reference, _ in tags.snapshot().items()] == ["docker.io/library/a:latest"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Repositories":[]}', '{"Repositories":{"a":{"a:b":1}}}'])
def test_corrupt_file_is_named_and_kept(tags, path, text):
    path.write_text(text)
    with pytest.raises(CorruptRepositories, match=r"repositories\.json"):
        put(tags, "a", ONE)
    assert path.read_text() == text


def test_failed_transaction_writes_nothing(tags, path):
    with pytest.raises(RuntimeError), tags.transaction("test") as names:
        names.set(Reference.parse("a"), ONE)
        raise RuntimeError
    assert path.read_bytes() == b'{"Repositories":{}}'


def test_concurrent_writers_lose_nothing(tags):
    threads = [threading.Thread(target=put, args=(tags, f"n{i}:t", ONE)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tags.snapshot().items())) == 20


def test_what_names_mean_is_flushed_before_they_do(tags, path):
    seen = []
    with tags.transaction("test", first=lambda: seen.append(path.read_bytes())) as names:
        names.set(Reference.parse("web"), ONE)
    assert seen == [b'{"Repositories":{}}']
    assert tags.snapshot().find(Reference.parse("web")) == ONE


def test_it_is_flushed_for_names_that_meant_it_before(tags):
    put(tags, "web", ONE)
    seen = []
    with tags.transaction("test", first=lambda: seen.append("flushed")) as names:
        names.set(Reference.parse("web"), ONE)
    assert seen == ["flushed"]


def test_names_do_not_come_to_mean_what_cannot_be_flushed(tags, path):
    def fail() -> None:
        raise OSError("broken disk")

    with pytest.raises(OSError, match="broken disk"), tags.transaction("test", first=fail) as names:
        names.set(Reference.parse("web"), ONE)
    assert path.read_bytes() == b'{"Repositories":{}}'
    assert not list(path.parent.glob(".tmp-*"))
