"""A tar with an index against the same tar unpacked: one tree, whichever way a layer is kept."""

from __future__ import annotations

import errno
import os
import random
import stat

import pytest

from onggi.archive.erofs.format import COMPAT_CHECKSUM, SUPERBLOCK_OFFSET, InvalidIndex, NotRepresentable
from onggi.errors import DataLoss, OnggiError
from onggi.tree.copy_out import copy_entry
from onggi.tree.differences import differences
from onggi.tree.index_layer import ContentsGone, IndexLayer
from onggi.tree.layer_file import CutOff
from onggi.tree.layer_tree import OpenLayers
from onggi.tree.merged import Merged
from onggi.tree.waste import measure_waste
from tests.archive.tar_blocks import END, directory, link, member, pax, symlink
from tests.tree.cases import CASES
from tests.tree.index_trees import indexed, told, without_own_times
from tests.tree.stacks import mounted, seen_by_kernel
from tests.tree.test_merged import seen_by_us
from tests.tree.trees import unpack

# What unpacking leaves to the file system below: attributes it does not take, default ACLs it hands down.
_OF_THE_HOST = ("attribute not permitted", "attribute not known", "default ACL")
_MAP = b"2\n1024\n512\n2000384\n512\n".ljust(512, b"\0")
HOLES = (
    pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"5000000"})
    + member(b"holes", _MAP + b"a" * 512 + b"b" * 512)
    + END
)
MANY = b"".join([directory(b"d/"), *(member(b"d/%05d" % n, b"%d" % n) for n in range(1000)), END])
ALL = {name: data for name, data in CASES.items() if name not in _OF_THE_HOST} | {
    "holes": HOLES,
    "many": MANY,
}


@pytest.mark.parametrize("name", ALL)
def test_every_case_both_ways(tmp_path, name):
    data = ALL[name]
    try:
        unpack(tmp_path / "unpacked", data)
        index = indexed(tmp_path / "kept", data)
    except (OnggiError, NotRepresentable):
        return
    with OpenLayers() as layers:
        by_index = told(layers.add(index))
        by_directory = told(*layers.directories([tmp_path / "unpacked"]))
    assert without_own_times(by_index, by_index) == without_own_times(by_directory, by_index)


LOWER = (
    directory(b"etc/", mode=0o711)
    + member(b"etc/a", b"lower a")
    + member(b"etc/b", b"lower b" * 300)
    + link(b"etc/also-b", b"etc/b")
    + directory(b"opt/")
    + member(b"opt/x", b"x")
    + directory(b"dir/")
    + member(b"dir/f", b"f")
    + symlink(b"sym", b"/etc/../etc/a")
    + END
)
UPPER = (
    directory(b"etc/", mode=0o755)
    + member(b"etc/.wh.a")
    + member(b"etc/c", b"upper c")
    + directory(b"opt/")
    + member(b"opt/.wh..wh..opq")
    + member(b"opt/y", b"y")
    + member(b"dir", b"a file now")
    + END
)


def stacks(tmp_path, layers):
    """The same two layers, uppermost first, kept in four ways."""
    for number, data in enumerate((UPPER, LOWER)):
        unpack(tmp_path / f"{number}", data)
    directories = layers.directories([tmp_path / "0", tmp_path / "1"])
    indexes = [
        layers.add(indexed(tmp_path / f"kept{number}", data)) for number, data in enumerate((UPPER, LOWER))
    ]
    return [directories, indexes, [directories[0], indexes[1]], [indexes[0], directories[1]]]


def test_stacks_of_either_kind_and_of_both(tmp_path):
    with OpenLayers() as layers:
        every = stacks(tmp_path, layers)
        with mounted(tmp_path / "m", [tmp_path / "0", tmp_path / "1"]) as root:
            expected = seen_by_kernel(root)
        for stack in every:
            assert seen_by_us(Merged(stack)) == expected
        changes = [list(differences(Merged(stack[1:]), Merged(stack))) for stack in every]
        assert changes == [changes[0]] * 4
        waste = [measure_waste(stack[::-1]) for stack in every]
        assert waste == [waste[0]] * 4


def test_copies_keep_links_and_holes(tmp_path):
    with OpenLayers() as layers:
        tree = layers.add(indexed(tmp_path / "kept", HOLES[:-1024] + link(b"again", b"holes") + LOWER))
        view = Merged([tree])
        parent = os.open(tmp_path, os.O_RDONLY)
        copy_entry(view, view.root, parent, b"copy", keep_owner=True)
        os.close(parent)
    copied = (tmp_path / "copy" / "holes").stat()
    assert (copied.st_size, copied.st_nlink) == (5_000_000, 2)
    assert copied.st_blocks * 512 < 100_000
    expected = bytes(1024) + b"a" * 512
    assert (tmp_path / "copy" / "holes").read_bytes()[:1536] == expected
    assert (tmp_path / "copy/etc/also-b").samefile(tmp_path / "copy/etc/b")


