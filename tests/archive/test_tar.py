import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.tar import (
    DIRECTORY,
    GLOBAL_HEADER,
    REGULAR,
    InvalidTar,
    TarReader,
    TarTooLarge,
    TruncatedTar,
)
from tests.archive.tar_blocks import (
    END,
    GNU,
    USTAR,
    base256,
    directory,
    gnu_long,
    header,
    link,
    member,
    octal,
    padded,
    pax,
    symlink,
)
from tests.archive.tar_strategies import archives, cut


class Recorder:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.stream = b""
        self.calls = []

    def segment(self, data):
        assert data
        self.stream += data
        self.calls.append(("segment", len(data)))

    def begin(self, member):
        self.calls.append(("begin", member.name))

    def content(self, piece):
        self.stream += piece
        self.calls.append(("content", len(piece)))

    def finish(self, member):
        self.calls.append(("finish", member.name))

    def end(self):
        self.calls.append(("end",))


def members(data, size=0):
    """All members with their contents."""
    reader = TarReader(cut(data, size or max(len(data), 1)))
    return [(found, b"".join(reader.read_content())) for found in reader]


def names(data):
    return [found.name for found, _ in members(data)]


def only(data):
    ((found, content),) = members(data)
    return found, content


# -- the stream


@given(archives, st.integers(1, 2000))
def test_chunk_sizes_do_not_matter(data, size):
    def seen(size):
        found = []
        try:
            for one, content in members(data, size):
                found.append((one.name, one.type, one.size, one.mtime_ns, one.sparse, content))
        except InvalidTar as error:
            found.append((str(error), error.offset))
        return found

    assert seen(size) == seen(0)


@given(archives, st.integers(1, 2000), st.booleans())
def test_an_observer_sees_every_byte(data, size, read):
    recorder = Recorder()
    reader = TarReader(cut(data, size), observer=recorder)
    for _ in reader:
        if read:
            for _ in reader.read_content():
                pass
    assert recorder.stream == data
    assert reader.offset == len(data)
    assert recorder.calls[-1] == ("end",)


def test_the_observer_hears_in_order():
    recorder = Recorder()
    reader = TarReader([member(b"a", b"12345") + directory(b"d/") + END + b"rest"], observer=recorder)
    list(reader)
    assert recorder.calls == [
        ("segment", 512),
        ("begin", b"a"),
        ("content", 5),
        ("finish", b"a"),
        ("segment", 507 + 512),
        ("begin", b"d/"),
        ("finish", b"d/"),
        ("segment", 1024),
        ("segment", 4),
        ("end",),
    ]


def test_contents_are_not_copied():
    chunk = member(b"a", b"12345") + END
    reader = TarReader([chunk])
    for _ in reader:
        (piece,) = reader.read_content()
        assert isinstance(piece, memoryview)
        assert piece.obj is chunk


def test_the_tail_comes_in_pieces_of_a_megabyte():
    recorder = Recorder()
    list(TarReader(cut(END + bytes(5 << 19), 1000), observer=recorder))
    assert [call[1] for call in recorder.calls[:-1]] == [1024, 1 << 20, 1 << 20, 1 << 19]


def test_unread_contents_are_skipped():
    data = member(b"a", bytes(5000)) + member(b"b", b"x") + END
    assert [found.name for found in TarReader(cut(data, 700))] == [b"a", b"b"]


def test_a_content_read_in_part_is_skipped():
    reader = TarReader(cut(member(b"a", bytes(5000)) + member(b"b", b"x") + END, 700))
    iterator = iter(reader)
    next(iterator)
    next(reader.read_content())
    assert next(iterator).name == b"b"


def test_errors_of_the_source_pass_through():
    def chunks():
        yield member(b"a", bytes(5000))[:2000]
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        list(TarReader(chunks()))


# -- ends


