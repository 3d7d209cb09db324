import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.tar_format import (
    InvalidTar,
    clamp_path,
    clean_path,
    parse_header,
    parse_number,
)
from tests.archive.tar_blocks import GNU, USTAR, V7, base256, checksum, header, octal


def parse(block):
    return parse_header(block, {})


def test_all_fields():
    member = parse(
        header(
            b"bin/sh", b"3", mode=0o4755, uid=1, gid=2, mtime=3, linkname=b"to", device=(4, 5), prefix=b"usr"
        )
    )
    assert (member.name, member.linkname, chr(member.type)) == (b"usr/bin/sh", b"to", "3")
    assert (member.mode, member.uid, member.gid, member.mtime_ns) == (0o4755, 1, 2, 3_000_000_000)
    assert (member.devmajor, member.devminor, member.atime_ns) == (4, 5, None)
    assert repr(member) == "Member(b'usr/bin/sh', '3', 0 bytes)"


def test_fields_may_fill_their_width():
    member = parse(header(b"n" * 100, linkname=b"l" * 100, patch={345: b"p" * 155}))
    assert member.name == b"p" * 155 + b"/" + b"n" * 100
    assert member.linkname == b"l" * 100


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"644\0junk", 0o644),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"        ", 0),
        (b"77777777", 0o77777777),
        (base256(5, 8), 5),
        (base256(-1, 8), -1),
        (base256(2**55 - 1, 8), 2**55 - 1),
        (base256(-(2**50), 12), -(2**50)),
        (base256(2**63 - 1, 12), 2**63 - 1),
    ],
)
def test_numbers(field, value):
    assert parse_number(field) == value


@pytest.mark.parametrize(
    "field",
    [
        b"0000648\0",
        b"-000644\0",
        b"+000644\0",
        b"0o64444\0",
        b"6_4\0\0\0\0\0",
        b"6 4\0\0\0\0\0",
        b"0x1\0\0\0\0\0",
    ],
)
def test_no_numbers(field):
    with pytest.raises(InvalidTar):
        parse_number(field)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**90])
def test_numbers_beyond_64_bits(value):
    with pytest.raises(InvalidTar):
        parse_number(base256(value, 12))


@given(st.integers(-(2**63), 2**63 - 1))
def test_binary_numbers_come_back(value):
    assert parse_number(base256(value, 12)) == value


@given(st.binary(min_size=512, max_size=512), st.booleans())
def test_either_checksum_is_accepted(block, signed):
    """Also of headers that hold nothing but high bytes."""
    start = bytearray(block)
    start[100:156] = b"0000644\0" + b"0000000\0" * 2 + b"00000000000\0" * 2 + b" " * 8
    start[257:265] = V7
    start[148:156] = b"%06o\0 " % max(checksum(start, signed=signed), 0)
    if checksum(start, signed=signed) >= 0:
        assert parse(bytes(start)).mode == 0o644


@given(st.integers(0, 511), st.integers(1, 255))
def test_any_changed_byte_is_noticed(offset, difference):
    block = bytearray(header(b"some/name", linkname=b"target", mtime=1_700_000_000))
    block[offset] = (block[offset] + difference) % 256
    if not 148 <= offset < 156:
        with pytest.raises(InvalidTar):
            parse(bytes(block))


def test_a_sum_of_another_size_but_the_same_remainder_is_noticed():
    """The fast sum is taken modulo 65521: it may be used only where no sum is that large."""
    block = bytearray(
        header(b"\xfe" * 100, linkname=b"\xfe" * 100, patch={265: b"\xfe" * 64, 345: b"\xfe" * 155})
    )
    true = checksum(block)
    assert true > 65521
    block[148:156] = b"%06o\0 " % (true - 65521)
    with pytest.raises(InvalidTar):
        parse(bytes(block))


def test_v7_has_no_devices_and_no_prefix():
    member = parse(header(b"f", magic=V7, patch={329: b"garbage!garbage!", 345: b"prefix"}))
    assert (member.name, member.devmajor) == (b"f", 0)


def test_bad_device_numbers_are_an_error_in_every_other_dialect():
    for magic in (USTAR, GNU):
        with pytest.raises(InvalidTar):
            parse(header(b"f", magic=magic, patch={329: b"garbage!"}))


def test_an_odd_magic_is_v7():
    assert parse(header(b"f", magic=b"ustar 00", prefix=b"p")).name == b"f"
    assert parse(header(b"f", magic=b"ustar\0xx", prefix=b"p")).name == b"p/f"


def test_star_has_times_and_a_shorter_prefix():
    member = parse(header(b"f", patch={345: b"p" * 131, 476: octal(7, 12), 488: octal(8, 12), 508: b"tar\0"}))
    assert member.name == b"p" * 131 + b"/f"
    assert member.atime_ns == 7_000_000_000


def test_gnu_times_or_the_prefix_of_an_old_go():
    assert parse(header(b"f", magic=GNU, patch={345: octal(7, 12)})).atime_ns == 7_000_000_000
    assert parse(header(b"f", magic=GNU, patch={345: b"some/dir"})).name == b"some/dir/f"
    assert parse(header(b"f", magic=GNU, patch={345: b"some/\xff"})).name == b"f"
    assert parse(header(b"f", magic=GNU)).atime_ns is None


def test_the_cache_of_numbers_is_bounded():
    numbers = {}
    for number in range(5000):
        assert parse_header(header(b"f", mode=number, mtime=number), numbers).mode == number
    assert len(numbers) < 5000


CLEANED = {
    b"": b".",
    b".": b".",
    b"./": b".",
    b"./.": b".",
    b"/": b"/",
    b"a/": b"a",
    b"./a": b"a",
    b".//a": b"a",
    b"./../a": b"../a",
    b"a//b/./c/": b"a/b/c",
    b"a/../../b": b"../b",
    b"../../a": b"../../a",
    b"/../a": b"/a",
    b"..a/.b/c.": b"..a/.b/c.",
    b"a/..": b".",
    b"a\xff//b": b"a\xff/b",
}


@pytest.mark.parametrize("path", CLEANED)
def test_clean(path):
    assert clean_path(path) == CLEANED[path]


@given(st.lists(st.sampled_from([b"/", b".", b"..", b"a", b"./", b"/b"]), max_size=9).map(b"".join))
def test_clean_is_normpath(path):
    """Python's differs in one thing: two leading slashes stay."""
    assert clean_path(path) == posixpath.normpath(b"/" + path.lstrip(b"/") if path[:1] == b"/" else path)


@given(st.lists(st.sampled_from([b"/", b".", b"..", b"a", b"./", b"/b"]), max_size=9).map(b"".join))
def test_clamped_paths_stay_inside(path):
    clamped = clamp_path(path)
    assert clamped == posixpath.normpath(b"/" + path.lstrip(b"/"))[1:]
    assert b".." not in clamped.split(b"/")
