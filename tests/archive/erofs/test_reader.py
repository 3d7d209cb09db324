"""An index that somebody changed is refused, or read; it never leads astray."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.archive.erofs.format import InvalidIndex
from onggi.archive.erofs.reader import Index
from tests.archive.erofs.indexes import index_of
from tests.archive.erofs.test_writer import WIDE
from tests.archive.tar_blocks import END, directory, member

IMAGE = index_of(WIDE)


def read_everything(image: bytes) -> None:
    index = Index(image)
    for _, node in index.walk():
        index.xattrs(node)
        if node.type == 0o120000:
            index.target(node)
        if node.type == 0o100000:
            index.fragments(node)


def test_look_up():
    index = Index(index_of(directory(b"etc/") + member(b"etc/hosts", b"x" * 700) + END))
    hosts = index.lookup(b"etc/hosts")
    assert (hosts.size, index.fragments(hosts)) == (700, [(0, 700, 1024)])
    assert index.lookup(b"etc/none") is None
    assert index.lookup(b"etc/hosts/x") is None
    assert index.lookup(b"") == index.root


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_any_bytes_changed(seed, count):
    chance = random.Random(seed)
    image = bytearray(IMAGE)
    for _ in range(count):
        image[chance.randrange(1280, len(image))] = chance.randrange(256)
    try:
        read_everything(image)
    except InvalidIndex:
        pass


@pytest.mark.parametrize(
    "image, words",
    [
        (b"", "too short"),
        (bytes(4096), "no superblock"),
        (IMAGE[:-512], "its size is not"),
        (IMAGE + bytes(512), "its size is not"),
        (IMAGE[:1100] + b"\1" + IMAGE[1101:], "checksum"),
    ],
)
def test_no_index(image, words):
    with pytest.raises(InvalidIndex, match=words):
        Index(image)
