import errno
import os
import stat

import pytest

from onggi.archive.tar import (
    DEVICE_BLOCK,
    DEVICE_CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    Member,
)
from onggi.tree.create import create_directory, create_file, create_node, create_symlink, refusal

CREATE = {
    REGULAR: create_file,
    DIRECTORY: create_directory,
    SYMLINK: create_symlink,
    DEVICE_CHARACTER: create_node,
    DEVICE_BLOCK: create_node,
    FIFO: create_node,
}


@pytest.fixture
def parent(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def create(parent, member):
    fd = CREATE[member.type](parent, member.name, member)
    if fd >= 0:
        os.close(fd)
    return fd


@pytest.mark.parametrize("kind", CREATE)
def test_modes_come_without_setuid_bits(tmp_path, parent, kind):
    fd = create(parent, Member(b"name", kind, 0o7641, linkname=b"target", devmajor=1, devminor=3))
    status = os.lstat(tmp_path / "name")
    assert stat.S_IMODE(status.st_mode) == (0o777 if kind == SYMLINK else 0o641)
    assert (fd >= 0) == (kind == REGULAR)


@pytest.mark.parametrize("kind", CREATE)
@pytest.mark.parametrize("existing", ["file", "directory", "link"])
def test_nothing_is_followed_or_replaced(tmp_path, parent, kind, existing):
    (tmp_path / "target").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    os.symlink("target", tmp_path / "link")
    with pytest.raises(FileExistsError):
        create(parent, Member(existing.encode(), kind, linkname=b"target"))
    assert (tmp_path / "target").read_text() == "x"


def refused(member, path):
    return str(refusal(OSError(errno.ENOENT, ""), member, path))


def test_words():
    member = Member(b"x", LINK, linkname=b"../a/./b")
    assert refused(member, b"d/x") == "link /a/b /d/x: no such file or directory"
    member.type, member.linkname = SYMLINK, b"../\xff"
    assert refused(member, b"d/x") == "symlink ../\\xff /d/x: no such file or directory"
    verbs = {REGULAR: "open", DIRECTORY: "mkdir", FIFO: "mknod", DEVICE_BLOCK: "mknod"}
    for kind, verb in verbs.items():
        assert refused(Member(b"x", kind), b"x") == f"{verb} /x: no such file or directory"
