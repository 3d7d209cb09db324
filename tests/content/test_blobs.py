"""The directory of blobs: what is kept, what is found again, what a kill and a full disk leave."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.content.blobs import BlobStore
from onggi.content.errors import BlobDirectoryUnusable
from onggi.content.tuning import Tuning
from tests.content.sources import Source, describe

DATA = random.Random(4).randbytes(1_000_003)


@pytest.fixture
def store(tmp_path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", tuning=Tuning(backoff_s=0))


def fetch(store: BlobStore, source: Source, data: bytes = DATA) -> Path:
    return store.download(
        describe(data),
        source,
        on_progress=lambda frontier: None,
        on_retry=lambda seconds: None,
        limiter=None,
        cancel=CancelToken(60),
    )


def test_a_whole_blob_lies_under_its_digest(store, tmp_path):
    path = fetch(store, Source(DATA))
    digest = describe(DATA).digest
    assert path == store.final_path(digest) == tmp_path / "blobs" / "sha256" / digest.hex
    assert path.read_bytes() == DATA
    assert [entry.name for entry in path.parent.iterdir()] == [digest.hex]
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


def test_a_sound_blob_is_not_asked_for_again(store):
    fetch(store, Source(DATA))
    again = Source(DATA)
    fetch(store, again)
    assert again.asked == []


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA + b"x", b"\0" * len(DATA)])
def test_a_damaged_blob_is_received_again(store, damage):
    path = fetch(store, Source(DATA))
    path.write_bytes(damage)
    again = Source(DATA)
    assert fetch(store, again).read_bytes() == DATA
    assert again.asked == [(0, None)]


def test_partial_sizes(store):
    descriptor = describe(DATA)
    assert store.partial_size(descriptor) == 0
    partial = store.partial_path(descriptor.digest)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(DATA[:1234])
    assert store.partial_size(descriptor) == 1234
    fetch(store, Source(DATA))
    assert store.partial_size(descriptor) == len(DATA)


def test_discard_leaves_nothing(store):
    descriptor = describe(DATA)
    fetch(store, Source(DATA))
    for name in (".partial", ".spans"):
        store.final_path(descriptor.digest).with_suffix(name).write_bytes(b"[]")
    store.discard(descriptor.digest)
    assert list(store.final_path(descriptor.digest).parent.iterdir()) == []
    store.discard(descriptor.digest)


def test_other_digests_than_sha256(store):
    import hashlib
    from dataclasses import replace

    from onggi.oci.digest import Digest

    digest = Digest.parse("sha512:" + hashlib.sha512(DATA).hexdigest())
    descriptor = replace(describe(DATA), digest=digest)
    path = store.download(
        descriptor,
        Source(DATA),
        on_progress=lambda frontier: None,
        on_retry=lambda seconds: None,
        limiter=None,
        cancel=CancelToken(60),
    )
    assert path.parent.name == "sha512"
    assert path.read_bytes() == DATA


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "blobs").write_text("a file")
    with pytest.raises(BlobDirectoryUnusable) as caught:
        fetch(BlobStore(tmp_path / "blobs"), Source(DATA))
    assert str(tmp_path / "blobs") in str(caught.value)
    assert caught.value.hint


# --- with processes of their own ------------------------------------------------------------

_SCRIPT = """
    import os, random, signal, sys
    from pathlib import Path
    from onggi.cancel import CancelToken
    from onggi.content.blobs import BlobStore
    from onggi.errors import OnggiError
    from tests.content.sources import Source, describe

    data = random.Random(4).randbytes(1_000_003)
    stop_at = int(sys.argv[2])

    def progress(frontier):
        if stop_at and frontier >= stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    source = Source(data)
    try:
        path = BlobStore(Path(sys.argv[1])).download(
            describe(data), source, on_progress=progress, on_retry=print, limiter=None, cancel=CancelToken()
        )
    except OnggiError as error:
        print(type(error).__name__, error)
        sys.exit(1)
    print(source.asked, path.read_bytes() == data)
"""


def process(directory: Path, stop_at: int, file_limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if file_limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_SCRIPT), str(directory), str(stop_at)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        cwd=Path(__file__).parents[2],
        check=False,
    )


def test_a_killed_process_leaves_what_it_had(tmp_path):
    killed = process(tmp_path, 500_000)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    held = next((tmp_path / "sha256").glob("*.partial")).stat().st_size
    assert held >= 500_000
    second = process(tmp_path, 0)
    assert second.stdout.split("\n")[0] == f"[({held}, None)] True", second.stderr


def test_a_disk_without_room_is_an_error_with_path_and_bytes_and_nothing_is_lost(tmp_path):
    full = process(tmp_path, 0, file_limit=600_000)
    partial = next((tmp_path / "sha256").glob("*.partial"))
    assert full.returncode == 1, full.stderr
    assert full.stdout.strip() == (
        f"BlobDiskFull write {partial}: no space left on device ({1_000_003 - 524_288} more bytes needed)"
    )
    assert partial.read_bytes()[:524_288] == DATA[:524_288]
    second = process(tmp_path, 0)
    assert second.returncode == 0, second.stderr
    assert second.stdout.strip().endswith("True")
