import os
import resource

import pytest

from onggi.tree.size import tree_size
from onggi.tree.walk import remove, scan_tree


@pytest.fixture
def top(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def deep_tree(parent_fd, depth):
    """A chain of directories, each with a file; far below where the kernel takes a path."""
    fd = os.dup(parent_fd)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_scan_gives_parents_first(tmp_path, top):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_text("")
    os.symlink("/", tmp_path / "a" / "link")
    seen = {path: sorted(entry.name for entry in entries) for path, _, entries in scan_tree(top)}
    assert seen == {b"": ["a"], b"a": ["b", "file", "link"], b"a/b": []}
    assert list(seen)[:2] == [b"", b"a"]


def test_names_of_any_bytes(tmp_path, top):
    os.mkdir(bytes(tmp_path) + b"/d\xff")
    os.close(os.open(bytes(tmp_path) + b"/d\xff/\xfe\n", os.O_CREAT))
    assert [path for path, _, _ in scan_tree(top)] == [b"", b"d\xff"]
    remove(top, b"d\xff")
    assert os.listdir(tmp_path) == []


def test_remove(tmp_path, top):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "file").write_text("x")
    (tmp_path / "d" / "e").mkdir(parents=True)
    os.symlink("../keep", tmp_path / "d" / "link")
    os.link(tmp_path / "keep" / "file", tmp_path / "d" / "e" / "hard")
    os.mkfifo(tmp_path / "d" / "fifo")
    for name in (b"d", b"none"):
        remove(top, name)
    assert os.listdir(tmp_path) == ["keep"]
    assert (tmp_path / "keep" / "file").read_text() == "x"
    os.symlink("keep", tmp_path / "link")
    remove(top, b"link")
    remove(top, b"keep")
    assert os.listdir(tmp_path) == []


def test_deep_trees(tmp_path, top):
    """Deeper than there are descriptors, and than a path is long."""
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    deep_tree(top, 2100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    try:
        assert sum(1 for _ in scan_tree(top)) == 2101
        assert tree_size(top) == 0
        remove(top, b"d")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(tmp_path) == ["file"]
    assert len(os.listdir("/proc/self/fd")) == before
