"""What erofs does beyond the contract: unpacking what no index shows, flushing, mounts, users without root."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from onggi.archive.layer_sums import read_sums
from onggi.drivers.erofs_mount import CannotMount, DamagedIndex
from onggi.layers.staging import UnpackFailed
from onggi.layers.tar_stream import layer_tar
from onggi.linux.mount import unmount
from tests.archive.tar_blocks import END, directory, link, member, pax, xattr
from tests.drivers.kept_layers import add, kept
from tests.drivers.test_contract import Rig, tar_of
from tests.tree.cases import CASES
from tests.tree.trees import snapshot

NAMES = {"layer.erofs", "layer.sums", "layer.tar"}
DEFAULT_ACL = CASES["default ACL"]


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "root", "erofs")
    yield made
    made.driver.release_mounts(set)
    made.workers.close()


def test_a_layer_is_its_tar_and_an_index(rig):
    data = tar_of({"etc": None, "etc/hosts": b"127.0.0.1\n", "empty": b"", "two": b"2" * 513})
    record = add(rig, data)
    base = rig.driver.path(record.cache_id)
    assert kept(rig, record) == NAMES
    assert all(stat.S_IMODE((base / name).stat().st_mode) == 0o400 for name in NAMES)
    assert (base / "layer.tar").read_bytes() == data
    sums = list(read_sums((base / "layer.sums").read_bytes()))
    assert [(each.position, each.length) for each in sums] == [(1024, 10), (2560, 513)]
    assert not (rig.store.db.path(record.chain_id) / "tar-split.json.gz").exists()


def test_an_empty_archive(rig, mounted):
    record = add(rig, b"")
    top = add(rig, tar_of({"a": b"1"}), record.chain_id)
    assert list(mounted(record).iterdir()) == []
    assert (mounted(top) / "a").read_bytes() == b"1"


def test_what_no_index_shows_is_unpacked(rig, mounted):
    """A default ACL is handed down by a file system; such a layer is kept as overlay2 keeps it."""
    base = add(rig, tar_of({"below": b"b"}))
    record = add(rig, DEFAULT_ACL, base.chain_id)
    assert kept(rig, record) == {"diff", "parent"}
    assert (rig.store.db.path(record.chain_id) / "tar-split.json.gz").exists()
    assert rig.store.damage(record) == ""
    assert b"".join(layer_tar(rig.store, record.chain_id)) == DEFAULT_ACL
    top = add(rig, tar_of({"above": b"a", "d": None, "d/.wh.f": b""}), record.chain_id)
    assert kept(rig, top) == NAMES | {"parent"}
    seen = mounted(top)
    assert (seen / "above").read_bytes() + (seen / "below").read_bytes() == b"ab"
    assert "system.posix_acl_access" in os.listxattr(seen / "d/e/imp/g")
    assert not (seen / "d/f").exists()


def test_a_sparse_member_whose_data_lie_on_no_block_is_unpacked(rig, mounted):
    sparse = {b"GNU.sparse.size": b"20", b"GNU.sparse.numblocks": b"1", b"GNU.sparse.map": b"2,3"}
    data = pax({b"GNU.sparse.name": b"sp"} | sparse) + member(b"f", b"abc") + END
    record = add(rig, data)
    assert kept(rig, record) == {"diff"}
    assert (mounted(record) / "sp").read_bytes() == b"\0\0abc" + bytes(15)


def test_an_archive_cut_in_its_padding_is_unpacked(rig, mounted):
    """The kernel would read the last block whole, and fail; Docker takes such an archive."""
    data = member(b"f", b"x" * 1000)[: 512 + 1000]
    record = add(rig, data)
    assert kept(rig, record) == {"diff"}
    assert (mounted(record) / "f").read_bytes() == b"x" * 1000
    assert b"".join(layer_tar(rig.store, record.chain_id)) == data


@pytest.mark.parametrize(
    "data, words",
    [
        (link(b"h", b"below") + END, "link /below /h: no such file or directory"),
        (pax({b"path": b"n" * 256}) + member(b"f", b"1") + END, "file name too long"),
        (CASES["broken capability"], "lsetxattr security.capability /f: invalid argument"),
        (member(b"a", b"1") + member(b"./a", b"2") + END, "duplicates of file paths not supported: ./a"),
    ],
    ids=["a link into the layer below", "a long name", "a broken capability", "duplicates"],
)
def test_refused_as_by_docker(rig, data, words):
    """overlay2 and dockerd unpack a layer into an empty directory: what is below cannot be linked to."""
    base = add(rig, tar_of({"below": b"b"}))
    with pytest.raises(UnpackFailed, match=words):
        rig.unpack(data, base.chain_id)
    assert os.listdir(rig.layout.staging) == []


def test_attributes_that_overlay2_leaves_out(rig, mounted):
    data = CASES["attribute not permitted"].removesuffix(END) + xattr(b"foo", b"4") + member(b"g") + END
    seen = snapshot(mounted(add(rig, data)))
    assert seen[b"s"].xattrs == seen[b"g"].xattrs == {}


@pytest.mark.parametrize("count", [127, 400])
def test_high_stacks_mount(rig, mounted, count):
    ready, parent = [], None
    for depth in range(1, count + 1):
        ready.append(rig.unpack(tar_of({f"f{depth}": b"%d" % depth}), parent, depth))
        parent = ready[-1].chain_id
    seen = mounted(rig.store.commit(ready)[-1])
    assert sorted(int((seen / name).read_text()) for name in os.listdir(seen)) == list(range(1, count + 1))


def test_a_mount_lives_on_without_its_files(rig, mounted):
    base = add(rig, tar_of({"a": b"1" * 100_000}))
    top = add(rig, tar_of({"b": b"2"}), base.chain_id)
    seen = mounted(top)
    assert rig.store.release([base.chain_id, top.chain_id]) == [top.chain_id, base.chain_id]
    assert rig.driver.cache_ids() == []
    assert (seen / "a").read_bytes() == b"1" * 100_000


def test_no_mount_but_the_stack_itself(rig, mounted):
    top = add(rig, tar_of({"b": b"2"}), add(rig, tar_of({"a": b"1"})).chain_id)
    before = Path("/proc/self/mountinfo").read_text().splitlines()
    point = mounted(top)
    after = Path("/proc/self/mountinfo").read_text().splitlines()
    fresh = [line.split()[4] for line in after if line not in before]
    run = str(rig.layout.root.parent / "run/layers")
    assert [path for path in fresh if not path.startswith(run)] == [str(point)]


def test_a_damaged_index_is_not_mounted(rig, tmp_path):
    record = add(rig, tar_of({"a": b"1"}))
    index = rig.driver.path(record.cache_id) / "layer.erofs"
    data = bytearray(index.read_bytes())
    data[1100] ^= 1
    index.write_bytes(data)
    with pytest.raises(DamagedIndex, match="refuses its index"):
        rig.driver.mount(record.cache_id, tmp_path)
    assert [flaw.file for flaw in rig.driver.flaws(record.cache_id, None, [], used=False)] == [
        "erofs/layer.erofs"
    ]


def test_a_data_root_in_memory_keeps_layers_and_says_why_it_cannot_mount_them(tmp_path):
    from onggi.linux.mount_calls import mount

    point = tmp_path / "memory"
    point.mkdir()
    mount("none", point, "tmpfs")
    rig = Rig(point / "root", "erofs")
    try:
        record = add(rig, tar_of({"a": b"1"}))
        assert rig.store.damage(record) == ""
        with pytest.raises(CannotMount, match="a file on tmpfs") as caught:
            rig.driver.mount(record.cache_id, tmp_path)
        assert "overlay2" in caught.value.hint
        assert rig.driver.lacks()[0][0].endswith("a file on tmpfs")
    finally:
        rig.workers.close()
        unmount(point)


def test_flaws_and_mending(rig):
    base = add(rig, tar_of({"a": b"1"}))
    top = add(rig, tar_of({"b": b"2"}), base.chain_id)
    directory = rig.driver.path(top.cache_id)

    def files(parent=base.cache_id):
        return [flaw.file for flaw in rig.driver.flaws(top.cache_id, parent, [], used=False)]

    assert files() == []
    (directory / "parent").write_text("")
    assert files() == ["erofs/parent"]
    assert rig.driver.mend(top.cache_id, base.cache_id, [], used=False) == ["erofs/parent"]
    assert files() == [] and rig.store.damage(top) == ""
    (directory / "layer.sums").write_bytes(b"")
    assert files() == ["erofs/layer.sums"]
    (directory / "layer.tar").unlink()
    assert files() == ["erofs/layer.tar"]
    assert directory_is_told(rig, top)


def directory_is_told(rig, record) -> bool:
    return rig.store.usable(record.chain_id) is None


def test_directories_are_what_the_archive_says(rig, mounted):
    data = directory(b"d/", mode=0o1777, uid=5, gid=6, mtime=7) + member(b"d/f", b"1", uid=2**31) + END
    found = snapshot(mounted(add(rig, data)))
    assert (found[b"d"].mode, found[b"d"].uid, found[b"d"].gid) == (0o41777, 5, 6)
    assert (found[b"d"].mtime_ns, found[b"d/f"].uid) == (7 * 10**9, 2**31)
