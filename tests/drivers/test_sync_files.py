"""Flushing many files at once: all of them, data first, and no error is lost."""

from __future__ import annotations

import errno
import os

import pytest

from onggi.drivers import sync_files as module
from onggi.drivers.sync_files import sync_files


@pytest.fixture
def directories(tmp_path):
    """Two with 40 files in all, and things that are no files."""
    made = [tmp_path / "one", tmp_path / "two"]
    for directory in made:
        (directory / "below").mkdir(parents=True)
        (directory / "below" / "deeper").write_bytes(b"not asked for")
        (directory / "link").symlink_to("/etc/hostname")
        for number in range(20):
            (directory / f"file{number}").write_bytes(b"content")
    return made


@pytest.fixture
def calls(monkeypatch):
    """Each call and the path it was for, in order; ``broken`` paths fail."""
    seen: list[tuple[str, str]] = []
    broken: set[str] = set()

    def noting(name, call):
        def noted(fd):
            path = os.readlink(f"/proc/self/fd/{fd}")
            seen.append((name, path))
            if path in broken:
                raise OSError(errno.EIO, "broken", path)
            call(fd)

        return noted

    monkeypatch.setattr(module, "write_back", noting("write", module.write_back))
    monkeypatch.setattr(os, "fsync", noting("flush", os.fsync))
    return seen, broken


def files_of(directories):
    return [str(each / f"file{number}") for each in directories for number in range(20)]


def test_everything_is_written_and_then_flushed(directories, calls):
    seen, _ = calls
    sync_files(directories)
    written = [path for name, path in seen if name == "write"]
    flushed = [path for name, path in seen if name == "flush"]
    assert sorted(written) == sorted(files_of(directories))
    assert sorted(flushed) == sorted([*files_of(directories), *map(str, directories)])
    assert [name for name, _ in seen] == ["write"] * len(written) + ["flush"] * len(flushed)


@pytest.mark.parametrize("number", [0, 17])
def test_an_error_is_told(directories, calls, number):
    seen, broken = calls
    broken.add(files_of(directories)[number])
    with pytest.raises(OSError, match="broken"):
        sync_files(directories)
    assert not any(name == "flush" for name, _ in seen)


def test_nothing_to_do(calls):
    sync_files([])
    assert calls[0] == []
