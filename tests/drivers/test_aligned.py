"""Layers with their contents on blocks of 4 KiB: what is kept, what comes back, beside layers that are tars."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.archive.erofs.reader import Index
from onggi.drivers.erofs import Erofs
from onggi.errors import OnggiError
from onggi.layers.tar_stream import layer_tar
from onggi.layers.verify import believed, check_layers
from onggi.tree.layer_tree import OpenLayers
from tests.archive.erofs.test_agreement import mutated, trees
from tests.archive.tar_blocks import END, directory, link, member, pax
from tests.archive.tar_strategies import archives
from tests.drivers.kept_layers import add, kept
from tests.drivers.test_contract import Rig, tar_of
from tests.tree.cases import CASES
from tests.tree.index_trees import told
from tests.tree.trees import snapshot

NAMES = {"layer.data", "layer.erofs", "tar-split.json.gz"}
# A sparse file may claim any size; no tree of these tests is read beyond this.
_SIZE_MAX = 1 << 22


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "root", "erofs 4096")
    yield made
    made.driver.release_mounts(set)
    made.workers.close()


def sound(rig, record) -> bool:
    wanted = [believed(rig.store, record.chain_id)]
    checks = [*check_layers(rig.store, rig.workers, wanted)]
    return all(check.sound for check in [*checks, *check_layers(rig.store, rig.workers, wanted, fast=True)])


def test_contents_lie_on_blocks(rig, mounted):
    data = tar_of({"etc": None, "etc/hosts": b"h" * 10, "empty": b"", "two": b"2" * 4097, "x": b"x"})
    record = add(rig, data)
    base = rig.driver.path(record.cache_id)
    assert kept(rig, record) == NAMES
    assert all(stat.S_IMODE((base / name).stat().st_mode) == 0o400 for name in NAMES)
    expected = b"".join(part.ljust(-(-len(part) // 4096) * 4096, b"\0") for part in (b"h" * 10, b"2" * 4097))
    assert (base / "layer.data").read_bytes() == expected + b"x".ljust(4096, b"\0")
    assert Index((base / "layer.erofs").read_bytes()).block_bits == 12
    assert not (rig.store.db.path(record.chain_id) / "tar-split.json.gz").exists()
    assert os.stat(mounted(record) / "two").st_blksize == 4096
    assert rig.driver.status()[1] == ("Block Size", "4096")
    assert rig.driver.graph_data(record.cache_id)["Data"] == str(base / "layer.data")


def test_a_layer_without_contents(rig, mounted):
    record = add(rig, tar_of({"d": None}))
    assert (rig.driver.files(record.cache_id)).read_bytes() == b""
    assert [path.name for path in mounted(record).iterdir()] == ["d"]
    assert sound(rig, record) and sound(rig, add(rig, b""))


def test_beside_layers_that_are_tars(rig, mounted):
    """Each layer says itself what it is; a setting concerns new ones."""
    base = add(rig, tar_of({"a": b"1", "gone": b"g"}))
    rig.driver = rig.store.driver = Erofs(rig.layout.driver_home, rig.layout.root.parent / "run")
    middle = add(rig, tar_of({"b": b"2", ".wh.gone": b""}), base.chain_id)
    assert kept(rig, base) == NAMES
    assert kept(rig, middle) == {"layer.tar", "layer.sums", "layer.erofs", "parent"}
    assert {path.name: path.read_bytes() for path in mounted(middle).iterdir()} == {"a": b"1", "b": b"2"}
    assert sound(rig, base) and sound(rig, middle)
    assert rig.store.release([base.chain_id, middle.chain_id]) == [middle.chain_id, base.chain_id]
    assert rig.driver.cache_ids() == []


def sparse(size: int, at: int, content: bytes) -> bytes:
    """A file with one fragment."""
    fields = {b"size": b"%d" % size, b"numblocks": b"1", b"map": b"%d,%d" % (at, len(content))}
    records = {b"GNU.sparse." + name: value for name, value in fields.items()}
    return pax({b"GNU.sparse.name": b"sp"} | records) + member(b"f", content)


def test_sparse_members_keep_their_holes(rig, mounted):
    content = b"s" * 5000
    data = member(b"before", b"b") + sparse(40_000, 8192, content[:4096]) + member(b"behind", b"c") + END
    record = add(rig, data)
    assert kept(rig, record) == NAMES
    assert os.stat(rig.driver.files(record.cache_id)).st_size == 3 * 4096
    expected = bytes(8192) + content[:4096] + bytes(40_000 - 8192 - 4096)
    seen = mounted(record)
    assert (seen / "sp").read_bytes() == expected and (seen / "behind").read_bytes() == b"c"
    assert b"".join(layer_tar(rig.store, record.chain_id)) == data
    split = rig.store.db.path(record.chain_id) / "tar-split.json.gz"
    members = {each.name: each for each in rig.driver.members(record.cache_id, split)}
    assert b"".join(rig.driver.content(record.cache_id, split, members[b"sp"])) == expected
    assert b"".join(rig.driver.content(record.cache_id, split, members[b"behind"])) == b"c"
    assert sound(rig, record)


@pytest.mark.parametrize(
    "data", [CASES["default ACL"], sparse(20, 2, b"abc") + END], ids=["default ACL", "no block"]
)
def test_what_no_index_shows_is_unpacked(rig, data):
    record = add(rig, data)
    assert kept(rig, record) == {"diff"}
    assert (rig.store.db.path(record.chain_id) / "tar-split.json.gz").exists()
    assert b"".join(layer_tar(rig.store, record.chain_id)) == data
    assert sound(rig, record)


def test_an_archive_cut_in_its_padding(rig, mounted):
    """Docker takes it; here the last block is whole all the same."""
    data = member(b"f", b"x" * 1000)[: 512 + 1000]
    record = add(rig, data)
    assert kept(rig, record) == NAMES
    assert (mounted(record) / "f").read_bytes() == b"x" * 1000
    assert b"".join(layer_tar(rig.store, record.chain_id)) == data


def test_hard_links_share_their_content(rig, mounted):
    data = directory(b"d/") + member(b"d/f", b"1" * 5000) + link(b"d/g", b"d/f") + link(b"h", b"d/g") + END
    record = add(rig, data)
    assert os.stat(rig.driver.files(record.cache_id)).st_size == 8192
    seen = snapshot(mounted(record))
    assert seen[b"h"].nlink == 3 and seen[b"h"].content == b"1" * 5000
    assert b"".join(layer_tar(rig.store, record.chain_id)) == data


# --- both forms say the same ------------------------------------------------------------------


class Pair:
    """A store of each form."""

    def __init__(self, place: Path) -> None:
        self.rigs = [Rig(place / name / "root", name) for name in ("erofs", "erofs 4096")]

    def close(self) -> None:
        for rig in self.rigs:
            rig.workers.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    made = Pair(tmp_path_factory.mktemp("pair"))
    yield made
    made.close()


def outcome(rig, data: bytes):
    try:
        return add(rig, data), None
    except OnggiError as error:
        return None, (type(error).__name__, error.message)


def agree(pair: Pair, data: bytes) -> None:
    """The same refusal or the same layer: size, tar, members, tree; both sound; fsck.erofs takes the second."""
    (tar, refusal), (aligned, other) = [outcome(rig, data) for rig in pair.rigs]
    assert refusal == other
    if tar is None or aligned is None:
        return
    assert (tar.diff_id, tar.size) == (aligned.diff_id, aligned.size)
    if tar.size > _SIZE_MAX:
        return
    seen = []
    for rig, record in zip(pair.rigs, (tar, aligned), strict=True):
        assert b"".join(layer_tar(rig.store, record.chain_id)) == data
        assert sound(rig, record)
        split = rig.store.db.path(record.chain_id) / "tar-split.json.gz"
        members = [
            (each.name, each.type, each.size, each.sparse)
            for each in rig.driver.members(record.cache_id, split)
        ]
        with OpenLayers() as layers:
            tree = told(layers.add(rig.driver.tree(record.cache_id, layers.kept)))
        seen.append((members, tree, (rig.driver.path(record.cache_id) / "diff").exists()))
    assert seen[0][0] == seen[1][0]
    if not (seen[0][2] or seen[1][2]):
        assert seen[0][1] == seen[1][1]
    if not seen[1][2]:
        _fsck(pair.rigs[1].driver.path(aligned.cache_id))
    for rig, record in zip(pair.rigs, (tar, aligned), strict=True):
        rig.store.release([record.chain_id])


def _fsck(base: Path) -> None:
    """Debian's knows blocks of 4 KiB, and reads every byte that the index points to."""
    device = [f"--device={base}/layer.data"] if (base / "layer.data").stat().st_size else []
    with tempfile.TemporaryDirectory(prefix="onggi-fsck-") as place:
        command = ["fsck.erofs", *device, f"--extract={place}/out", str(base / "layer.erofs")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_every_case(pair, name):
    agree(pair, CASES[name])


@settings(max_examples=25, deadline=None)
@given(st.one_of(trees, archives, mutated()))
def test_random_archives(pair, data):
    agree(pair, data)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=2_000, deadline=None)
@given(st.one_of(trees, archives, mutated(), mutated()))
def test_a_long_campaign(pair, data):
    agree(pair, data)
