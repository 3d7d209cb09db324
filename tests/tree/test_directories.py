import os

import pytest

from onggi.tree.directories import Directories


@pytest.fixture
def opened(tmp_path):
    """A function that makes Directories over the temporary directory, and cleans up."""
    root_fd = os.open(tmp_path, os.O_RDONLY)
    made = []

    def make(limit=4):
        made.append(Directories(root_fd, limit))
        return made[-1]

    yield make
    for directories in made:
        directories.forget()
    os.close(root_fd)


def test_descriptors_are_kept_up_to_the_limit(tmp_path, opened):
    directories = opened(4)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        (tmp_path / f"d{number}").mkdir()
        directories.get(b"d%d" % number)
    assert len(os.listdir("/proc/self/fd")) == before + 4
    directories.forget()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_last_used_stay(tmp_path, opened):
    directories = opened(2)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first = directories.get(b"a")
    directories.get(b"b")
    assert directories.get(b"a") == first
    directories.get(b"c")
    assert os.path.samestat(os.fstat(first.fd), os.stat(tmp_path / "a"))


def test_what_inherits(tmp_path, opened):
    for name, mode, group in (("plain", 0o755, 0), ("setgid", 0o2755, 0), ("grouped", 0o755, 50)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, 0, group)
        os.chmod(tmp_path / name, mode)
    directories = opened()
    assert [directories.get(name).inherits for name in (b"plain", b"setgid", b"grouped")] == [
        False,
        True,
        True,
    ]


def test_make_all(tmp_path, opened):
    directories = opened(2)
    (tmp_path / "a").mkdir()
    os.symlink("/a", tmp_path / "link")
    made = directories.make_all(b"link/b/c/d")
    assert os.path.samestat(os.fstat(made.fd), os.stat(tmp_path / "a" / "b" / "c" / "d"))
    assert os.stat(tmp_path / "a" / "b").st_mode == 0o40755


def test_make_all_names_the_component_that_fails(tmp_path, opened):
    (tmp_path / "file").write_text("")
    (tmp_path / "d").mkdir()
    os.symlink("none", tmp_path / "d" / "dangling")
    directories = opened()
    with pytest.raises(FileExistsError) as exists:
        directories.make_all(b"d/dangling/x/y")
    assert exists.value.filename == b"d/dangling"
    with pytest.raises(NotADirectoryError) as file:
        directories.make_all(b"file/x")
    assert file.value.filename == b"file"


def test_dangling(tmp_path, opened):
    os.symlink("none", tmp_path / "dangling")
    (tmp_path / "d").mkdir()
    directories = opened()
    answers = [
        directories.is_dangling(path) for path in (b"dangling", b"d", b"none", b"none/x", b"dangling/x", b"")
    ]
    assert answers == [True, False, False, False, False, False]
