import os

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.zstd_frames import BLOCKS_AT_ONCE, BrokenFrame, split_frames


def frames(data, **options):
    return zstandard.ZstdCompressor(**options).compress(data)


@given(
    data=st.binary(max_size=2000),
    size=st.integers(1, 2100),
    level=st.sampled_from([1, 3, 19]),
    checksum=st.booleans(),
    content_size=st.booleans(),
)
def test_pieces_are_the_frame(data, size, level, checksum, content_size):
    frame = frames(data, level=level, write_checksum=checksum, write_content_size=content_size)
    chunks = [frame[start : start + size] for start in range(0, len(frame), size)]
    pieces = list(split_frames(chunks))
    assert b"".join(piece for _, _, piece in pieces) == frame
    assert pieces[0][0]
    assert pieces[-1][1]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65535, 65536, 70000, 300_000])
def test_every_width_of_the_content_size(size):
    frame = frames(os.urandom(size))
    assert b"".join(piece for _, _, piece in split_frames([frame])) == frame


def test_a_piece_gives_a_megabyte_at_most():
    frame = frames(bytes(10 << 20))
    pieces = list(split_frames([frame]))
    assert len(pieces) >= 10
    decoder = zstandard.ZstdDecompressor().decompressobj()
    assert max(len(decoder.decompress(piece)) for _, _, piece in pieces) <= BLOCKS_AT_ONCE << 17


def test_a_cut_frame_is_broken_wherever_it_is_cut():
    frame = frames(b"content" * 20, write_checksum=True)
    for end in range(1, len(frame)):
        with pytest.raises(BrokenFrame):
            list(split_frames([frame[:end]]))


def test_a_large_skippable_frame_is_passed_over_in_pieces():
    def chunks():
        yield b"\x5a\x2a\x4d\x18" + (5 << 20).to_bytes(4, "little")
        for _ in range(5):
            yield bytes(1 << 20)
        yield frames(b"x")

    assert len(list(split_frames(chunks()))) == 1
