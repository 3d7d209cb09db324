from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.tar import DIRECTORY, LINK, REGULAR, SYMLINK, Member, TarReader
from onggi.archive.tar_write import END_OF_ARCHIVE, format_header, padding

NAMES = st.binary(min_size=1, max_size=300).filter(
    lambda name: b"\0" not in name and not name.startswith(b"/")
)
MEMBERS = st.builds(
    Member,
    name=NAMES,
    type=st.sampled_from((REGULAR, LINK, SYMLINK)),
    mode=st.integers(0, 0o7777777),
    uid=st.integers(0, 2**31),
    gid=st.integers(0, 2**31),
    mtime_ns=st.integers(-(10**11), 10**12).map(lambda seconds: seconds * 10**9),
    linkname=NAMES,
)


@given(MEMBERS, st.dictionaries(st.sampled_from((b"user.a", b"security.capability")), st.binary(max_size=40)))
def test_what_is_written_is_read_back(member: Member, xattrs: dict[bytes, bytes]) -> None:
    member.xattrs = {name: value for name, value in xattrs.items() if b"\0" not in value and value}
    (read,) = TarReader([format_header(member) + END_OF_ARCHIVE])
    for field in ("name", "type", "mode", "uid", "gid", "mtime_ns", "linkname", "xattrs"):
        assert getattr(read, field) == getattr(member, field), field


def test_the_bytes_of_dockerd() -> None:
    """A header of a `docker save` of 20.10, by the tarfile module's own account."""
    member = Member(b"ab/json", REGULAR, 0o644, mtime_ns=1_700_000_000 * 10**9, size=785)
    info = tarfile.TarInfo("ab/json")
    info.mode, info.mtime, info.size, info.uname, info.gname = 0o644, 1_700_000_000, 785, "root", "root"
    theirs = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    # Python leaves device numbers of files empty, Go writes zeros.
    theirs[329:345] = b"0000000\x000000000\0"
    theirs[148:156] = b" " * 8
    theirs[148:156] = b"%06o\0 " % sum(theirs)
    assert format_header(member, user=b"root", group=b"root") == bytes(theirs)


@pytest.mark.parametrize("size", [8 << 30, (8 << 30) - 1, 1 << 40])
def test_sizes_beyond_the_field(size: int) -> None:
    header = format_header(Member(b"big", REGULAR, size=size))
    assert tarfile.TarInfo.frombuf(header[-512:], "utf-8", "strict").size == (size if size < 8 << 30 else 0)
    with tarfile.open(fileobj=io.BytesIO(header), mode="r:") as archive:
        info = archive.next()
    assert info is not None and info.size == size
    assert len(header) == (512 if size < 8 << 30 else 1536)


def test_long_names() -> None:
    """A prefix where it fits, a record where it does not; the record's header is named after the member."""
    fits = b"d" * 100 + b"/" + b"f" * 100
    assert len(format_header(Member(fits, REGULAR))) == 512
    header = format_header(Member(b"d" * 160 + b"/" + b"f" * 100, REGULAR))
    assert (header[156:157], len(header)) == (b"x", 1536)
    assert header[:100] == b"d" * 100
    header = format_header(Member("한/글/".encode(), DIRECTORY, 0o755))
    assert header[:30].rstrip(b"\0") == b"//PaxHeaders.0"
    assert b"path=\xed\x95\x9c/\xea\xb8\x80/\n" in header


def test_padding() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
