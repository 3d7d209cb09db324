"""One mount of each layer for all who use it, and none when nobody does."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onggi.drivers.erofs_mount import DamagedIndex
from onggi.linux.filesystem import is_mountpoint
from onggi.linux.mount import unmount
from onggi.linux.mount_calls import MS_BIND, MS_RDONLY, MS_REMOUNT, mount
from tests.drivers.test_contract import Rig


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "root", "erofs")
    yield made
    made.driver.release_mounts(set)
    assert places(made) == []
    made.workers.close()


@pytest.fixture
def point(tmp_path):
    """Makes mountpoints; what is mounted there ends with the test."""
    made = []

    def make() -> Path:
        path = tmp_path / f"point{len(made)}"
        path.mkdir()
        made.append(path)
        return path

    yield make
    for path in made:
        if is_mountpoint(os.fsencode(path)):
            unmount(path)


def places(rig) -> list[str]:
    """What is left of namespaces."""
    base = rig.layout.root.parent / "run/layers"
    return os.listdir(base) if base.exists() else []


def one(rig, content: bytes = b"1"):
    return rig.add({"a": content * 5000})


def test_two_mounts_are_one_file_system(rig, point):
    layer = one(rig)
    points = [point(), point()]
    for path in points:
        rig.driver.mount(layer.cache_id, path)
    assert points[0].stat().st_dev == points[1].stat().st_dev
    unmount(points[0])
    rig.driver.release_mounts(lambda: [layer.cache_id])
    third = point()
    rig.driver.mount(layer.cache_id, third)
    assert third.stat().st_dev == points[1].stat().st_dev


def test_what_nobody_uses_is_let_go(rig, point):
    used, unused = one(rig), one(rig, b"2")
    for layer in (used, unused):
        rig.driver.mount(layer.cache_id, point())
    (directory,) = places(rig)
    rig.driver.release_mounts(lambda: [used.cache_id])
    assert places(rig) == [directory]
    rig.driver.release_mounts(set)
    assert places(rig) == []


def test_the_layers_below_a_used_one_stay(rig, point):
    base = one(rig)
    top = rig.add({"b": b"2"}, base.chain_id)
    below, stack = point(), point()
    rig.driver.mount(base.cache_id, below)
    rig.driver.mount(top.cache_id, stack)
    rig.driver.release_mounts(lambda: [top.cache_id])
    again = point()
    rig.driver.mount(base.cache_id, again)
    assert again.stat().st_dev == below.stat().st_dev


def test_the_disk_is_free_afterwards(ext4_loop, tmp_path):
    disk = ext4_loop(64 << 20)
    rig = Rig(disk / "root", "erofs")
    target = tmp_path / "target"
    target.mkdir()
    layer = one(rig)
    rig.driver.mount(layer.cache_id, target)
    unmount(target)
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["umount", disk], check=True, capture_output=True)
    rig.driver.release_mounts(set)
    rig.workers.close()
    subprocess.run(["umount", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk.with_name("ext4-0.img"), disk], check=True)


def test_a_replaced_layer_is_mounted_anew(rig, point):
    layer = one(rig)
    before, after = point(), point()
    rig.driver.mount(layer.cache_id, before)
    (rig.driver.path(layer.cache_id) / "layer.erofs").unlink()
    again = one(rig)
    assert again.cache_id == layer.cache_id
    rig.driver.mount(layer.cache_id, after)
    assert before.stat().st_dev != after.stat().st_dev
    assert (before / "a").read_bytes() == (after / "a").read_bytes() == b"1" * 5000


def test_a_removed_layer_takes_no_room(rig, point):
    layer, other = one(rig), one(rig, b"2")
    path = point()
    rig.driver.mount(layer.cache_id, path)
    rig.driver.mount(other.cache_id, point())
    rig.store.release([layer.chain_id])
    rig.driver.release_mounts(lambda: [layer.cache_id, other.cache_id])
    assert (path / "a").read_bytes() == b"1" * 5000
    unmount(path)
    assert len(places(rig)) == 1


def test_many_at_once(rig, point):
    layer = one(rig)
    points = [point() for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda path: rig.driver.mount(layer.cache_id, path), points))
    assert len({path.stat().st_dev for path in points}) == 1


def test_another_process_shares_it(rig, point):
    layer = one(rig)
    here, there = point(), point()
    rig.driver.mount(layer.cache_id, here)
    script = (
        "import sys; from pathlib import Path; from onggi.drivers.erofs import Erofs;"
        "Erofs(Path(sys.argv[1]), Path(sys.argv[2])).mount(sys.argv[3], Path(sys.argv[4]))"
    )
    words = [rig.layout.driver_home, rig.layout.root.parent / "run", layer.cache_id, there]
    subprocess.run([sys.executable, "-c", script, *words], check=True)
    assert here.stat().st_dev == there.stat().st_dev


def test_where_no_namespace_can_be_kept(rig, point):
    """A read-only /run: every stack has mounts of its own."""
    run = rig.layout.root.parent / "run"
    run.mkdir()
    mount(run, run, "", MS_BIND)
    mount("", run, "", MS_BIND | MS_REMOUNT | MS_RDONLY)
    try:
        layer = one(rig)
        points = [point(), point()]
        for path in points:
            rig.driver.mount(layer.cache_id, path)
        assert points[0].stat().st_dev != points[1].stat().st_dev
    finally:
        unmount(run)


def test_after_a_kill_between_its_steps(rig, point):
    """The directory is bound to itself, and there is an ordinary file where the namespace should be."""
    status = os.stat(rig.layout.driver_home)
    directory = rig.layout.root.parent / "run/layers" / f"{status.st_dev:x}-{status.st_ino:x}"
    directory.mkdir(parents=True)
    mount(directory, directory, "", MS_BIND)
    (directory / "namespace").touch()
    layer = one(rig)
    points = [point(), point()]
    for path in points:
        rig.driver.mount(layer.cache_id, path)
    assert points[0].stat().st_dev == points[1].stat().st_dev
    rig.driver.release_mounts(set)
    assert not is_mountpoint(os.fsencode(directory))


def test_a_damaged_layer_leaves_nothing(rig, point):
    good = one(rig)
    bad = rig.add({"b": b"2"}, good.chain_id)
    (rig.driver.path(bad.cache_id) / "layer.erofs").write_bytes(bytes(4096))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DamagedIndex):
        rig.driver.mount(bad.cache_id, point())
    assert places(rig) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_this_process_stays_where_it_is(rig, point):
    before = os.getcwd(), os.readlink("/proc/self/ns/mnt"), len(Path("/proc/self/mountinfo").read_text())
    path = point()
    rig.driver.mount(one(rig).cache_id, path)
    unmount(path)
    rig.driver.release_mounts(set)
    assert before == (
        os.getcwd(),
        os.readlink("/proc/self/ns/mnt"),
        len(Path("/proc/self/mountinfo").read_text()),
    )
