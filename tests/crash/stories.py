"""What is crashed: each story fills a data root, names a verb, and tells what must be true after a crash in it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from onggi.linux.filesystem import is_mountpoint
from tests.crash.campaign import Campaign, Story
from tests.crash.checks import compare, empty_files, failures, held, leftovers, refetched, snapshot
from tests.crash.child import LONG_AGO, open_engine
from tests.crash.samples import APP, OTHER, chains

__all__ = ["POWER_CUTS", "STORIES"]


def _nothing(campaign: Campaign, root: Path) -> None:
    """The data root does not exist yet."""


def _after_pull(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    before = held(root, campaign.layout, APP)
    if power_cut:
        before = before.surely()
    campaign.registry.forget()
    campaign.pull(root)
    return problems + refetched(before, campaign.registry) + _is_as_expected(campaign, root)


def _is_as_expected(campaign: Campaign, root: Path) -> list[str]:
    problems = leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    return problems + compare(snapshot(root), campaign.expected)


def _both_images(campaign: Campaign, root: Path) -> None:
    campaign.pull(root, OTHER)
    campaign.pull(root, APP)


def _after_removal(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        if any(f"{APP}:latest" in image.tags for image in engine.images.list(all=True)):
            engine.images.remove(APP)
        else:
            engine.system.recover()
    problems += leftovers(root) + empty_files(root)
    return problems + _without_history(compare(snapshot(root), campaign.expected_other))


def _damaged_layer(campaign: Campaign, root: Path) -> None:
    """An image whose middle layer has lost its directory (moby#41190)."""
    campaign.pull(root)
    middle = chains(campaign.layout, APP)[1]
    cache_id = (root / "image/overlay2/layerdb/sha256" / middle / "cache-id").read_text()
    shutil.rmtree(root / "overlay2" / cache_id)


def _after_repair(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root)
    campaign.pull(root)
    return problems + _is_as_expected(campaign, root)


def _changed_layers(campaign: Campaign, root: Path) -> None:
    """Files of two layers are edited, and a third has lost metadata."""
    campaign.pull(root, OTHER)
    campaign.pull(root)
    base, middle, top = (
        root / "image/overlay2/layerdb/sha256" / chain for chain in chains(campaign.layout, APP)
    )
    for entry, name in ((base, "etc/name"), (middle, "data/d0/small")):
        path = root / "overlay2" / (entry / "cache-id").read_text() / "diff" / name
        before = path.stat()
        path.write_bytes(b"x" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (top / "size").write_text("1")


def _after_healing(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    """Nobody misses a layer at any moment: what stands on the one being replaced stays usable."""
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.repair(APP)
        problems += [f"verify: {finding}" for finding in engine.images.verify(all=True)]
        engine.images.remove(OTHER)
    problems += leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    return problems + _without_history(compare(snapshot(root), campaign.expected))


def _after_load(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.load(campaign.archive)
    problems += leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    return problems + compare(snapshot(root), campaign.expected_loaded)


# --- gc and prune -----------------------------------------------------------------------------


def _orphans(campaign: Campaign, root: Path) -> None:
    """APP, and of everything else what killed processes, older versions and crashed Dockers leave."""
    _both_images(campaign, root)
    top = chains(campaign.layout, OTHER)[-1]
    with open_engine(root, campaign.registry.url) as engine:
        gone = engine.images.get(OTHER).id
        engine.images.tag(OTHER, "gone")
        engine.images.pin(OTHER)
    images = root / "image/overlay2/imagedb"
    (images / "content/sha256" / gone.hex).unlink()
    names = json.loads((root / "image/overlay2/repositories.json").read_text())["Repositories"]
    kept = json.dumps({"Repositories": {APP: names[APP]}}, separators=(",", ":"))
    (root / "image/overlay2/repositories.json").write_text(kept)
    directory = root / "overlay2" / ("a" * 64)
    (directory / "diff/deep").mkdir(parents=True)
    (directory / "diff/deep/file").write_text("x")
    (directory / "link").write_text("A" * 26)
    (root / "overlay2/l" / ("A" * 26)).symlink_to(f"../{directory.name}/diff")
    write_set = root / "image/overlay2/layerdb/tmp/write-set-1"
    write_set.mkdir(parents=True)
    (write_set / "diff").write_text(f"sha256:{top}")
    temporary = images / "content/sha256/.tmp-1"
    temporary.write_text("x")
    os.utime(temporary, (LONG_AGO, LONG_AGO))


def _after_gc(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        engine.gc()
        problems += [f"gc again: {item.kind} {item.name}" for item in engine.gc().items]
        problems += [f"verify: {finding}" for finding in engine.images.verify(all=True, fast=not power_cut)]
    return problems + _is_app_alone(campaign, root)


def _is_app_alone(campaign: Campaign, root: Path) -> list[str]:
    problems = leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    notes = {path.name for name in ("pins", "last-use") for path in root.glob(f"onggi/{name}/*")}
    known = {
        path.name
        for name in ("layerdb", "imagedb/content")
        for path in root.glob(f"image/overlay2/{name}/sha256/*")
    }
    problems += [f"note of what is gone: {name}" for name in notes - known]
    return problems + _without_history(compare(snapshot(root), campaign.expected))


def _an_old_image(campaign: Campaign, root: Path) -> None:
    """Besides APP, two names for OTHER, which nobody has used for long."""
    _both_images(campaign, root)
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.tag(OTHER, "old:1")
        image = engine.images.get(OTHER)
        os.utime(engine._core.last_use.path(image.id), (LONG_AGO, LONG_AGO))


def _after_prune(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        # The time of last use is a note that a power cut may take; it is not what is looked at here.
        for image in engine.images.list(all=True):
            if f"{APP}:latest" not in image.tags:
                os.utime(engine._core.last_use.path(image.id), (LONG_AGO, LONG_AGO))
        engine.system.prune(until_s=3600)
        problems += [f"gc: {item.kind} {item.name}" for item in engine.gc().items if item.kind != "lock file"]
    return problems + _is_app_alone(campaign, root)


# --- push and sync ----------------------------------------------------------------------------


def _named_for_push(campaign: Campaign, root: Path) -> None:
    """APP under a name that no registry has seen: whatever was sent before, all is sent again."""
    campaign.pull(root)
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.tag(APP, campaign.new_destination())


def _after_push(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    """Nothing has changed here; the next push ends well, and what it sent is what was here."""
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        pushed = engine.images.push(campaign.destination)
        image = engine.images.get(campaign.destination)
        if pushed.image_id != image.id or str(pushed.digest) not in " ".join(image.digests):
            problems.append(f"{pushed} is not {image.digests}")
        engine.images.remove(campaign.destination)
        problems += [f"verify: {finding}" for finding in engine.images.verify(all=True, fast=True)]
    problems += leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    problems += _without_history(compare(snapshot(root), campaign.expected))
    return problems + _comes_back(campaign)


def _comes_back(campaign: Campaign) -> list[str]:
    """Pull what was pushed into a root of its own."""
    back = campaign.work / "back"
    shutil.rmtree(back, ignore_errors=True)
    with open_engine(back, campaign.registry.url) as engine:
        engine.images.pull(campaign.destination)
    trees = compare(({}, snapshot(back)[1]), ({}, campaign.expected[1]))
    shutil.rmtree(back)
    return [f"pulled back: {problem}" for problem in trees]


def _after_sync(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        engine.sync_from(str(campaign.other_root), [APP])
        problems += [f"verify: {finding}" for finding in engine.images.verify(all=True, fast=not power_cut)]
    problems += leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    return problems + _without_history(compare(snapshot(root), campaign.expected))


# --- mounts -----------------------------------------------------------------------------------


def _pulled(campaign: Campaign, root: Path) -> None:
    campaign.pull(root)


def _mounted(campaign: Campaign, root: Path) -> None:
    campaign.pull(root)
    with open_engine(root, campaign.registry.url) as engine:
        engine.mounts.mount(APP)


def _after_mount(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    """Mounted and on record, or neither; then it can be unmounted."""
    with open_engine(root, campaign.registry.url) as engine:
        engine.system.recover()
        known = {record.path for record in engine.mounts.list()}
        found = {str(path) for path in (root / "onggi/mounts").iterdir() if not path.suffix}
        problems = [] if known == found else [f"directories {found}, known {known}"]
        problems += [f"not mounted: {path}" for path in known if not is_mountpoint(path)]
        problems += [] if all((Path(path) / "etc/new").exists() for path in known) else ["not the image"]
        for record in engine.mounts.list():
            engine.mounts.unmount(record.id)
        engine.gc()  # the lock of a mount that never came to have a record
    left = [*root.glob("onggi/mounts/*"), *root.glob("onggi/locks/mount-*")]
    problems += [f"left over: {path.relative_to(root)}" for path in left]
    return problems + _is_as_expected(campaign, root)


def _without_history(problems: list[str]) -> list[str]:
    """``distribution/`` remembers blobs of layers that are gone, ``metadata/`` the last tag, as Docker's do."""
    history = ("image/overlay2: distribution/", "image/overlay2: imagedb/metadata/")
    return [problem for problem in problems if not problem.startswith(history)]


# --- from one driver to the other -------------------------------------------------------------


def _after_conversion(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    """One driver's or the other's, whole; the same command ends it, and back again all is as it was."""
    problems = empty_files(root) + failures(root, campaign.registry.url)
    problems += _as_driver(campaign, root, "")
    with open_engine(root, campaign.registry.url) as engine:
        engine.convert_storage("erofs")
    problems += _as_driver(campaign, root, "erofs") + leftovers(root)
    problems += [f"left over: {name}" for name in ("overlay2", "image/overlay2") if (root / name).exists()]
    with open_engine(root, campaign.registry.url) as engine:
        engine.convert_storage("overlay2")
    return problems + _as_driver(campaign, root, "overlay2") + _is_as_expected(campaign, root)


def _as_driver(campaign: Campaign, root: Path, driver: str) -> list[str]:
    with open_engine(root, campaign.registry.url) as engine:
        found = engine.system.info()["Driver"]
        problems = [f"driver {found}"] if driver and driver != found else []
        engine.images.get(APP)
        return problems + [f"verify: {finding}" for finding in engine.images.verify(all=True)]


STORIES = {
    "pull": Story("pull", _nothing, _after_pull),
    "removal": Story("remove", _both_images, _after_removal),
    "repair": Story("pull", _damaged_layer, _after_repair),
    "healing": Story("repair", _changed_layers, _after_healing),
    "load": Story("load", _nothing, _after_load),
    "gc": Story("gc", _orphans, _after_gc),
    "prune": Story("prune", _an_old_image, _after_prune),
    "push": Story("push", _named_for_push, _after_push),
    "sync": Story("sync", _nothing, _after_sync),
    "conversion": Story("convert", _pulled, _after_conversion),
    "mount": Story("mount", _pulled, _after_mount),
    "unmount": Story("unmount", _mounted, _after_mount),
}
"""By name; ``repair`` is a pull that mends, ``healing`` the command of that name."""

POWER_CUTS = [name for name in STORIES if name not in ("mount", "unmount")]
"""Those that a power cut can come upon: it takes all mounts, and then there is nothing to look at."""