@pytest.mark.parametrize("end", [b"", END[:512], END, END + b"garbage", END + bytes(9000)])
def test_ends_that_are_fine(end):
    assert names(member(b"a", b"x") + end) == [b"a"]
    assert names(end) == []


def test_the_end_may_cut_the_last_padding():
    assert only(member(b"a", b"12345")[: 512 + 5])[1] == b"12345"
    assert only(member(b"a", b"12345")[: 512 + 300])[1] == b"12345"


@pytest.mark.parametrize("length", [1, 511, 513, 512 + 4, 512 * 2 + 1, 512 * 2 + 511])
def test_truncated(length):
    data = (member(b"a", b"12345") + member(b"b", b"x"))[:length]
    with pytest.raises(TruncatedTar, match="unexpected EOF"):
        members(data)


def test_truncated_behind_a_block_of_zeros():
    with pytest.raises(TruncatedTar):
        members(member(b"a") + bytes(700))


def test_one_block_of_zeros_is_no_pause():
    with pytest.raises(InvalidTar, match="archive/tar: invalid tar header"):
        members(member(b"a") + bytes(512) + member(b"b"))


@given(st.binary(max_size=2000))
def test_junk_is_an_error_of_ours(data):
    try:
        members(data)
    except InvalidTar as error:
        assert 0 <= error.offset <= len(data)


@given(archives, st.data())
def test_damage_is_an_error_of_ours_or_harmless(data, draw):
    if not data:
        return
    damaged = bytearray(data)
    damaged[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        members(bytes(damaged[: draw.draw(st.integers(0, len(data)))]))
    except InvalidTar:
        pass


# -- names and extension headers


def test_gnu_long_names():
    data = gnu_long(b"n" * 200) + gnu_long(b"t" * 300, b"K") + symlink(b"cut", b"cut", magic=GNU) + END
    found, _ = only(data)
    assert (found.name, found.linkname) == (b"n" * 200, b"t" * 300)


def test_pax_names_and_numbers():
    records = {b"path": b"p" * 5000, b"linkpath": b"l" * 300, b"uid": b"3000000", b"mtime": b"1.5"}
    found, _ = only(pax(records) + symlink(b"cut", b"cut") + END)
    assert (found.name, found.linkname, found.uid, found.mtime_ns) == (
        b"p" * 5000,
        b"l" * 300,
        3000000,
        1_500_000_000,
    )


def test_gnu_beats_pax_and_the_last_pax_header_counts_alone():
    assert names(gnu_long(b"gnu") + pax({b"path": b"pax"}) + member(b"f") + END) == [b"gnu"]
    found, _ = only(
        pax({b"path": b"one", b"mtime": b"5"}) + pax({b"path": b"two"}) + member(b"f", mtime=9) + END
    )
    assert (found.name, found.mtime_ns) == (b"two", 9_000_000_000)


def test_extension_headers_serve_one_member_only():
    assert names(pax({b"path": b"one"}) + member(b"f") + member(b"g") + END) == [b"one", b"g"]


def test_extension_headers_without_a_member_are_nothing():
    assert names(member(b"f") + pax({b"path": b"one"}) + END) == [b"f"]
    assert names(member(b"f") + pax({b"path": b"one"})) == [b"f"]


def test_global_headers_are_members_without_effect():
    data = pax({b"path": b"renamed", b"mtime": b"no number"}, b"g") + member(b"f", mtime=5) + END
    (first, _), (second, _) = members(data)
    assert (first.type, first.name, first.size) == (GLOBAL_HEADER, b"renamed", 0)
    assert (second.name, second.mtime_ns) == (b"f", 5_000_000_000)
    assert names(pax({b"path": b"lost"}) + pax({b"comment": b"x"}, b"g", b"glob") + member(b"f")) == [
        b"glob",
        b"f",
    ]


def test_pax_size_rules():
    found, content = only(pax({b"size": b"3"}) + header(b"f") + padded(b"abc") + END)
    assert (found.size, content) == (3, b"abc")
    for size in (b"-1", b"9223372036854775808"):
        with pytest.raises(InvalidTar):
            members(pax({b"size": size}) + header(b"f") + END)


def test_negative_sizes():
    for data in (
        header(b"f", patch={124: base256(-5, 12)}),
        header(b"f", b"x", patch={124: base256(-5, 12)}),
    ):
        with pytest.raises(InvalidTar):
            members(data + END)


def test_types_without_content_have_no_size():
    data = header(b"h", b"1", 500, linkname=b"a") + header(b"d", b"5", 99) + member(b"f", b"x") + END
    assert [(found.name, found.size) for found, _ in members(data)] == [(b"h", 0), (b"d", 0), (b"f", 1)]


def test_v7_directories():
    found = [one.type for one, _ in members(member(b"d/", kind=b"\0") + member(b"f", kind=b"\0") + END)]
    assert found == [DIRECTORY, REGULAR]
    assert only(pax({b"path": b"d/"}) + member(b"f", kind=b"\0") + END)[0].type == DIRECTORY
    assert only(member(b"d/") + END)[0].type == REGULAR


# -- bombs


def test_extension_headers_are_limited():
    for kind in (b"x", b"g", b"L", b"K"):
        with pytest.raises(TarTooLarge, match="header field too long"):
            members(header(b"big", kind, (1 << 20) + 1) + bytes(4 << 20))


def test_a_row_of_extension_headers_is_limited():
    def endless():
        one = pax({b"comment": b"x" * 100_000})
        while True:
            yield one

    with pytest.raises(TarTooLarge):
        list(TarReader(endless()))


def test_a_claimed_size_costs_nothing():
    with pytest.raises(TruncatedTar):
        members(header(b"f", size=2**62))


def test_sparse_maps_are_limited():
    endless = pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}) + header(b"f", size=1 << 30)
    with pytest.raises(TarTooLarge, match="sparse map too long"):
        members(endless + b"9000000\n" + b"0\n" * (2 << 20))
    old = header(b"f", b"S", 0, magic=GNU, patch={386: octal(0, 12) + octal(0, 12), 482: b"\1"})
    with pytest.raises(TarTooLarge, match="sparse map too long"):
        members(old + (bytes(504) + b"\1" + bytes(7)) * 5000)


