import errno
import os
import subprocess

import pytest

from onggi.linux.filesystem import (
    is_mountpoint,
    renameat2_exchange,
    renameat2_noreplace,
    statfs_type,
    syncfs,
)
from onggi.linux.mount import bind_mount, unmount


def test_names_of_file_systems():
    known = {"ext2/ext3": "extfs", "tmpfs": "tmpfs", "xfs": "xfs", "btrfs": "btrfs", "overlayfs": "overlayfs"}
    for path in ("/", "/dev/shm", "/tmp"):
        told = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True)
        assert statfs_type(path) == known.get(told.stdout.strip(), "<unknown>")
    assert statfs_type(b"/proc") == "<unknown>"
    with pytest.raises(FileNotFoundError):
        statfs_type("/none")


def test_syncfs(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    syncfs(fd)
    os.close(fd)
    with pytest.raises(OSError) as caught:
        syncfs(fd)
    assert caught.value.errno == errno.EBADF


def test_exchange(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.write_text("file")
    renameat2_exchange(bytes(first), bytes(second))
    assert first.read_text() == "file"
    assert second.is_dir()
    with pytest.raises(FileNotFoundError) as caught:
        renameat2_exchange(str(first), str(tmp_path / "none"))
    assert caught.value.filename2 == str(tmp_path / "none")


def test_rename_over_nothing(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("one")
    second.write_text("two")
    with pytest.raises(FileExistsError):
        renameat2_noreplace(str(first), str(second))
    second.unlink()
    renameat2_noreplace(str(first), str(second))
    assert second.read_text() == "one"


def test_mountpoints(tmp_path):
    """A bind mount within one file system has the same device as its parent: os.path.ismount misses it."""
    source, target = tmp_path / "source", tmp_path / "a b\\c\tü"
    source.mkdir()
    target.mkdir()
    assert is_mountpoint("/proc")
    assert not is_mountpoint(target)
    bind_mount(source, target)
    try:
        assert is_mountpoint(target)
        assert is_mountpoint(os.fsencode(target))
        assert not is_mountpoint(source)
    finally:
        unmount(target)
    assert not is_mountpoint(target)
    assert not is_mountpoint(tmp_path / "none")
