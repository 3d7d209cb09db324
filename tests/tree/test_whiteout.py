import os
import stat

import pytest

from onggi.tree.errors import HostRefuses, InvalidLayer
from onggi.tree.whiteout import belongs_to_overlay, is_whiteout, make_opaque, make_whiteout


@pytest.fixture
def parent(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_whiteout_is_made_and_known(tmp_path, parent):
    make_whiteout(parent, b"", b"gone", 3, 4)
    status = os.lstat(tmp_path / "gone")
    assert is_whiteout(status)
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0, 3, 4)


def test_what_is_no_whiteout(tmp_path):
    (tmp_path / "file").write_text("")
    os.mknod(tmp_path / "null", stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "block", stat.S_IFBLK, 0)
    for name in ("file", "null", "fifo", "block", "."):
        assert not is_whiteout(os.lstat(tmp_path / name))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"exists"])
def test_names_that_are_there(tmp_path, parent, name):
    (tmp_path / "exists").write_text("")
    with pytest.raises(InvalidLayer, match=r'failed to mknod\("/.*", S_IFCHR, 0\): file exists'):
        make_whiteout(parent, b"", name, 0, 0)


def test_opaque(tmp_path, parent):
    make_opaque(parent, b"")
    assert os.getxattr(tmp_path, "trusted.overlay.opaque") == b"y"


def test_opaque_where_it_cannot_be():
    fd = os.open("/proc/self", os.O_RDONLY)
    try:
        with pytest.raises(
            (HostRefuses, InvalidLayer), match=r'setxattr\("/d", trusted.overlay.opaque=y\): '
        ):
            make_opaque(fd, b"d")
    finally:
        os.close(fd)


def test_namespaces_of_overlayfs():
    assert belongs_to_overlay(b"trusted.overlay.opaque")
    assert belongs_to_overlay(b"user.overlay.redirect")
    assert belongs_to_overlay(b"trusted.overlay.overlay.whiteout")
    assert not belongs_to_overlay(b"trusted.overlayer")
    assert not belongs_to_overlay(b"security.capability")
