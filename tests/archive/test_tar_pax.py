import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.tar_format import InvalidTar, Member, TarTooLarge
from onggi.archive.tar_pax import (
    merge_records,
    parse_old_sparse_map,
    parse_records,
    parse_sparse_map_0_1,
    parse_sparse_map_1_0,
    sparse_version,
    validate_sparse_map,
)
from tests.archive.tar_blocks import octal, record

keywords = st.binary(min_size=1, max_size=20).filter(lambda key: b"=" not in key and b"\0" not in key)


def merged(**records):
    member = Member(b"name", ord("0"))
    merge_records(member, {key.encode(): value for key, value in records.items()})
    return member


@given(st.dictionaries(keywords, st.binary(max_size=200)))
def test_records_come_back(records):
    special = (b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.offset", b"GNU.sparse.numbytes")
    records = {key: value for key, value in records.items() if key not in special}
    assert parse_records(b"".join(record(key, value) for key, value in records.items())) == records


def test_a_later_record_wins():
    assert parse_records(record(b"path", b"a") + record(b"path", b"b")) == {b"path": b"b"}


def test_a_value_may_hold_anything():
    value = b"a=b\nc\0d"
    assert parse_records(record(b"SCHILY.xattr.user.x", value)) == {b"SCHILY.xattr.user.x": value}


@pytest.mark.parametrize(
    "data",
    [
        b"path=x\n",
        b"9 path=x",
        b"8 path=xZ",
        b"999 path=x\n",
        b"4 =\n",
        b"5 =x\n",
        b"8 pathx\n",
        b"-9 path=x\n",
        b"1_0 path=x\n",
        b"0 \n",
        b"1 \n",
        b"3 =\n\n\n",
        b"\0\0\0\0",
        b"99999999999999999999999 path=x\n",
        record(b"path", b"a\0b"),
        record(b"linkpath", b"a\0b"),
        record(b"ke\0y", b"a"),
        record(b"GNU.sparse.numbytes", b"1"),
        record(b"GNU.sparse.offset", b"1,2"),
    ],
)
def test_broken_records(data):
    with pytest.raises(InvalidTar):
        parse_records(data)


@given(st.binary(max_size=60))
def test_junk_is_an_error_of_ours(data):
    try:
        parse_records(data)
    except InvalidTar:
        pass


def test_every_field():
    member = merged(
        path=b"p",
        linkpath=b"l",
        size=b"5",
        uid=b"3000000",
        gid=b"-4",
        mtime=b"1.5",
        atime=b"2",
        ctime=b"3",
        uname=b"u",
    )
    assert (member.name, member.linkname, member.size, member.uid, member.gid) == (b"p", b"l", 5, 3000000, -4)
    assert (member.mtime_ns, member.atime_ns) == (1_500_000_000, 2_000_000_000)


def test_empty_values_keep_the_header():
    assert merged(path=b"", mtime=b"", size=b"").name == b"name"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"0", 0),
        (b"12.", 12_000_000_000),
        (b"1.000000001", 1_000_000_001),
        (b"1.9999999999", 1_999_999_999),
        (b"-1.5", -1_500_000_000),
        (b"-0.5", -500_000_000),
        (b"+3", 3_000_000_000),
    ],
)
def test_times(text, nanoseconds):
    assert merged(mtime=text).mtime_ns == nanoseconds


@pytest.mark.parametrize(
    "text", [b"x", b".5", b"1.x", b"1.5.5", b" 1", b"1_0", b"9223372036854775808", b"1" * 4000]
)
def test_broken_times(text):
    for key in ("mtime", "atime", "ctime"):
        with pytest.raises(InvalidTar):
            merged(**{key: text})


@pytest.mark.parametrize("text", [b"0x5", b"5.0", b"1_0", b" 5", b"9223372036854775808"])
def test_broken_numbers(text):
    for key in ("uid", "gid", "size"):
        with pytest.raises(InvalidTar):
            merged(**{key: text})


def test_attributes_keep_their_empty_values():
    member = Member(b"name", ord("0"))
    merge_records(
        member, {b"SCHILY.xattr.user.a": b"", b"LIBARCHIVE.xattr.user.b": b"x", b"SCHILY.xattr.c": b"\0"}
    )
    assert member.xattrs == {b"user.a": b"", b"c": b"\0"}


def test_a_flood_of_attributes_is_refused():
    flood = {b"SCHILY.xattr.user.%06d" % number: b"" for number in range(6000)}
    with pytest.raises(TarTooLarge, match="attributes"):
        merge_records(Member(b"name", ord("0")), flood)


@pytest.mark.parametrize(
    ("records", "version"),
    [
        ({}, b""),
        ({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}, b"1.0"),
        ({b"GNU.sparse.major": b"0", b"GNU.sparse.minor": b"1"}, b"0.1"),
        ({b"GNU.sparse.major": b"0", b"GNU.sparse.minor": b"0"}, b"0.1"),
        ({b"GNU.sparse.map": b"1,2"}, b"0.1"),
        ({b"GNU.sparse.major": b"2", b"GNU.sparse.map": b"1,2"}, b""),
        ({b"GNU.sparse.minor": b"0", b"GNU.sparse.map": b"1,2"}, b""),
    ],
)
def test_sparse_versions(records, version):
    assert sparse_version(records) == version


def test_pairs_of_0_0_become_a_map():
    data = b"".join(
        record(b"GNU.sparse.offset", b"%d" % offset) + record(b"GNU.sparse.numbytes", b"%d" % length)
        for offset, length in ((1, 2), (5, 6))
    )
    records = parse_records(data) | {b"GNU.sparse.numblocks": b"2"}
    assert parse_sparse_map_0_1(records) == ((1, 2), (5, 6))


@pytest.mark.parametrize("count", [b"1", b"3", b"-2", b"", b"x"])
def test_a_wrong_count_of_pairs(count):
    with pytest.raises(InvalidTar):
        parse_sparse_map_0_1({b"GNU.sparse.numblocks": count, b"GNU.sparse.map": b"1,2,5,6"})


def test_map_of_1_0():
    assert parse_sparse_map_1_0(b"2\n1\n2\n5\n6\n" + bytes(502)) == ((1, 2), (5, 6))
    assert parse_sparse_map_1_0(b"0\n" + bytes(510)) == ()


def test_old_map():
    block = bytearray(512)
    block[386:434] = octal(1, 12) + octal(2, 12) + octal(5, 12) + octal(6, 12)
    assert parse_old_sparse_map(bytes(block), 386, 4) == ([(1, 2), (5, 6)], False)
    block[482] = 1
    assert parse_old_sparse_map(bytes(block), 386, 4)[1]


@pytest.mark.parametrize(
    "pairs", [((-1, 2),), ((1, -2),), ((1, 2), (2, 2)), ((8, 3),), ((5, 1), (1, 1)), ((2**63, 1),)]
)
def test_maps_that_cannot_be(pairs):
    with pytest.raises(InvalidTar):
        validate_sparse_map(pairs, 10)


def test_maps_that_can_be():
    validate_sparse_map((), 0)
    validate_sparse_map(((0, 5), (5, 5), (10, 0)), 10)
    with pytest.raises(InvalidTar):
        validate_sparse_map((), -1)
