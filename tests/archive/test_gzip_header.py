import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.gzip_header import HEADER_LIMIT, BrokenHeader, header_size

texts = st.none() | st.binary(max_size=700).filter(lambda text: b"\0" not in text)


def make_header(extra=None, name=None, comment=None, checksum=False):
    flags = (extra is not None) * 4 | (name is not None) * 8 | (comment is not None) * 16 | checksum * 2
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6)
    if extra is not None:
        header += len(extra).to_bytes(2, "little") + extra
    for text in (name, comment):
        header += b"" if text is None else text + b"\0"
    return header + (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little") if checksum else header


def size_of(data):
    return header_size(lambda size: data[:size])


@given(st.none() | st.binary(max_size=300), texts, texts, st.booleans(), st.binary(max_size=50))
def test_headers_of_every_shape(extra, name, comment, checksum, behind):
    header = make_header(extra, name, comment, checksum)
    assert size_of(header + behind) == len(header)
    for end in range(0, len(header), 7):
        with pytest.raises(BrokenHeader, match="unexpected EOF"):
            size_of(header[:end])


def test_what_python_writes():
    assert size_of(gzip.compress(b"x")) == 10


def test_damage():
    with pytest.raises(BrokenHeader, match="checksum"):
        size_of(make_header(b"x", b"n", None, True)[:-1] + b"?")
    with pytest.raises(BrokenHeader, match="flags"):
        size_of(b"\x1f\x8b\x08\x20" + bytes(20))
    with pytest.raises(BrokenHeader, match="too long"):
        size_of(make_header(name=b"n" * 4 * HEADER_LIMIT))
