"""gc removes what nothing refers to, tells why, and leaves the rest alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import onggi
from onggi.engine.gc import GcReport
from onggi.oci.digest import ChainID
from onggi.store.locks import LockDirectory
from tests.crash.checks import failures, leftovers
from tests.crash.child import open_engine

A, B, CONTAINER = "a" * 64, "b" * 64, "c" * 64
BUILD = "xv3ph5p8wklk8vpwkblmwxypw"
LONG_AGO = 1_000_000_000


def make(path: Path, data: bytes = b"x", *, old: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if old:
        os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every name with its size and time."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in sorted(root.rglob("*"))}


def gone(report: GcReport) -> set[tuple[str, str]]:
    return {(item.kind, item.name) for item in report.removed if item.size_bytes}


def reason_of(report: GcReport, kind: str, name: str) -> str:
    (item,) = (item for item in report.items if (item.kind, item.name) == (kind, name))
    return f"{item.verdict}: {item.reason}"


def du(path: Path) -> int:
    done = subprocess.run(["du", "-sx", "-B1", path], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def test_a_sound_store_stays_as_it_is(engine: onggi.Engine, root: Path) -> None:
    before = tree(root / "image"), tree(root / "overlay2")
    report = engine.gc(explain=True)
    assert not report.removed and report.reclaimed_bytes == 0
    assert (tree(root / "image"), tree(root / "overlay2")) == before
    reasons = {item.reason for item in report.items if item.kind == "image"}
    assert reasons == {"named web:v1", "named web:v2", "named big:latest"}
    assert sum(item.kind == "layer" and item.verdict == "keep" for item in report.items) == 4
    assert not engine.gc().items


# --- what crashed Dockers leave -------------------------------------------------------------------


def directory(root: Path) -> None:
    make(root / "overlay2" / A / "diff/file", b"x" * 9000)
    make(root / "overlay2" / A / "link", b"A" * 26)
    os.symlink(f"../{A}/diff", root / "overlay2/l" / ("A" * 26))


def init_directory(root: Path) -> None:
    make(root / "overlay2" / f"{A}-init" / "diff/.dockerenv")


def removing_directory(root: Path) -> None:
    make(root / "overlay2" / f"{A}-removing" / "diff/file")


def probe(root: Path) -> None:
    make(root / "overlay2/opaque-bug-check123456/l1/d/file")


def build_step(root: Path) -> None:
    make(root / "overlay2" / BUILD / "diff/file")


def write_set(root: Path) -> None:
    make(root / "image/overlay2/layerdb/tmp/write-set-1/diff")


def unreadable_layer(root: Path) -> None:
    make(root / "image/overlay2/layerdb/sha256" / A / "diff")
    make(root / "image/overlay2/layerdb/sha256" / A / "cache-id", B.encode())
    make(root / "overlay2" / B / "diff/file")


def metadata(root: Path) -> None:
    make(root / "image/overlay2/imagedb/metadata/sha256" / A / "parent", f"sha256:{B}".encode())


def old_container_layer(root: Path) -> None:
    mount = root / "image/overlay2/layerdb/mounts" / CONTAINER
    make(mount / "mount-id", A.encode())
    make(mount / "init-id", f"{A}-init".encode())
    for name in (A, f"{A}-init"):
        make(root / "overlay2" / name / "diff/file")
    os.utime(mount, (LONG_AGO, LONG_AGO))


def temporary_file(root: Path) -> None:
    make(root / "image/overlay2/imagedb/metadata/sha256/.tmp-x1", old=True)


def old_lower_file(root: Path) -> None:
    (layer, *_) = (path for path in (root / "overlay2").iterdir() if len(path.name) == 64)
    make(layer / ".tmp-lower123", old=True)


@pytest.mark.parametrize(
    ("crash", "kinds"),
    [
        (directory, {"directory"}),
        (init_directory, {"directory"}),
        (removing_directory, {"directory"}),
        (probe, {"directory"}),
        (build_step, {"directory"}),
        (write_set, {"write set"}),
        (unreadable_layer, {"layer", "directory"}),
        (metadata, {"image metadata"}),
        (temporary_file, {"temporary file"}),
        (old_lower_file, {"temporary file"}),
    ],
)
def test_orphans_of_crashed_dockers(
    engine: onggi.Engine, root: Path, crash: Callable[[Path], None], kinds: set[str]
) -> None:
    sound = tree(root / "image").keys() | tree(root / "overlay2").keys()
    crash(root)
    blocks = du(root / "image") + du(root / "overlay2")
    before = tree(root)
    planned = engine.gc(dry_run=True)
    assert tree(root) == before
    assert {kind for kind, _ in gone(planned)} == kinds
    report = engine.gc()
    assert gone(report) == gone(planned)
    assert tree(root / "image").keys() | tree(root / "overlay2").keys() <= sound | {
        str(root / "image/overlay2/layerdb/tmp"),
        str(root / "image/overlay2/layerdb/mounts"),
    }
    # A directory that grew keeps its own blocks.
    assert blocks - du(root / "image") - du(root / "overlay2") <= report.reclaimed_bytes
    assert not engine.gc().items
    assert not leftovers(root)


def test_dangling_links(engine: onggi.Engine, root: Path) -> None:
    os.symlink(f"../{A}/diff", root / "overlay2/l" / ("A" * 26))
    assert [item.kind for item in engine.gc().removed] == ["link"]
    assert len(os.listdir(root / "overlay2/l")) == 4


def test_strange_names_are_left_alone(engine: onggi.Engine, root: Path) -> None:
    make(root / "overlay2/strange/file")
    make(root / "overlay2/backingFsBlockDev")
    make(root / "overlay2" / A)  # a file
    make(root / "image/overlay2/layerdb/sha256/strange/file")
    report = engine.gc(explain=True)
    assert not gone(report)
    assert sum(item.kind == "unknown" for item in report.items) == 4


# --- layers -----------------------------------------------------------------------------------------


def forget_images(root: Path, *, but: str = "") -> None:
    """Delete configs by hand, as a removal that was killed in an older version."""
    for path in (root / "image/overlay2/imagedb/content/sha256").iterdir():
        if path.name != but:
            path.unlink()


def test_layers_no_image_uses(engine: onggi.Engine, root: Path) -> None:
    kept = engine.images.get("web:v1").id
    forget_images(root, but=kept.hex)
    report = engine.gc()
    assert sorted(kind for kind, _ in gone(report)) == ["layer", "layer"]
    assert len(list((root / "overlay2").iterdir())) == 3
    assert len(list((root / "overlay2/l").iterdir())) == 2
    assert report.reclaimed_bytes > 500_000
    with engine.images.get("web:v1").mount() as mounted:
        assert sorted(os.listdir(mounted)) == ["b", "etc", "f"]


def test_a_leased_layer_is_left_to_its_user(engine: onggi.Engine, root: Path) -> None:
    forget_images(root)
    top = engine._core.layers.db.chains()[0]
    chains = {chain.short for chain in engine._core.layers.db.chains()}
    with engine._core.layers.lease(top):
        report = engine.gc()
        assert reason_of(report, "layer", top.short).startswith("busy: ")
    assert top in engine._core.layers.db
    assert {name for _, name in gone(report) | gone(engine.gc())} == chains
    assert not engine._core.layers.db.chains()


def test_a_directory_in_the_making_is_left_alone(engine: onggi.Engine, root: Path) -> None:
    """Between a pull's install and its commit no layer names the directory."""
    directory(root)
    with engine._core.locks.acquire(f"staging-{A}", exclusive=True):
        assert not engine.gc().removed
    assert (root / "overlay2" / A).exists()
    assert engine.gc().removed


