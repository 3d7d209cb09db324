"""Mounts that outlive their makers: recorded before they are made, cleared when nobody finished them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

import onggi
from onggi.engine.mount_records import MOUNTING, MountRecord
from onggi.engine.mounts import MountedElsewhere, NotMounted
from onggi.engine.removal import ImageInUse
from onggi.errors import Conflict, InvalidArgument
from onggi.linux.filesystem import is_mountpoint
from onggi.linux.mount import bind_mount, unmount
from tests.peers.processes import require

# An image of one layer is a bind mount, one of two an overlay.
IMAGES = pytest.mark.parametrize("name", ["big", "web:v1"])


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "tar get"
    path.mkdir()
    yield path
    while is_mountpoint(path):
        unmount(path)


def record_file(root: Path, record: MountRecord) -> Path:
    return root / "onggi/mounts" / f"{record.id}.json"


def unfinish(root: Path, record: MountRecord) -> None:
    """As if its maker had been killed right after the mount."""
    document = {**asdict(record), "state": MOUNTING}
    record_file(root, record).write_text(json.dumps(document))


def nothing_left(root: Path) -> bool:
    locks = [name for name in os.listdir(root / "onggi/locks") if name.startswith("mount-")]
    return not os.listdir(root / "onggi/mounts") and not locks


@IMAGES
def test_mount_and_unmount(engine: onggi.Engine, root: Path, target: Path, name: str) -> None:
    record = engine.mounts.mount(name)
    other = engine.mounts.mount(name, str(target))
    assert sorted(os.listdir(target)) == sorted(os.listdir(record.path))
    assert engine.mounts.list() == [record, other]
    assert json.loads(record_file(root, record).read_text())["state"] == "mounted"
    assert engine.mounts.unmount(str(target)) == [other]
    assert engine.mounts.unmount(name) == [record]
    assert nothing_left(root) and target.is_dir()
    with pytest.raises(NotMounted):
        engine.mounts.unmount(name)


def test_what_cannot_be_mounted_leaves_nothing(engine: onggi.Engine, root: Path, target: Path) -> None:
    engine.mounts.mount("big", str(target))
    with pytest.raises(Conflict, match="something is mounted there"):
        engine.mounts.mount("web:v1", str(target))
    engine.mounts.unmount(str(target))
    with pytest.raises(InvalidArgument, match="not a directory"):
        engine.mounts.mount("web:v1", str(target / "nowhere"))
    subprocess.run(["rm", "-r", engine.images.get("web:v1").layers[0].path], check=True)
    with pytest.raises(onggi.errors.DataLoss):
        engine.mounts.mount("web:v1", str(target))
    assert nothing_left(root) and not is_mountpoint(target)


# --- makers that were killed ----------------------------------------------------------------------


@IMAGES
@pytest.mark.parametrize("own", [True, False])
def test_killed_after_the_mount(engine: onggi.Engine, root: Path, target: Path, name: str, own: bool) -> None:
    record = engine.mounts.mount(name, None if own else str(target))
    unfinish(root, record)
    assert engine.mounts.list() == []
    assert [item.name for item in engine.gc(dry_run=True).removed if item.kind == "mount"] == [record.id]
    engine.images.remove(name)
    assert not is_mountpoint(record.path) and nothing_left(root) and target.is_dir()


def test_killed_before_the_mount(engine: onggi.Engine, root: Path, target: Path) -> None:
    """What is mounted there since then is not ours."""
    record = engine.mounts.mount("big", str(target))
    unfinish(root, record)
    unmount(target)
    bind_mount(root, target)
    engine.system.recover()
    assert nothing_left(root) and is_mountpoint(target)


def test_killed_between_record_and_directory(engine: onggi.Engine, root: Path) -> None:
    record = engine.mounts.mount("big")
    unfinish(root, record)
    unmount(record.path)
    os.rmdir(record.path)
    engine.system.recover()
    assert nothing_left(root)


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_a_mount_without_a_record(engine: onggi.Engine, root: Path, text: str | None) -> None:
    """Left by a version that wrote the record last, or whose record was lost in a power cut."""
    record = engine.mounts.mount("big")
    record_file(root, record).unlink()
    if text is not None:
        record_file(root, record).write_text(text)
    engine.system.recover()
    assert not is_mountpoint(record.path) and nothing_left(root)


def test_killed_while_unmounting(engine: onggi.Engine, root: Path) -> None:
    record = engine.mounts.mount("web:v1")
    unmount(record.path)
    assert engine.mounts.list() == []
    engine.system.recover()
    assert nothing_left(root)


def test_a_living_maker_is_left_alone(engine: onggi.Engine, root: Path, target: Path) -> None:
    record = engine.mounts.mount("big", str(target))
    unfinish(root, record)
    with engine._core.locks.acquire(f"mount-{record.id}", exclusive=True):
        engine.system.recover()
        assert is_mountpoint(target) and record_file(root, record).exists()
        assert engine.gc(explain=True).removed == []
    engine.system.recover()
    assert nothing_left(root)


def test_two_on_one_directory(engine: onggi.Engine, root: Path, target: Path) -> None:
    """Neither has mounted yet; the second is told."""
    record = engine.mounts.mount("big", str(target))
    unmount(target)
    unfinish(root, record)
    with engine._core.locks.acquire(f"mount-{record.id}", exclusive=True), pytest.raises(Conflict):
        engine.mounts.mount("web:v1", str(target))


def test_records_of_older_versions(engine: onggi.Engine, root: Path) -> None:
    record = engine.mounts.mount("big")
    old = {key: asdict(record)[key] for key in ("id", "image_id", "reference", "path", "mounted_at")}
    record_file(root, record).write_text(json.dumps(old))
    engine.system.recover()
    assert [each.id for each in engine.mounts.list()] == [record.id]
    engine.mounts.unmount(record.id)
    assert not is_mountpoint(record.path) and nothing_left(root)


# --- other mount namespaces -----------------------------------------------------------------------


def test_another_mount_namespace(engine: onggi.Engine, root: Path, target: Path) -> None:
    """Its mount cannot be seen here, and is in use all the same, until the namespace ends."""
    words = [sys.executable, "-m", "onggi", "--data-root", str(root), "image", "mount", "big", str(target)]
    process = subprocess.Popen(
        [require("unshare"), "--mount", "sh", "-c", '"$@" && exec sleep 100', "-", *words],
        stdout=subprocess.PIPE,
        env={**os.environ, "ONGGI_CONFIG": ""},
    )
    assert process.stdout is not None and process.stdout.readline().decode().strip() == str(target)
    try:
        assert not is_mountpoint(target)
        assert [record.path for record in engine.mounts.list()] == [str(target)]
        engine.system.recover()
        with pytest.raises(ImageInUse, match="mounted on"):
            engine.images.remove("big")
        with pytest.raises(MountedElsewhere, match=f"process {process.pid}"):
            engine.mounts.unmount("big")
    finally:
        process.kill()
        process.communicate()
    assert engine.mounts.list() == []
    engine.images.remove("big")
    assert nothing_left(root)