def test_reading_at_any_place(tmp_path):
    chance = random.Random(5)
    with OpenLayers() as layers:
        tree = layers.add(indexed(tmp_path / "kept", HOLES))
        content = bytes(1024) + b"a" * 512 + bytes(2000384 - 1536) + b"b" * 512
        content += bytes(5_000_000 - len(content))
        with tree.open(b"", b"holes") as file:
            for _ in range(200):
                at, size = chance.randrange(5_000_100), chance.randrange(1000)
                file.seek(at)
                found = b""
                while piece := file.read(size - len(found)):
                    found += piece
                assert found == content[at : at + size]
            assert file.seek(-3, os.SEEK_END) == 4_999_997
            assert file.read() == bytes(3)
            with pytest.raises(ValueError, match="negative"):
                file.seek(-1)


def test_what_is_not_there(tmp_path):
    with OpenLayers() as layers:
        tree = layers.add(indexed(tmp_path / "kept", LOWER))
        assert tree.lstat(b"etc", b"none") is None
        for number, ask in (
            (errno.ENOENT, lambda: tree.open(b"etc", b"none")),
            (errno.ENOENT, lambda: list(tree.scan(b"none/below"))),
            (errno.ENOTDIR, lambda: list(tree.scan(b"etc/a"))),
            (errno.EINVAL, lambda: tree.open(b"", b"etc")),
            (errno.EINVAL, lambda: tree.readlink(b"etc", b"a")),
        ):
            with pytest.raises(OSError) as caught:
                ask()
            assert caught.value.errno == number


def test_a_tar_cut_or_gone_is_told(tmp_path):
    with OpenLayers() as layers:
        tree = layers.add(indexed(tmp_path / "kept", LOWER))
        os.truncate(tmp_path / "kept/layer.tar", 2500)
        with (
            tree.open(b"etc", b"b") as file,
            pytest.raises(CutOff, match="read /etc/b: its data end at byte"),
        ):
            file.readall()
        with tree.open(b"etc", b"b") as file, open(tmp_path / "copy", "wb") as copy, pytest.raises(CutOff):
            file.copy_to(copy.fileno())
        os.unlink(tmp_path / "kept/layer.tar")
        assert [name for name, _ in tree.scan(b"etc")] == [b"a", b"also-b", b"b"]
        with pytest.raises(ContentsGone, match=r"layer\.tar: the layer's contents are gone"):
            tree.open(b"etc", b"a")


def test_directories_in_circles_are_refused(tmp_path):
    """A walk of a directory that holds itself, or of many that hold the next one twice, would never end."""
    data = directory(b"one/") + directory(b"two/") + directory(b"one/in/") + END
    indexed(tmp_path / "kept", data)
    image = bytearray((tmp_path / "kept/layer.erofs").read_bytes())
    image[SUPERBLOCK_OFFSET + 8] &= ~COMPAT_CHECKSUM
    tree = IndexLayer(tmp_path / "kept/layer.erofs", tmp_path / "kept/layer.tar")
    number = {name: status.st_ino for name, status in tree.scan(b"")}
    inside = dict(tree.scan(b"one"))[b"in"].st_ino
    for old, new, where in (
        (inside, number[b"one"], r"^read /.*/layer\.erofs: a directory does not lead back"),
        (number[b"two"], number[b"one"], r"^read /.*/layer\.erofs: a directory has two names"),
    ):
        changed = image.replace(old.to_bytes(8, "little"), new.to_bytes(8, "little"))
        (tmp_path / "kept/layer.erofs").write_bytes(changed)
        with OpenLayers() as layers, pytest.raises(InvalidIndex, match=where):
            told(layers.add(IndexLayer(tmp_path / "kept/layer.erofs", tmp_path / "kept/layer.tar")))


def test_any_bytes_changed_end_in_a_tree_or_an_error(tmp_path):
    indexed(tmp_path / "kept", LOWER + MANY[: 512 * 300] + END)
    path = tmp_path / "kept/layer.erofs"
    image, chance = path.read_bytes(), random.Random(7)
    for _ in range(150):
        changed = bytearray(image)
        for _ in range(chance.randrange(1, 6)):
            changed[chance.randrange(1280, len(changed))] = chance.choice((0, 1, 2, 0x7F, 0xFF))
        path.write_bytes(changed)
        try:
            with OpenLayers() as layers:
                tree = layers.add(IndexLayer(path, tmp_path / "kept/layer.tar"))
                for entry in Merged([tree]).walk(Merged([tree]).root):
                    tree.xattrs(entry.directory, entry.name)
                    if stat.S_ISREG(entry.status.st_mode) and entry.status.st_size < 1 << 20:
                        with tree.open(entry.directory, entry.name) as file:
                            file.readall()
        except (DataLoss, OSError):
            continue