def test_a_directory_that_came_to_be_used_meanwhile(engine: onggi.Engine, root: Path) -> None:
    """Named after it was marked: looked at again under its lease."""
    from onggi.engine.marks import mark
    from onggi.engine.sweep_layers import directories

    chain = engine._core.layers.db.chains()[0]
    path = engine._core.layers.db.path(chain) / "cache-id"
    cache_id = path.read_text()
    path.rename(path.with_name("away"))
    (found,) = (found for found in directories(engine._core, mark(engine._core)) if found.remove)
    path.with_name("away").rename(path)
    assert found.remove is not None and not found.remove()
    assert (root / "overlay2" / cache_id / "diff").is_dir()


def test_a_broken_config_keeps_its_layers(engine: onggi.Engine, root: Path) -> None:
    path = engine._core.images.path(engine.images.get("big").id)
    path.write_bytes(path.read_bytes() + b" ")
    assert not engine.gc().removed


def test_a_damaged_layer_in_use_stays(engine: onggi.Engine, root: Path) -> None:
    """Its entry and its short name are what a pull remakes it by."""
    (layer,) = engine.images.get("big").layers
    subprocess.run(["rm", "-r", layer.path.parent], check=True)
    report = engine.gc(explain=True)
    assert not report.removed
    assert "damaged" in reason_of(report, "layer", layer.chain_id.short)
    engine.images.pull("big")
    assert layer.path.is_dir()
    assert not failures(root, "http://unused")