# -- sparse members

EXPANDED = bytes(3) + b"abcd" + bytes(593) + b"efghij" + bytes(9000 - 606)
MAP = ((3, 4), (600, 6))


def sparse_members():
    old = {386: octal(3, 12) + octal(4, 12) + octal(600, 12) + octal(6, 12), 483: octal(9000, 12)}
    size = {b"GNU.sparse.size": b"9000", b"GNU.sparse.numblocks": b"2"}
    pairs = [(b"GNU.sparse.offset", b"3"), (b"GNU.sparse.numbytes", b"4")]
    pairs += [(b"GNU.sparse.offset", b"600"), (b"GNU.sparse.numbytes", b"6")]
    version = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9000"}
    data = b"abcdefghij"
    named = {b"GNU.sparse.name": b"sp"}
    return {
        "old": header(b"sp", b"S", 10, magic=GNU, patch=old) + padded(data),
        "0.0": pax([*size.items(), *pairs]) + member(b"sp", data),
        "0.1": pax(size | named | {b"GNU.sparse.map": b"3,4,600,6"}) + member(b"x", data),
        "1.0": pax(version | named) + member(b"x", padded(b"2\n3\n4\n600\n6\n") + data),
    }


@pytest.mark.parametrize("version", sparse_members())
@pytest.mark.parametrize("size", [1, 100, 512, 99999])
def test_sparse(version, size):
    data = sparse_members()[version] + member(b"next", b"x") + END
    (found, content), (following, _) = members(data, size)
    assert (found.name, found.size, found.sparse) == (b"sp", 9000, MAP)
    assert content == EXPANDED
    assert following.name == b"next"
    reader = TarReader(cut(data, size))
    next(iter(reader))
    pieces = list(reader.read_data())
    assert b"".join(bytes(piece) for _, piece in pieces) == b"abcdefghij"
    assert {offset for offset, _ in pieces} >= {3, 600}


