import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.tar import REGULAR, Member
from onggi.linux.mount import bind_mount, unmount
from onggi.tree.errors import HostRefuses
from onggi.tree.metadata import (
    clamped_times,
    kernel_id,
    set_mode,
    set_owner,
    set_xattrs,
    set_xattrs_at,
)

SECOND = 1_000_000_000
LAST = 2**63 - 1


@pytest.mark.parametrize(
    ("atime", "mtime", "expected"),
    [
        (None, 5, (5, 5)),
        (3, 5, (5, 5)),
        (9, 5, (9, 5)),
        (None, -1, (0, 0)),
        (-9, -1, (0, 0)),
        (9, -1, (9, 0)),
        (None, LAST, (LAST, LAST)),
        (None, LAST + 1, (0, 0)),
        (LAST + 1, 5, (0, 5)),
    ],
)
def test_times(atime, mtime, expected):
    assert clamped_times(Member(b"x", REGULAR, mtime_ns=mtime, atime_ns=atime)) == expected


@given(st.integers(-(2**63), 2**63 - 1), st.none() | st.integers(-(2**63), 2**63 - 1))
def test_all_times_can_be_set(mtime, atime):
    for time in clamped_times(Member(b"x", REGULAR, mtime_ns=mtime * 1000, atime_ns=atime)):
        assert 0 <= time <= LAST


@given(st.integers(-(2**63), 2**63 - 1))
def test_all_numbers_can_be_set(number):
    assert -1 <= kernel_id(number) < 2**32 - 1


def test_ids_are_cut_to_32_bits():
    assert [kernel_id(number) for number in (0, 70000, 2**32 + 5, -2, -1, 2**32 - 1)] == [
        0,
        70000,
        5,
        2**32 - 2,
        -1,
        -1,
    ]


def test_names_are_not_followed(tmp_path):
    (tmp_path / "target").write_text("")
    os.symlink("target", tmp_path / "link")
    fd = os.open(tmp_path, os.O_RDONLY)
    member = Member(b"link", REGULAR, uid=5, gid=6)
    member.xattrs[b"trusted.x"] = b"1"
    set_owner(b"link", member, b"link", fd)
    set_xattrs_at(fd, b"link", member, b"link", pytest.fail)
    os.close(fd)
    assert (os.lstat(tmp_path / "link").st_uid, os.stat(tmp_path / "target").st_uid) == (5, 0)
    assert os.listxattr(tmp_path / "link", follow_symlinks=False) == ["trusted.x"]
    assert os.listxattr(tmp_path / "target") == []


def test_by_descriptor(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    member = Member(b"file", REGULAR, uid=5, gid=6)
    member.xattrs.update({b"user.x": b"1", b"user.overlay.y": b"2", b"none.z": b"3"})
    warnings = []
    set_owner(fd, member, b"file")
    set_xattrs(fd, member, b"file", warnings.append)
    set_mode(fd, 0o4711, b"file")
    os.close(fd)
    status = os.stat(tmp_path / "file")
    assert (status.st_uid, status.st_gid, status.st_mode) == (5, 6, 0o104711)
    assert os.listxattr(tmp_path / "file") == ["user.x"]
    assert [text.split(": ")[1] for text in warnings] == [
        "ignored attribute user.overlay.y",
        "ignored attribute none.z",
    ]


def test_refusals_name_the_member(tmp_path):
    (tmp_path / "f").write_text("")
    bind_mount(tmp_path, tmp_path, read_only=True)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    member = Member(b"f", REGULAR, uid=5, gid=6)
    try:
        words = 'failed to Lchown "/f" for UID 5, GID 6: lchown /f: read-only file system'
        with pytest.raises(HostRefuses, match=words):
            set_owner(fd, member, b"f")
        with pytest.raises(HostRefuses, match="chmod /f: read-only file system"):
            set_mode(fd, 0o777, b"f")
    finally:
        os.close(fd)
        unmount(tmp_path)