def test_containers_keep_their_layers(engine: onggi.Engine, root: Path) -> None:
    """With its config; and without one while somebody makes a container."""
    chain = engine.images.get("web:v1").layers[-1].chain_id
    mount = root / "image/overlay2/layerdb/mounts" / CONTAINER
    old_container_layer(root)
    make(mount / "parent", chain.encode())
    forget_images(root)
    with LockDirectory(root / "onggi/locks").acquire("container-making", exclusive=False):
        assert {name for _, name in gone(engine.gc())} & {chain.short, CONTAINER[:12], A[:12]} == set()
    (root / "containers" / CONTAINER).mkdir(parents=True)
    os.utime(mount, (LONG_AGO, LONG_AGO))
    assert not engine.gc().removed
    (root / "containers" / CONTAINER).rmdir()
    engine.gc()
    assert os.listdir(root / "overlay2") == ["l"]


def test_what_is_mounted_stays(engine: onggi.Engine, root: Path) -> None:
    record = engine.mounts.mount("web:v2")
    forget_images(root)
    try:
        report = engine.gc()
        assert any(item.verdict == "busy" and "mounted" in item.reason for item in report.items)
        assert (Path(record.path) / "s").read_bytes() == b"x" * 7
    finally:
        engine.mounts.unmount(record.id)
    engine.gc()
    assert os.listdir(root / "overlay2") == ["l"]


# --- BuildKit ---------------------------------------------------------------------------------------


def test_what_dockers_build_cache_names_stays(engine: onggi.Engine, root: Path) -> None:
    chain = ChainID("sha256:" + next((root / "image/overlay2/layerdb/sha256").iterdir()).name)
    make(root / "buildkit/snapshots.db", b"\0chainid" + chain.encode() + b"\0" + BUILD.encode())
    build_step(root)
    make(root / "overlay2" / ("z" + BUILD[1:]) / "diff/file")
    forget_images(root)
    report = engine.gc(explain=True)
    assert "build cache" in reason_of(report, "layer", chain.short)
    assert "build cache" in reason_of(report, "directory", BUILD[:12])
    assert not (root / "overlay2" / ("z" + BUILD[1:])).exists()


