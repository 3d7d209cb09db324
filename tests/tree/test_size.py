import os
import stat
import subprocess

from onggi.tree.size import disk_usage, tree_size


def size(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return tree_size(fd)
    finally:
        os.close(fd)


def test_docker_counts_so(tmp_path):
    """22 = 5 + 11 + 4 + 1 + 1, as dockerd wrote it (docker-engine.md §6.9)."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "hello").write_bytes(b"hello")
    (tmp_path / "f").write_bytes(b"elevenbytes")
    os.link(tmp_path / "f", tmp_path / "d" / "hard")
    os.symlink("four", tmp_path / "link")
    os.symlink("d", tmp_path / "to-a-directory")
    (tmp_path / "one").write_bytes(b"1")
    os.setxattr(tmp_path / "one", "user.x", b"not counted")
    os.mknod(tmp_path / "whiteout", stat.S_IFCHR, 0)
    os.mknod(tmp_path / "disk", stat.S_IFBLK, os.makedev(7, 0))
    os.mkfifo(tmp_path / "fifo")
    assert size(tmp_path) == 22


def test_an_empty_tree(tmp_path):
    assert size(tmp_path) == 0


def test_holes_count_and_links_to_links_once(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    os.symlink("target", tmp_path / "a")
    os.link(tmp_path / "a", tmp_path / "b", follow_symlinks=False)
    assert size(tmp_path) == (1 << 40) + 6


def test_blocks_as_du_counts_them(tmp_path):
    """Directories, hard links once, holes not at all; files and names that are not there."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/full").write_bytes(os.urandom(10_000))
    os.link(tmp_path / "a/full", tmp_path / "a/b/again")
    with open(tmp_path / "a/holes", "wb") as file:
        file.truncate(10_000_000)
    os.symlink("/usr", tmp_path / "a/link")
    for path in (tmp_path, tmp_path / "a/full", tmp_path / "a/link"):
        du = subprocess.run(["du", "-s", "-B1", path], capture_output=True, text=True, check=True)
        assert disk_usage(path) == int(du.stdout.split()[0])
    assert disk_usage(tmp_path / "nothing") == 0
