"""system prune, by the time of last use; pins; sizes that add up."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

import onggi
from onggi.engine.filters import InvalidFilter
from onggi.engine.removal import ImageInUse
from tests.engine.test_gc import directory, make

HOUR = 3600


def used(engine: onggi.Engine, **hours_ago: float) -> None:
    """Set when images were last used: ``web_v1=3`` is three hours ago."""
    for name, hours in hours_ago.items():
        path = engine._core.last_use.path(engine.images.get(name.replace("_", ":")).id)
        os.utime(path, (time.time() - hours * HOUR,) * 2)


def tags(engine: onggi.Engine) -> set[str]:
    return {tag for image in engine.images.list(all=True) for tag in image.tags}


def du(path: Path) -> int:
    done = subprocess.run(["du", "-sx", "-B1", path], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


# --- last use -----------------------------------------------------------------------------------------


def test_pull_mount_and_save_are_uses(engine: onggi.Engine, tmp_path: Path) -> None:
    used(engine, web_v1=9, web_v2=9, big_latest=9)
    image = engine.images.get("web:v1")
    base = image.layers[0]
    os.utime(engine._core.last_use.path(base.chain_id), (5, 5))
    assert (base.last_used, round(time.time() - image.last_used)) == (5, 9 * HOUR)
    with image.mount():
        pass
    engine.images.save("web:v2", tmp_path / "archive")
    engine.images.pull("big")
    for name in ("web:v1", "web:v2", "big"):
        assert time.time() - engine.images.get(name).last_used < 60
    assert base.last_used is not None and time.time() - base.last_used < 60


def test_an_image_nobody_used_counts_from_when_it_came(engine: onggi.Engine) -> None:
    image = engine.images.get("big")
    engine._core.last_use.forget(image.id)
    os.utime(engine._core.images.path(image.id), (5, 5))
    assert image.last_used == 5


# --- system prune ---------------------------------------------------------------------------------------


def test_dangling_images_and_leftovers(engine: onggi.Engine, root: Path) -> None:
    engine.images.tag("big", "web:v1")
    with engine._core.tags.transaction("rmi") as names:
        for reference in engine._core.tags.snapshot().of(engine.images.get("web:v2").id):
            names.remove(reference)
    directory(root)
    report = engine.system.prune()
    assert sum(effect.deleted is not None for effect in report.removed) == 5
    assert [item.kind for item in report.leftovers.removed if item.size_bytes] == ["directory"]
    assert report.space_reclaimed_bytes == 5029 + report.leftovers.reclaimed_bytes
    assert tags(engine) == {"big:latest", "web:v1"}


def test_all_unused(engine: onggi.Engine) -> None:
    engine.system.prune(all=True)
    assert not tags(engine)


def test_until(engine: onggi.Engine) -> None:
    used(engine, web_v1=30, web_v2=2, big_latest=25)
    report = engine.system.prune(until_s=24 * HOUR)
    assert tags(engine) == {"web:v2"}
    assert report.size_bytes < 500_000


def test_until_with_a_filter(engine: onggi.Engine) -> None:
    used(engine, web_v1=30, web_v2=30, big_latest=30)
    engine.system.prune(until_s=HOUR, filters={"label!": ["keep=no"]})
    assert tags(engine) == {"web:v1"}
    with pytest.raises(InvalidFilter):
        engine.system.prune(until_s=HOUR, filters={"bogus": ["1"]})


def test_keep_bytes_takes_the_least_recently_used(engine: onggi.Engine, root: Path) -> None:
    used(engine, web_v1=3, big_latest=2, web_v2=1)
    assert engine.system.prune(keep_bytes=du(root)).removed == []
    # Smaller than it is with big, larger than without: web:v1 goes first, being older.
    report = engine.system.prune(keep_bytes=du(root) - 200_000)
    assert tags(engine) == {"web:v2"}
    assert 0 <= du(root) - report.size_bytes <= 4 * 4096  # the root, onggi/ and onggi/mounts themselves
    engine.system.prune(keep_bytes=1)
    assert not tags(engine)


def test_what_is_held_stays(engine: onggi.Engine, root: Path) -> None:
    """A pin, a mount, a container."""
    used(engine, web_v1=30, web_v2=30, big_latest=30)
    engine.images.pin("web:v1")
    record = engine.mounts.mount("big")
    used(engine, big_latest=30)
    config = (
        f'{{"ID": "{"c" * 64}", "Image": "{engine.images.get("web:v2").id}", "State": {{"Running": false}}}}'
    )
    make(root / "containers" / ("c" * 64) / "config.v2.json", config.encode())
    try:
        assert engine.system.prune(until_s=HOUR, keep_bytes=1).removed == []
    finally:
        engine.mounts.unmount(record.id)
    used(engine, big_latest=30)
    engine.system.prune(until_s=HOUR)
    assert tags(engine) == {"web:v1", "web:v2"}


def test_what_a_pull_holds_stays(engine: onggi.Engine) -> None:
    used(engine, web_v1=30, web_v2=30, big_latest=30)
    image_id = engine.images.get("web:v1").id
    with engine._core.locks.acquire(f"image-{image_id.hex}", exclusive=False):
        engine.system.prune(until_s=HOUR)
    assert tags(engine) == {"web:v1"}


def test_an_image_used_since_it_was_looked_at_stays(engine: onggi.Engine) -> None:
    from onggi.engine.removal import Removal

    used(engine, big_latest=30)
    image = engine.images.get("big")
    seen = image.last_used
    engine.images.pull("big")
    with engine._core.writing():
        assert not Removal(engine._core, "prune").expire(image, seen)
    stale = engine.images.get("big")
    assert stale.references
    engine.images.tag("big", "another")
    with engine._core.writing():
        assert not Removal(engine._core, "prune").expire(stale, stale.last_used)
    assert "another:latest" in tags(engine)


# --- pins -----------------------------------------------------------------------------------------------


def test_a_pin_holds_as_a_stopped_container_does(engine: onggi.Engine) -> None:
    image = engine.images.get("big")
    assert engine.images.pin("big")
    assert not engine.images.pin("big")
    assert engine.images.get("big").pinned
    for name in ("big", image.id, image.id.short):
        with pytest.raises(ImageInUse, match="is pinned"):
            engine.images.remove(name)
    engine.images.prune(all=True)
    assert tags(engine) == {"big:latest"}
    assert engine.images.unpin("big")
    assert not engine.images.unpin("big")
    engine.images.remove("big")
    assert not tags(engine)


def test_a_second_name_of_a_pinned_image_goes_freely(engine: onggi.Engine) -> None:
    engine.images.pin("big")
    engine.images.tag("big", "other:1")
    engine.images.remove("other:1")
    assert "big:latest" in tags(engine)


def test_force_takes_the_pin_along(engine: onggi.Engine, root: Path) -> None:
    engine.images.pin("big")
    engine.images.remove(engine.images.get("big").id, force=True)
    assert os.listdir(root / "onggi/pins") == []
    assert "big:latest" not in tags(engine)


# --- sizes ----------------------------------------------------------------------------------------------


def test_shared_and_exclusive_are_what_du_counts(engine: onggi.Engine, root: Path) -> None:
    usage = engine.system.df(disk=True)
    disk = usage.disk
    assert disk is not None and disk.unused == 0
    overlay = root / "overlay2"
    homes = sum(path.lstat().st_blocks * 512 for path in (overlay, overlay / "l"))
    assert disk.shared + disk.exclusive == disk.total == du(overlay) - homes
    assert disk.exclusive == sum(each.unique_disk for each in usage.images)
    by_name = {each.image.tags[0]: each for each in usage.images}
    assert by_name["web:v1"].shared_disk == by_name["web:v2"].shared_disk == disk.shared
    assert by_name["big:latest"].shared_disk == 0
    assert by_name["web:v1"].shared_size + by_name["web:v1"].unique_size == 5022


def test_a_mounted_image_counts_once(engine: onggi.Engine, root: Path) -> None:
    before = engine.system.df(disk=True).disk, engine.system.prune(keep_bytes=10**9).size_bytes
    with engine.images.get("big").mount():
        after = engine.system.df(disk=True).disk, engine.system.prune(keep_bytes=10**9).size_bytes
    assert before[0] == after[0]
    assert engine.mounts.list() == []
    assert abs(before[1] - after[1]) < 20_000


def test_layers_of_no_image_are_told_apart(engine: onggi.Engine) -> None:
    total = engine.system.df(disk=True).disk
    engine._core.images.path(engine.images.get("big").id).unlink()
    disk = engine.system.df(disk=True).disk
    assert disk is not None and total is not None
    assert disk.unused > 500_000 and disk.total == total.total


def test_an_image_of_one_layer_is_mounted_too(engine: onggi.Engine) -> None:
    """Its mount is a bind mount on the same device, which ``os.path.ismount`` does not see."""
    with engine.images.get("big").mount() as mounted:
        assert [record.path for record in engine.mounts.list()] == [str(mounted)]
        engine.mounts.recover()
        assert engine.mounts.list()
    assert not mounted.exists()