def test_layers_that_buildkit_made(engine: onggi.Engine, root: Path) -> None:
    """Their directories have names of 25 letters and digits; they are layers like others."""
    (layer,) = engine.images.get("big").layers
    (root / "overlay2" / layer.cache_id).rename(root / "overlay2" / BUILD)
    (layer.metadata_path / "cache-id").write_text(BUILD)
    link = root / "overlay2/l" / (root / "overlay2" / BUILD / "link").read_text()
    link.unlink()
    link.symlink_to(f"../{BUILD}/diff")
    assert not engine.gc().removed
    assert not list(engine.images.verify("big"))
    with engine.images.get("big").mount() as mounted:
        assert os.listdir(mounted) == ["big"]
    engine.images.remove("big")
    assert not (root / "overlay2" / BUILD).exists()
    assert not link.is_symlink()


# --- small things -------------------------------------------------------------------------------------


def test_what_was_learnt_of_blobs_is_kept_for_a_month(engine: onggi.Engine, root: Path) -> None:
    engine.images.remove("big")
    assert not engine.gc().removed
    files = list((root / "image/overlay2/distribution").glob("*/sha256/*"))
    for path in files:
        os.utime(path, (LONG_AGO, LONG_AGO))
    removed = [item for item in engine.gc().removed if item.kind.startswith("distribution")]
    assert len(removed) == 2
    assert len(list((root / "image/overlay2/distribution").glob("*/sha256/*"))) == len(files) - 2


@pytest.mark.parametrize("name", [A, f"{A}.partial"])
def test_received_blobs_wait_for_a_week(root: Path, small_shop: str, name: str) -> None:
    path = make(root / "onggi/blobs/sha256" / name, b"x" * 5000)
    with open_engine(root, small_shop) as engine:
        assert "for the next pull" in reason_of(engine.gc(explain=True), "blob", A[:12])
        os.utime(path, (LONG_AGO, LONG_AGO))
        with engine._core.locks.acquire(f"want-{A}", exclusive=False):
            assert not engine.gc().removed
        assert engine.gc().removed
    assert not path.exists()


def test_a_fresh_temporary_file_may_be_being_written(engine: onggi.Engine, root: Path) -> None:
    path = make(root / "image/overlay2/imagedb/metadata/sha256/.tmp-x1")
    engine.gc()
    assert path.exists()


def test_notes_and_locks_of_what_is_gone(engine: onggi.Engine, root: Path) -> None:
    make(root / "onggi/pins" / A, b"")
    make(root / "onggi/last-use" / A, b"")
    make(root / "onggi/locks" / f"chain-{A}", b"")
    make(root / "onggi/locks" / f"image-{A}", b"")
    with engine._core.locks.acquire(f"want-{A}", exclusive=False):
        engine.gc()
        assert (root / "onggi/locks" / f"want-{A}").exists()
    engine.gc()
    assert not [path for path in (root / "onggi").rglob("*") if A in path.name]
    assert len(os.listdir(root / "onggi/last-use")) == 7


def test_notes_and_locks_of_volumes_that_are_gone(engine: onggi.Engine, root: Path) -> None:
    kept = engine.volumes.create("mount-kept", labels={"a": "b"})
    store, locks = engine._core.volumes, root / "onggi/locks"
    for name in ("gone", "kept"):
        store.begin_filling(name)
        make(locks / f"volume-{name}", b"")
    make(locks / "volume-mount-gone", b"")
    store._note("noted", None, None, durable=False)
    with LockDirectory(locks).acquire("volume-held", exclusive=True):
        engine.gc()
        assert sorted(path.name for path in locks.glob("volume-*")) == ["volume-held", "volume-mount-kept"]
    assert store.noted() == [kept.name]
    assert engine.volumes.get(kept.name).labels == {"a": "b"}


def test_a_killed_deletion_is_finished_by_the_next_command(engine: onggi.Engine, root: Path) -> None:
    make(root / "onggi/trash" / A / "file")
    assert gone(engine.gc(dry_run=True)) == {("trash", A[:12])}
    engine.images.tag("big", "other")
    assert os.listdir(root / "onggi/trash") == []


def test_report_is_json(engine: onggi.Engine) -> None:
    from dataclasses import asdict

    assert json.dumps([asdict(item) for item in engine.gc(explain=True).items])
