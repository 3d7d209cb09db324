"""The tree in memory against the tree on disk: every case both ways."""

from __future__ import annotations

import os
import struct

import pytest

from onggi.archive.tar import TarReader
from onggi.errors import OnggiError
from onggi.tree.compare import compare_tree
from onggi.tree.errors import InvalidLayer
from onggi.tree.expected import ExpectedTree
from onggi.tree.size import tree_size
from tests.archive.tar_blocks import END, directory, link, member, pax, symlink, xattr
from tests.tree.cases import CASES
from tests.tree.trees import unpack


def expected_tree(data: bytes) -> ExpectedTree:
    tree = ExpectedTree()
    for each in TarReader([data]):
        tree.add(each)
    tree.finish()
    return tree


def differences(root, data, **settings):
    found = []
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    before = os.getcwd()
    try:
        compare_tree(
            expected_tree(data), root_fd, lambda path, change: found.append((path, *change)), **settings
        )
    finally:
        os.chdir(before)
        os.close(root_fd)
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_case_both_ways(root, name):
    """What apply.py makes on disk is what the model expects, to the last attribute."""
    data = CASES[name]
    try:
        applied = unpack(root, data)
    except OnggiError:
        return
    assert differences(root, data) == []
    assert applied.size_bytes == expected_tree(data).sizes()[0]
    root_fd = os.open(root, os.O_RDONLY)
    assert applied.size_bytes == tree_size(root_fd)
    os.close(root_fd)


def refusal(apply, *arguments):
    """The kind and the words of what an archive is refused for."""
    try:
        apply(*arguments)
    except OnggiError as error:
        return type(error).__name__, error.message
    return None


ACL = struct.pack("<I" + "HHI" * 3, 2, *(1, 7, 2**32 - 1, 4, 5, 2**32 - 1, 0x20, 5, 2**32 - 1))
ALSO_REFUSED = {
    "long name": pax({b"path": b"n" * 300}) + directory(b"d"),
    "long name of a link": pax({b"path": b"n" * 256}) + symlink(b"s", b"t"),
    "long name implied": pax({b"path": b"a/" + b"n" * 256 + b"/f"}) + member(b"f"),
    "long target": pax({b"linkpath": b"t" * 4096}) + symlink(b"s", b""),
    "whiteout of a long name": pax({b"path": b".wh." + b"n" * 256}) + member(b"f"),
    "hard link below a file": member(b"f") + link(b"h", b"f/x"),
    "hard link over a directory": directory(b"d/") + member(b"d/f") + link(b"d", b"d/f"),
    "through what it replaces": directory(b"d/") + symlink(b"d/up", b"..") + member(b"d/up/d"),
    "default ACL of a file": xattr(b"system.posix_acl_default", ACL) + member(b"f"),
    "attribute without a name": xattr(b"user.", b"1") + member(b"f"),
    "many links": b"".join(symlink(b"l%d" % n, b"l%d" % (n + 1)) for n in range(41))
    + directory(b"l41/")
    + member(b"l0/f"),
    "forty links": b"".join(symlink(b"l%d" % n, b"l%d" % (n + 1)) for n in range(40))
    + directory(b"l40/")
    + member(b"l0/f"),
}


@pytest.mark.parametrize("data", [*CASES.values(), *ALSO_REFUSED.values()], ids=[*CASES, *ALSO_REFUSED])
def test_refused_in_the_same_words(root, data):
    assert refusal(expected_tree, data) == refusal(unpack, root, data)


@pytest.mark.parametrize(
    "data",
    [
        member(b"f", b"1") + member(b"f/x", b"1"),
        symlink(b"s", b"/etc") + member(b"s/x", b"1"),
        symlink(b"a", b"b") + symlink(b"b", b"a") + member(b"a/x", b"1"),
        link(b"h", b"nope"),
        directory(b"d/") + link(b"h", b"d"),
    ],
)
def test_impossible_layers(data):
    with pytest.raises(InvalidLayer):
        expected_tree(data + END)


def test_shadowed_members():
    """Contents that the archive itself replaces cannot be read back."""
    data = directory(b"a/") + member(b"a/f", b"xx") + member(b"/a", b"yyy") + END
    assert expected_tree(data).shadowed == [b"a/f"]
    assert expected_tree(member(b"d/.wh.x", b"12") + END).shadowed == [b"d/.wh.x"]


def test_touched_later(root):
    data = member(b"f", b"1") + member(b"g", b"1") + END
    unpack(root, data)
    now = os.stat(root).st_ctime_ns
    assert differences(root, data, unpacked_ns=now) == []
    assert [(path, what) for path, what, *_ in differences(root, data, unpacked_ns=now - 10**10)] == [
        (b"f", "ctime"),
        (b"g", "ctime"),
    ]


def test_a_tree_under_a_tree_is_named_path_by_path(root):
    data = directory(b"a/") + member(b"a/b/c", b"1") + END
    unpack(root, data)
    os.rename(root / "a", root / "z")
    found = [(path, what) for path, what, *_ in differences(root, data)]
    assert sorted(found) == [
        (b"a", "missing"),
        (b"a/b", "missing"),
        (b"a/b/c", "missing"),
        (b"z", "added"),
        (b"z/b", "added"),
        (b"z/b/c", "added"),
    ]
