"""What every storage driver must do, whoever it is; drivers join by one line in ``DRIVERS``."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from onggi.drivers.erofs import Erofs
from onggi.drivers.erofs_options import ErofsOptions
from onggi.drivers.overlay2 import Overlay2
from onggi.drivers.workers import Workers
from onggi.errors import DataLoss
from onggi.layers.staging import UnpackFailed
from onggi.layers.store import LayerStore, ReadyLayer, TooDeep
from onggi.layers.tar_stream import LayerChanged, layer_tar, layer_tar_size
from onggi.linux.mount import unmount
from onggi.oci.digest import DiffID, chain_id
from onggi.oci.image_config import ImageConfig
from onggi.store.imagedb import ImageDB
from onggi.store.layout import Layout

DRIVERS = {
    "overlay2": lambda layout: Overlay2(layout.driver_home),
    "erofs": lambda layout: Erofs(layout.driver_home, layout.root.parent / "run"),
    "erofs 4096": lambda layout: Erofs(layout.driver_home, layout.root.parent / "run", ErofsOptions(4096)),
}


class Rig:
    """A store on one driver, and layers made of ``{name: content}``."""

    def __init__(self, root: Path, name: str) -> None:
        self.layout = Layout(root, name.partition(" ")[0])
        self.layout.create()
        self.driver = DRIVERS[name](self.layout)
        self.driver.check_host()
        self.driver.prepare()
        self.images = ImageDB(self.layout.imagedb)
        self.store = LayerStore(self.layout, self.driver, self.images, compat="28")
        self.workers = Workers(self.driver.job_name)

    def unpack(self, data: bytes, parent=None, depth=None):
        diff = DiffID.of(data)
        chain = chain_id(parent, diff)
        staged = self.store.stage(chain, depth or (1 if parent is None else 2))
        blob = staged.base / "blob"
        blob.write_bytes(data)
        fd = os.open(blob, os.O_RDONLY)
        unpacking = staged.unpack(self.workers, fd, lambda consumed: None)
        os.close(fd)
        unpacking.end(len(data))
        try:
            return ReadyLayer(staged, chain, parent, unpacking.result())
        except BaseException:
            staged.discard()
            raise
        finally:
            unpacking.close()

    def add(self, files, parent=None, depth=None):
        return self.store.commit([self.unpack(tar_of(files), parent, depth)])[0]

    def image_on(self, *diffs):
        listed = ",".join(f'"{diff}"' for diff in diffs)
        raw = f'{{"os":"linux","rootfs":{{"type":"layers","diff_ids":[{listed}]}}}}'
        config = ImageConfig.parse(raw.encode())
        self.images.add(config)
        return config


def tar_of(files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                member.size, member.mtime = len(content), 1_700_000_000
                archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture(params=sorted(DRIVERS))
def rig(request, tmp_path):
    made = Rig(tmp_path / "root", request.param)
    yield made
    made.driver.release_mounts(set)
    made.workers.close()


def mounted(rig, record):
    target = rig.layout.root / "merged"
    target.mkdir(exist_ok=True)
    rig.driver.mount(record.cache_id, target)
    try:
        return {
            str(path.relative_to(target)): path.read_bytes()
            for path in sorted(target.rglob("*"))
            if path.is_file()
        }
    finally:
        unmount(target)


def test_layer_is_its_stream(rig):
    data = tar_of({"a": b"1", "d": None, "d/b": b"22"})
    record = rig.store.commit([rig.unpack(data)])[0]
    assert record.diff_id == DiffID.of(data)
    assert record.size == 3
    assert rig.store.get(record.chain_id) == record
    assert rig.store.damage(record) == ""
    assert mounted(rig, record) == {"a": b"1", "d/b": b"22"}


def test_stack_hides_and_adds(rig):
    base = rig.add({"keep": b"k", "old": b"o", "d": None, "d/x": b"x"})
    top = rig.add(
        {".wh.old": b"", "keep": b"K", "d": None, "d/.wh..wh..opq": b"", "d/y": b"y"}, base.chain_id
    )
    assert mounted(rig, top) == {"keep": b"K", "d/y": b"y"}
    assert mounted(rig, base) == {"keep": b"k", "old": b"o", "d/x": b"x"}


def test_mount_is_read_only(rig):
    record = rig.add({"a": b"1"})
    top = rig.add({"b": b"2"}, record.chain_id)
    for layer in (record, top):
        target = rig.layout.root / "merged"
        target.mkdir(exist_ok=True)
        rig.driver.mount(layer.cache_id, target)
        try:
            with pytest.raises(OSError, match="Read-only"):
                (target / "new").write_text("x")
        finally:
            unmount(target)


def test_several_layers_in_one_commit(rig):
    first = rig.unpack(tar_of({"a": b"1"}))
    second = rig.unpack(tar_of({"b": b"2"}), first.chain_id)
    third = rig.unpack(tar_of({".wh.a": b""}), second.chain_id, 3)
    records = rig.store.commit([first, second, third])
    assert mounted(rig, records[2]) == {"b": b"2"}
    assert os.listdir(rig.layout.staging) == []


def test_as_many_layers_as_it_promises_mount_and_one_more_is_refused(rig):
    ready, parent, most = [], None, rig.driver.max_depth
    for depth in range(1, most + 1):
        ready.append(rig.unpack(tar_of({f"f{depth}": b"x"}), parent, depth))
        parent = ready[-1].chain_id
    records = rig.store.commit(ready)
    assert len(mounted(rig, records[-1])) == most
    with pytest.raises(TooDeep, match="max depth exceeded"):
        rig.store.stage(chain_id(parent, DiffID.of(b"")), most + 1)


@pytest.mark.parametrize(
    "data",
    [
        b"junk" * 200,
        tar_of({"a": b"1" * 5000})[:2000],
        tar_of({"a": b"1"})[:512] + tar_of({"a": b"1"}),
    ],
    ids=["junk", "truncated", "duplicate"],
)
def test_bad_streams_leave_nothing(rig, data):
    before = tree(rig.layout.root)
    with pytest.raises((UnpackFailed, DataLoss)):
        rig.unpack(data)
    assert tree(rig.layout.root) == before


def tree(root: Path) -> set[str]:
    return {str(path) for path in root.rglob("*") if "locks" not in path.parts}


def test_a_commit_that_fails_leaves_nothing(rig, monkeypatch):
    """The first of two layers is in its place by then: without room, say."""
    rig.add({"other": b"1"})
    before = tree(rig.layout.root)
    base = rig.unpack(tar_of({"a": b"1"}))
    top = rig.unpack(tar_of({"b": b"2"}), base.chain_id)

    def full(staged, write_sets):
        assert {layer.staged.cache_id for layer in (base, top)} < set(rig.driver.cache_ids())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rig.driver, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        rig.store.commit([base, top])
    for layer in (base, top):
        layer.staged.discard()
    assert tree(rig.layout.root) == before


def test_release_spares_what_is_used(rig):
    base = rig.add({"a": b"1"})
    left = rig.add({"b": b"2"}, base.chain_id)
    right = rig.add({"c": b"3"}, base.chain_id)
    config = rig.image_on(base.diff_id, left.diff_id)
    assert rig.store.release([base.chain_id, left.chain_id]) == []
    assert rig.store.release([base.chain_id, right.chain_id]) == [right.chain_id]
    rig.images.remove(config.id)
    assert rig.store.release(config.chain_ids) == [left.chain_id, base.chain_id]
    assert rig.driver.cache_ids() == []
    assert rig.driver.orphan_links() == []


def test_release_leaves_a_leased_layer(rig):
    base = rig.add({"a": b"1"})
    with rig.store.lease(base.chain_id):
        assert rig.store.release([base.chain_id]) == []
    assert rig.store.release([base.chain_id]) == [base.chain_id]


def test_containers_hold_their_layers(rig):
    base = rig.add({"a": b"1"})
    mount = rig.layout.layerdb / "mounts" / ("c" * 64)
    mount.mkdir(parents=True)
    (mount / "parent").write_text(base.chain_id)
    assert rig.store.release([base.chain_id]) == []


def crash(rig, ready):
    """Let go as the kernel does for a killed process, and wait for its worker to end."""
    ready.staged._lease.release()
    rig.store.locks.acquire(f"staging-{ready.staged.cache_id}", exclusive=True).release()


def test_recover_clears_every_stage_of_a_crash(rig):
    base = rig.add({"a": b"1"})
    ready = rig.unpack(tar_of({"b": b"2"}), base.chain_id)
    crash(rig, ready)
    assert rig.store.recover() == 1
    assert os.listdir(rig.layout.staging) == []

    ready = rig.unpack(tar_of({"b": b"2"}), base.chain_id)
    rig.driver.install(ready.staged.staged, base.cache_id)
    crash(rig, ready)
    assert rig.store.recover() == 1
    assert rig.driver.cache_ids() == [base.cache_id]
    assert rig.store.damage(base) == ""

    top = rig.add({"b": b"2"}, base.chain_id)
    rig.store.db.begin_removal(top.chain_id)
    assert rig.store.recover() == 1
    assert rig.driver.cache_ids() == [base.cache_id]


def test_recover_leaves_live_work_alone(rig):
    ready = rig.unpack(tar_of({"b": b"2"}))
    assert rig.store.recover() == 0
    rig.store.commit([ready])


HARMS = {
    "overlay2": ["directory", "link", "symlink", "lower"],
    "erofs": ["directory", "layer.tar", "layer.erofs", "parent", "no parent"],
    "erofs 4096": ["directory", "layer.data", "tar-split.json.gz", "layer.erofs", "parent", "no parent"],
}


@pytest.mark.parametrize(
    "rig, harm", [(name, harm) for name, harms in HARMS.items() for harm in harms], indirect=["rig"]
)
def test_damaged_layer_is_remade_under_its_children(rig, harm):
    """The layer gets its old names back, so that what stands on it stays sound."""
    ground = rig.add({"g": b"0"})
    base = rig.add({"a": b"1"}, ground.chain_id)
    top = rig.add({"b": b"2"}, base.chain_id, 3)
    directory = rig.driver.path(base.cache_id)
    if harm == "directory":
        shutil.rmtree(directory)
    elif harm == "symlink":
        os.unlink(rig.layout.driver_home / "l" / (directory / "link").read_text())
    elif harm in ("layer.tar", "layer.data", "tar-split.json.gz", "no parent"):
        os.unlink(directory / harm.removeprefix("no "))
    else:
        (directory / harm).write_text("")
    assert rig.store.damage(base) != ""
    assert rig.store.usable(base.chain_id) is None
    remade = rig.add({"a": b"1"}, ground.chain_id)
    assert remade.cache_id == base.cache_id
    assert rig.store.damage(remade) == rig.store.damage(top) == ""
    assert mounted(rig, top) == {"a": b"1", "b": b"2", "g": b"0"}
    assert rig.store.recover() == 0


def test_a_layer_gives_its_tar_back(rig):
    data = tar_of({"etc": None, "etc/hosts": b"127.0.0.1\n" * 9000, "empty": b""}) + b"after the end"
    record = rig.store.commit([rig.unpack(data)])[0]
    assert b"".join(layer_tar(rig.store, record.chain_id)) == data


def test_its_members_and_its_size_without_its_contents(rig):
    data = tar_of({"etc": None, "etc/hosts": b"127.0.0.1\n" * 9000, "empty": b""}) + bytes(70_000)
    record = rig.store.commit([rig.unpack(data)])[0]
    split = rig.store.db.path(record.chain_id) / "tar-split.json.gz"
    members = list(rig.driver.members(record.cache_id, split))
    assert [(each.name, each.size) for each in members] == [
        (b"etc/", 0),
        (b"etc/hosts", 90_000),
        (b"empty", 0),
    ]
    assert layer_tar_size(rig.store, record.chain_id) == len(data)


def test_a_second_try_begins_anew(rig):
    """A blob that is started over has its layer unpacked again, into the same staging directory."""
    ready = rig.unpack(tar_of({"a": b"1"}))
    ready.staged.empty()
    fd = os.open(ready.staged.base / "blob", os.O_RDONLY)
    unpacking = ready.staged.unpack(rig.workers, fd, lambda consumed: None)
    os.close(fd)
    unpacking.end(os.stat(ready.staged.base / "blob").st_size)
    assert unpacking.result() == ready.unpacked
    unpacking.close()
    assert mounted(rig, rig.store.commit([ready])[0]) == {"a": b"1"}


def change(rig, record, content: bytes | None) -> None:
    """Change, lengthen or delete ``etc/hosts`` where the driver keeps it."""
    path = rig.driver.files(record.cache_id)
    if path.is_dir():
        hosts = path / "etc/hosts"
        hosts.unlink() if content is None else hosts.write_bytes(content)
    elif content is None:
        os.truncate(path, 600 if path.name == "layer.tar" else 0)
    else:
        path.write_bytes(path.read_bytes().replace(b"127.0.0.1\n", content))


@pytest.mark.parametrize("content", [b"127.0.0.2\n", b"longer than before\n", None])
def test_a_changed_file_is_told(rig, content):
    record = rig.store.commit([rig.unpack(tar_of({"etc": None, "etc/hosts": b"127.0.0.1\n"}))])[0]
    change(rig, record, content)
    with pytest.raises(LayerChanged, match="could not verify layer data"):
        list(layer_tar(rig.store, record.chain_id))
