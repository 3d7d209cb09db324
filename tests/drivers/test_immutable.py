"""``erofs.immutable=true``: nobody changes what is kept, and nothing stands in the way of whoever may."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.drivers.erofs import Erofs
from onggi.drivers.erofs_options import ErofsOptions
from onggi.drivers.erofs_probe import knows_verity, why_not_immutable
from onggi.layers.mend import mend_layer
from onggi.layers.verify import believed, check_layers
from onggi.linux.filesystem import statfs_type
from onggi.linux.mount import unmount
from onggi.linux.mount_calls import mount
from onggi.store.atomic import remove_tree
from onggi.store.trash import Trash
from tests.drivers.test_contract import Rig, crash, tar_of


@pytest.fixture(params=["512", "4096"])
def rig(tmp_path, request):
    made = Rig(tmp_path / "root", "erofs")
    options = ErofsOptions(int(request.param), immutable=True)
    made.driver = made.store.driver = Erofs(made.layout.driver_home, tmp_path / "run", options)
    yield made
    made.workers.close()
    remove_tree(tmp_path / "root", must_succeed=True)


def add(rig, files, parent=None):
    return rig.store.commit([rig.unpack(tar_of(files), parent)])[0]


def flags(rig, record) -> dict[str, bool]:
    """As lsattr tells them."""
    base = rig.driver.path(record.cache_id)
    paths = [path for path in base.iterdir() if path.name != "parent"]
    lines = subprocess.run(["lsattr", *paths], capture_output=True, text=True, check=True).stdout.splitlines()
    return {Path(name).name: "i" in shown for shown, name in (line.split(None, 1) for line in lines)}


def protected(rig, record) -> bool:
    return set(flags(rig, record).values()) == {True}


def check(rig, record, **settings):
    return next(
        iter(check_layers(rig.store, rig.workers, [believed(rig.store, record.chain_id)], **settings))
    )


def test_kept_files_cannot_be_changed_by_root(rig):
    record = add(rig, {"a": b"1" * 5000})
    assert protected(rig, record) and dict(rig.driver.status())["Immutable Files"] == "yes"
    for path in rig.driver.path(record.cache_id).iterdir():
        for change in (
            path.unlink,
            lambda path=path: path.write_bytes(b""),
            lambda path=path: path.chmod(0o600),
        ):
            with pytest.raises(PermissionError):
                change()
    assert check(rig, record).sound and check(rig, record, fast=True).sound


def test_removed_like_any_other(rig):
    base = add(rig, {"a": b"1"})
    top = add(rig, {"b": b"2"}, base.chain_id)
    assert rig.store.release([base.chain_id, top.chain_id]) == [top.chain_id, base.chain_id]
    assert rig.driver.cache_ids() == [] and os.listdir(rig.layout.driver_home) == []


def test_a_damaged_one_is_replaced(rig):
    base = add(rig, {"a": b"1"})
    subprocess.run(["chattr", "-i", rig.driver.files(base.cache_id)], check=True)
    rig.driver.files(base.cache_id).write_bytes(b"")
    assert not check(rig, base).sound
    remade = add(rig, {"a": b"1"})
    assert remade.cache_id == base.cache_id and protected(rig, remade) and check(rig, remade).sound
    assert os.listdir(rig.layout.staging) == []


def test_its_index_is_made_anew_and_protected_again(rig):
    record = add(rig, {"a": b"1"})
    index = rig.driver.path(record.cache_id) / "layer.erofs"
    subprocess.run(["chattr", "-i", index], check=True)
    index.write_bytes(b"x" * 4096)
    subprocess.run(["chattr", "+i", index], check=True)
    wanted = believed(rig.store, record.chain_id)
    result = check(rig, record)
    assert result.mendable
    assert mend_layer(rig.store, rig.workers, wanted, result, CancelToken()) == ["erofs/layer.erofs"]
    assert protected(rig, record) and check(rig, record).sound and check(rig, record, fast=True).sound


def test_killed_with_its_files_protected(rig):
    """Staged, or installed and not committed: the next command removes it; so does emptying the trash."""
    for installed in (False, True):
        ready = rig.unpack(tar_of({"b": b"2"}))
        rig.driver.flush([ready.staged.staged])
        if installed:
            rig.driver.install(ready.staged.staged, None)
        crash(rig, ready)
        assert rig.store.recover() == 1
        assert rig.driver.cache_ids() == [] and os.listdir(rig.layout.staging) == []
    record = add(rig, {"a": b"1"})
    trash = Trash(rig.layout.own / "trash")
    trash.discard(rig.driver.path(record.cache_id).parent)
    assert os.listdir(rig.layout.own / "trash") == []


def test_where_there_is_no_such_flag(tmp_path):
    """A file system without: layers are kept all the same, and doctor says so."""
    point = tmp_path / "memory"
    point.mkdir()
    mount("none", point, "ramfs")
    rig = Rig(point / "root", "erofs")
    options = ErofsOptions(immutable=True)
    rig.driver = rig.store.driver = Erofs(rig.layout.driver_home, tmp_path / "run", options)
    try:
        assert check(rig, add(rig, {"a": b"1"})).sound
        assert any("cannot be made immutable" in lack for lack, _ in rig.driver.lacks())
        assert "no: " in dict(rig.driver.status())["Immutable Files"]
    finally:
        rig.workers.close()
        unmount(point)


def test_probes_leave_nothing(tmp_path):
    assert why_not_immutable(tmp_path) == ""
    if statfs_type(tmp_path) == "extfs" and not Path("/sys/fs/ext4/features/verity").exists():
        assert not knows_verity(tmp_path)
    assert os.listdir(tmp_path) == []