def test_read_data_of_a_plain_member():
    reader = TarReader(cut(member(b"a", b"12345") + END, 514))
    next(iter(reader))
    assert [(offset, bytes(piece)) for offset, piece in reader.read_data()] == [(0, b"12"), (2, b"345")]


def test_old_sparse_with_extension_blocks():
    pairs = [(1000 * number, 1) for number in range(30)]
    slots = [octal(offset, 12) + octal(length, 12) for offset, length in pairs]
    slots[0] = base256(0, 12) + octal(1, 12)
    first = header(
        b"sp", b"S", 30, magic=GNU, patch={386: b"".join(slots[:4]), 482: b"\1", 483: octal(30000, 12)}
    )
    second = (b"".join(slots[4:25]) + b"\1").ljust(512, b"\0")
    third = b"".join(slots[25:]).ljust(512, b"\0")
    found, content = only(first + second + third + padded(b"x" * 30) + END)
    assert found.sparse == tuple(pairs)
    assert content == (b"x" + bytes(999)) * 30
    with pytest.raises(TruncatedTar):
        members(first + second[:100])


def test_a_sparse_bomb_is_expanded_in_small_pieces():
    records = {b"GNU.sparse.size": b"%d" % 2**40, b"GNU.sparse.numblocks": b"1", b"GNU.sparse.map": b"0,1"}
    reader = TarReader([pax(records) + member(b"f", b"x") + END])
    for found in reader:
        assert found.size == 2**40
        pieces = reader.read_content()
        next(pieces)
        assert len(next(pieces)) <= 1 << 16
        assert list(reader.read_data()) == []


def test_sparse_data_must_match_its_map():
    size = {b"GNU.sparse.size": b"20", b"GNU.sparse.numblocks": b"1"}
    with pytest.raises(InvalidTar, match="unreferenced data"):
        members(pax(size | {b"GNU.sparse.map": b"2,3"}) + member(b"f", b"abcdefg") + END)
    with pytest.raises(InvalidTar, match="non-existent data"):
        members(pax(size | {b"GNU.sparse.map": b"2,9"}) + member(b"f", b"abcdefg") + END)
    with pytest.raises(InvalidTar):
        members(pax(size | {b"GNU.sparse.map": b"2,9"}) + directory(b"d") + END)
    with pytest.raises(InvalidTar):
        members(header(b"f", b"S", 0, magic=USTAR) + END)
    with pytest.raises(InvalidTar):
        members(
            pax(size | {b"GNU.sparse.map": b"2,7", b"GNU.sparse.name": b"a\0b"}) + member(b"f", b"abcdefg")
        )


def test_unknown_sparse_versions_are_plain_files():
    data = pax({b"GNU.sparse.major": b"2", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"sp"}) + member(
        b"f", b"abc"
    )
    found, content = only(data + END)
    assert (found.name, found.sparse, content) == (b"f", None, b"abc")


# -- other people's writers


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_writes(dialect):
    buffer = io.BytesIO()
    long = "d" * 90 + "/" + "e" * 90
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for name, kind, content in ((long, tarfile.REGTYPE, b"x" * 700), ("l", tarfile.LNKTYPE, b"")):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname, info.uid = kind, len(content), long[:90], 70000
            archive.addfile(info, io.BytesIO(content))
    (first, content), (second, _) = members(buffer.getvalue())
    assert (first.name, first.uid, content) == (long.encode(), 70000, b"x" * 700)
    assert (second.name, second.linkname) == (b"l", long[:90].encode())


def test_links_keep_their_names():
    assert only(link(b"a", b"../b") + END)[0].linkname == b"../b"
