"""Trees indexed, against the same trees unpacked: by our reader, by the kernel, by fsck.erofs."""

from __future__ import annotations

import dataclasses
import hashlib
import stat
import subprocess

import pytest

from onggi.archive.erofs.format import NotRepresentable
from onggi.archive.erofs.reader import Index
from onggi.archive.erofs.writer import write_index
from onggi.errors import OnggiError
from tests.archive.erofs.indexes import UUID, index_of, mounted, read_all
from tests.archive.tar_blocks import END, directory, link, member, pax, symlink, xattr
from tests.tree.cases import CASES
from tests.tree.trees import NOW, snapshot, unpack

MANY = b"".join(
    [directory(b"d/"), *(member(b"d/%04d-%s" % (n, b"x" * (n % 90)), b"%d" % n) for n in range(700)), END]
)
# Deep, wide, long: names up to the limit, links longer than a block, shared and large attributes.
WIDE = b"".join(
    [
        *(directory(b"/".join(b"%d" % depth for depth in range(n)) + b"/") for n in range(1, 40)),
        member(b"n" * 98, b"long name"),
        symlink(b"long", b"t" * 99),
        pax({b"linkpath": b"q" * 4000}) + symlink(b"longer", b""),
        *(xattr(b"user.same", b"value") + member(b"same%d" % n, b"1") for n in range(9)),
        xattr(b"user.large", b"v" * 3000) + member(b"large", b"1"),
        link(b"hard", b"same1"),
        END,
    ]
)
# What unpacking leaves to the file system below: attributes it does not take, default ACLs it hands down.
_OF_THE_HOST = ("attribute not permitted", "attribute not known", "default ACL")
ALL = {name: data for name, data in CASES.items() if name not in _OF_THE_HOST} | {"many": MANY, "wide": WIDE}


def comparable(tree):
    """Times that are the unpacking's own are not in an index; the root's is the test's own."""
    return {
        path: found._replace(mtime_ns=NOW if found.mtime_ns in (0, NOW) or not path else found.mtime_ns)
        for path, found in tree.items()
    }


@pytest.mark.parametrize("name", ALL)
def test_as_unpacked(tmp_path, name):
    data = ALL[name]
    try:
        unpack(tmp_path / "root", data)
    except OnggiError:
        return
    try:
        image = index_of(data)
    except NotRepresentable as error:
        assert error.reason in (
            "its data do not lie on blocks",
            "its holes do not lie on blocks",
            "the archive ends within its last block",
        )
        return
    expected = comparable(snapshot(tmp_path / "root"))
    read = comparable(read_all(image, data))
    assert read == expected
    with mounted(tmp_path, image, data) as point:
        assert comparable(snapshot(point)) == expected


def test_the_same_bytes_again():
    assert index_of(WIDE) == index_of(WIDE)


def test_shared_attributes_are_written_once():
    assert index_of(WIDE).count(b"value") == 1


@dataclasses.dataclass
class Node:
    """An inode by hand."""

    type: int = stat.S_IFREG
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = 1_700_000_000_123_456_789
    size: int = 0
    target: bytes = b""
    device: int = 0
    links: int = 1
    opaque: bool = False
    xattrs: dict | None = None
    children: dict | None = None
    fragments: tuple = ()


def folder(**children):
    named = {name.encode(): child for name, child in children.items()}
    return Node(type=stat.S_IFDIR, mode=0o755, children=named)


@pytest.mark.parametrize(
    "node, reason",
    [
        (folder(**{"n" * 256: Node()}), "a name of 256 bytes, 255 are possible"),
        (
            folder(f=Node(xattrs={b"system.nfs4_acl": b"1"})),
            "attribute system.nfs4_acl: EROFS cannot hold it",
        ),
        (folder(f=Node(xattrs={b"user." + b"n" * 256: b"1"})), "EROFS cannot hold it"),
        (folder(f=Node(xattrs={b"user.n": bytes(65536)})), "EROFS cannot hold it"),
        (folder(f=Node(size=10, fragments=((0, 10, 100),))), "its data do not lie on blocks"),
        (folder(f=Node(size=10, fragments=((0, 10, 4096),))), "the archive ends within its last block"),
        (folder(f=Node(size=4096, fragments=((0, 100, 512), (512, 512, 1024)))), "its holes do not lie"),
        (
            folder(f=Node(size=2**41, fragments=((0, 512, 0), (1024, 512, 512)))),
            "its map of holes is too large",
        ),
    ],
)
def test_what_erofs_cannot_hold(node, reason):
    with pytest.raises(NotRepresentable, match=reason):
        write_index(node, data_bytes=4096, block_bits=9, uuid=UUID)


def test_blocks_of_4096_for_fsck(tmp_path):
    """Debian's fsck.erofs knows blocks of a page; it reads everything but holes, contents too."""
    data = b"".join(hashlib.sha256(b"%d" % n).digest() * 128 for n in range(3))
    names = {
        "f": Node(size=4096 * 2 + 5, fragments=((0, 4096 * 2 + 5, 0),)),
        "sparse": Node(size=4096 * 64, fragments=((4096 * 32, 4096, 4096),)),
        "link": Node(type=stat.S_IFLNK, target=b"f" * 4090, size=4090),
        "d": folder(**{f"{n:04}{'z' * 200}": Node(xattrs={b"user.a": b"same"}) for n in range(60)}),
    }
    image = write_index(folder(**names), data_bytes=len(data), block_bits=12, uuid=UUID)
    (tmp_path / "index").write_bytes(image)
    (tmp_path / "data").write_bytes(data)
    out = tmp_path / "out"
    command = ["fsck.erofs", f"--device={tmp_path}/data", f"--extract={out}", tmp_path / "index"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "f").read_bytes() == data[: 4096 * 2 + 5]
    assert len(list((out / "d").iterdir())) == 60
    index = Index(image)
    assert index.fragments(index.lookup(b"sparse")) == [(4096 * 32, 4096, 4096)]
    with mounted(tmp_path, bytes(image), data) as point:
        assert (point / "sparse").read_bytes() == bytes(4096 * 32) + data[4096:8192] + bytes(4096 * 31)
        assert (point / "f").read_bytes() == (out / "f").read_bytes()
