import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.crc64 import crc64, crc64_by_table

# Payloads of real tar-split files (docker-engine.md §5.1).
VECTORS = {
    b"z\n": "YVBwAAAAAAA=",
    b"x\n": "YVMQAAAAAAA=",
    b"hi\n": "YUmYEAAAAAA=",
    b"hello\n": "YUw+7uLYEAA=",
    b"data\n": "YUQIZBNQAAA=",
    b"hello\nmore\n": "6+MPVz8BTD4=",
}


@pytest.mark.parametrize("implementation", [crc64, crc64_by_table])
@pytest.mark.parametrize("content", VECTORS)
def test_vectors_of_docker(implementation, content):
    assert implementation(content).to_bytes(8, "big") == base64.b64decode(VECTORS[content])


@pytest.mark.parametrize("implementation", [crc64, crc64_by_table])
def test_check_value(implementation):
    assert implementation(b"123456789") == 0xB90956C775A41001
    assert implementation(b"") == 0


@given(st.binary(), st.binary())
def test_pieces_are_the_whole(first, second):
    whole = crc64(first + second)
    assert crc64(memoryview(second), crc64(first)) == whole
    assert crc64_by_table(memoryview(second), crc64_by_table(first)) == whole
