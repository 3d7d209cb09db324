"""A file system that is really full, with one connection and with several."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onggi.content.errors import BlobDiskFull
from onggi.linux.mount_calls import mount, unmount
from tests.content.sources import Source
from tests.content.test_download import DATA, QUICK, Case
from tests.content.test_helpers import DATA as LARGE
from tests.content.test_helpers import SLOW, SlowStart


@pytest.fixture
def small(tmp_path_factory):
    """A directory on a tmpfs of 8 MiB."""
    directory = tmp_path_factory.mktemp("small")
    mount("tmpfs", directory, "tmpfs", 0, "size=8m")
    yield directory
    unmount(directory)


def leave(directory: Path, room_bytes: int) -> Path:
    """A file that leaves so much room."""
    filler = directory / "filler"
    status = os.statvfs(directory)
    filler.write_bytes(bytes(status.f_bavail * status.f_frsize - room_bytes))
    return filler


def test_what_is_here_stays_and_the_next_pull_goes_on(small):
    filler = leave(small, 400_000)
    case = Case(small, DATA, QUICK)
    with pytest.raises(BlobDiskFull) as caught:
        case.run(Source(DATA))
    held = case.path.stat().st_size
    assert 0 < held <= 400_000
    assert DATA.startswith(case.path.read_bytes())
    assert str(case.path) in str(caught.value)
    assert caught.value.missing_bytes >= len(DATA) - held
    filler.unlink()
    source = Source(DATA)
    case.run(source)
    assert case.holds(DATA)
    assert source.asked == [(held, None)]


def test_not_even_the_first_byte_fits(small):
    filler = leave(small, 0)
    case = Case(small, DATA, QUICK)
    with pytest.raises(BlobDiskFull):
        case.run(Source(DATA))
    filler.unlink()
    case.run(Source(DATA))
    assert case.holds(DATA)


def test_with_several_connections(small):
    filler = leave(small, len(LARGE) // 2)
    case = Case(small, LARGE, SLOW)
    with pytest.raises(BlobDiskFull):
        case.run(SlowStart(LARGE))
    filler.unlink()
    case.run(Source(LARGE))
    assert case.holds(LARGE)
