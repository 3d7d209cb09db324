import bz2
import gzip
import lzma
import sys
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.archive import compression
from onggi.archive.compression import (
    PIECE,
    Compression,
    CorruptStream,
    UnsupportedCompression,
    decompressed,
    load,
    sniff,
)

SKIPPABLE = b"\x50\x2a\x4d\x18\x03\x00\x00\x00xyz"

COMPRESS = {
    Compression.GZIP: gzip.compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
    Compression.ZSTD: zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress,
}


def cut(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.fixture(params=["isal", "zlib"])
def inflate(request, monkeypatch):
    """gzip by igzip, and as on a machine without it."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal.igzip_lib", None)
        monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)


def test_sniff_knows_every_compression():
    for kind, compress in COMPRESS.items():
        assert sniff(compress(b"x")) is kind
    assert sniff(SKIPPABLE) is Compression.ZSTD
    assert sniff(b"") is Compression.NONE
    assert sniff(b"\x1f\x8b") is Compression.NONE
    assert sniff(b"etc/" + bytes(508)) is Compression.NONE


@pytest.mark.parametrize("kind", COMPRESS)
@given(parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=3), size=st.integers(1, 4000))
@settings(max_examples=40)
def test_concatenated_streams_are_one(kind, parts, size):
    stream = b"".join(map(COMPRESS[kind], parts))
    assert b"".join(decompressed(cut(stream, size))) == b"".join(parts)


@given(data=st.binary(max_size=3000), size=st.integers(1, 4000))
def test_uncompressed_passes(data, size):
    if sniff(data[:10]) is Compression.NONE:
        assert b"".join(decompressed(cut(data, size))) == data


def test_empty_chunks_do_not_end_the_stream(inflate):
    stream = gzip.compress(b"content")
    chunks = [b"", stream[:3], b"", b"", stream[3:9], b"", stream[9:], b""]
    assert b"".join(decompressed(chunks)) == b"content"
    assert list(decompressed([])) == []
    assert list(decompressed([b""])) == []


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_bomb_comes_in_small_pieces(kind):
    size = 40 << 20
    pieces = [len(piece) for piece in decompressed([COMPRESS[kind](bytes(size))])]
    assert sum(pieces) == size
    assert max(pieces) <= PIECE


def test_gzip_bomb_without_igzip(inflate):
    pieces = [len(piece) for piece in decompressed([gzip.compress(bytes(9 << 20))])]
    assert sum(pieces) == 9 << 20
    assert max(pieces) <= PIECE


def test_a_large_uncompressed_chunk_is_cut():
    assert [len(piece) for piece in decompressed([bytes(PIECE * 2 + 5)])] == [PIECE, PIECE, 5]


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("missing", [1, 4, 9])
def test_a_cut_stream_is_corrupt(kind, missing):
    stream = COMPRESS[kind](bytes(range(256)) * 40)
    with pytest.raises(CorruptStream, match="unexpected EOF"):
        list(decompressed(cut(stream[:-missing], 100)))


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("garbage", [b"x", b"\0", b"garbage, and more of it", b"\x1f\x8b\x09" + bytes(20)])
def test_garbage_behind_the_end_is_corrupt(kind, garbage):
    if kind is Compression.XZ and garbage == b"\0":
        return  # padding
    with pytest.raises(CorruptStream):
        list(decompressed([COMPRESS[kind](b"content") + garbage]))


def test_xz_padding_is_accepted():
    stream = lzma.compress(b"a") + bytes(8) + lzma.compress(b"b") + bytes(4)
    assert b"".join(decompressed([stream])) == b"ab"


@pytest.mark.parametrize("kind", COMPRESS)
@given(data=st.data())
@settings(max_examples=60)
def test_damage_is_found_or_harmless(kind, data):
    """A flipped bit gives an error of ours or other bytes, never a foreign exception."""
    stream = bytearray(COMPRESS[kind](b"some content, some content" * 9))
    stream[data.draw(st.integers(6, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        b"".join(decompressed([bytes(stream)]))
    except CorruptStream as error:
        assert error.compression is kind
        assert "\n" not in error.message


def test_a_wrong_gzip_checksum_is_corrupt(inflate):
    stream = bytearray(gzip.compress(b"content"))
    stream[-6] ^= 1
    with pytest.raises(CorruptStream):
        list(decompressed([bytes(stream)]))


def test_zstd_skips_frames_without_data():
    stream = SKIPPABLE + zstandard.compress(b"a") + SKIPPABLE + zstandard.compress(b"b") + SKIPPABLE
    for size in (1, 5, len(stream)):
        assert b"".join(decompressed(cut(stream, size))) == b"ab"


def test_zstd_window_is_limited():
    frame = zstandard.FRAME_HEADER + bytes([0, 0xF8]) + bytes(8)  # a window of 3.5 TiB
    with pytest.raises(CorruptStream):
        list(decompressed([frame]))


def test_zstd_without_the_package(monkeypatch):
    stream = zstandard.compress(b"a")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    load(Compression.ZSTD)
    with pytest.raises(UnsupportedCompression, match="zstandard"):
        list(decompressed([stream]))


@pytest.mark.parametrize(("kind", "module"), [(Compression.BZIP2, "bz2"), (Compression.XZ, "lzma")])
def test_a_python_without_the_library(monkeypatch, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    load(kind)
    with pytest.raises(UnsupportedCompression, match=module):
        list(decompressed([COMPRESS[kind](b"a") if module == "bz2" else b"\xfd7zXZ\0" + bytes(20)]))


def test_many_tiny_members(inflate):
    """Each end gives the rest of its slice back; the slices are small, so that is cheap."""
    stream = b"".join(gzip.compress(b"%d " % number) for number in range(20_000))
    assert b"".join(decompressed(cut(stream, 1 << 18))) == b"".join(
        b"%d " % number for number in range(20_000)
    )


def test_errors_of_the_source_pass_through():
    def chunks():
        yield gzip.compress(b"content")[:12]
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        list(decompressed(chunks()))


def test_preload_brings_what_gzip_needs():
    compression.preload()
    assert "isal.igzip_lib" in sys.modules


def test_every_field_of_a_gzip_header(inflate):
    """Extra field (eStargz keeps its table of contents there), name, comment, header checksum."""
    body = gzip.compress(b"content")[10:]
    extra = (9).to_bytes(2, "little") + b"SG\x05\x00estar"
    header = b"\x1f\x8b\x08\x1e" + bytes(6) + extra + b"name\0" + b"comment\0"
    checksum = (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    stream = header + checksum + body
    for size in (1, 7, len(stream)):
        assert b"".join(decompressed(cut(stream * 2, size))) == b"content" * 2
