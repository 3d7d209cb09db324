"""The same crashes in a data root of the erofs driver.

What is there in the end is moved to overlay2, so that it can be held against what an undisturbed
run on overlay2 leaves: the tar that a layer is, byte for byte, and all metadata.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from onggi.linux.filesystem import is_mountpoint
from tests.crash.campaign import Campaign, Story
from tests.crash.checks import Snapshot, compare, empty_files, failures, leftovers, snapshot
from tests.crash.child import LONG_AGO, open_engine
from tests.crash.samples import APP, OTHER, chains

__all__ = ["EROFS_POWER_CUTS", "EROFS_STORIES", "strangers"]

CONTENTS = ("layer.data", "layer.tar")


def _empty(campaign: Campaign, root: Path) -> None:
    """A root that was made for the driver, and holds nothing."""
    (root / "image/erofs").mkdir(parents=True)


def _app(campaign: Campaign, root: Path) -> None:
    _empty(campaign, root)
    campaign.pull(root)


def _both(campaign: Campaign, root: Path) -> None:
    _empty(campaign, root)
    campaign.pull(root, OTHER)
    campaign.pull(root)


def _layer(campaign: Campaign, root: Path, number: int) -> tuple[Path, Path]:
    """layerdb's entry of a layer of APP, and the driver's directory."""
    entry = root / "image/erofs/layerdb/sha256" / chains(campaign.layout, APP)[number]
    return entry, root / "erofs" / (entry / "cache-id").read_text()


def _damaged(campaign: Campaign, root: Path) -> None:
    """A content is edited, an index gone, a size wrong."""
    _app(campaign, root)
    (path,) = (path for path in _layer(campaign, root, 0)[1].iterdir() if path.name in CONTENTS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (_layer(campaign, root, 1)[1] / "layer.erofs").unlink()
    (_layer(campaign, root, 2)[0] / "size").write_text("1")


def _lacking(campaign: Campaign, root: Path) -> None:
    """The middle layer has lost its directory."""
    _app(campaign, root)
    shutil.rmtree(_layer(campaign, root, 1)[1])


def _mounted(campaign: Campaign, root: Path) -> None:
    _app(campaign, root)
    with open_engine(root, campaign.registry.url) as engine:
        engine.mounts.mount(APP)


def _orphans(campaign: Campaign, root: Path) -> None:
    """APP, and of everything else what killed processes and older versions leave."""
    _both(campaign, root)
    with open_engine(root, campaign.registry.url) as engine:
        gone = engine.images.get(OTHER).id
        engine.images.pin(OTHER)
    (root / "image/erofs/imagedb/content/sha256" / gone.hex).unlink()
    names = json.loads((root / "image/erofs/repositories.json").read_text())["Repositories"]
    kept = json.dumps({"Repositories": {APP: names[APP]}}, separators=(",", ":"))
    (root / "image/erofs/repositories.json").write_text(kept)
    directory = root / "erofs" / ("a" * 64)
    directory.mkdir()
    (directory / "layer.tar").write_bytes(b"x" * 5000)
    temporary = root / "image/erofs/imagedb/content/sha256/.tmp-1"
    temporary.write_text("x")
    os.utime(temporary, (LONG_AGO, LONG_AGO))


def _old(campaign: Campaign, root: Path) -> None:
    """Besides APP, OTHER, which nobody has used for long."""
    _both(campaign, root)
    _age_other(campaign, root)


def _age_other(campaign: Campaign, root: Path) -> None:
    with open_engine(root, campaign.registry.url) as engine:
        for image in engine.images.list(all=True):
            if f"{APP}:latest" not in image.tags:
                os.utime(engine._core.last_use.path(image.id), (LONG_AGO, LONG_AGO))


# --- the next command -------------------------------------------------------------------------


def _pull(campaign: Campaign, root: Path) -> None:
    campaign.pull(root)


def _load(campaign: Campaign, root: Path) -> None:
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.load(campaign.archive)


def _sync(campaign: Campaign, root: Path) -> None:
    with open_engine(root, campaign.registry.url) as engine:
        engine.sync_from(str(campaign.other_root), [APP])


def _gc(campaign: Campaign, root: Path) -> None:
    with open_engine(root, campaign.registry.url) as engine:
        engine.gc()
        again = [f"{item.kind} {item.name}" for item in engine.gc().items]
        assert not again, f"gc again: {again}"


def _prune(campaign: Campaign, root: Path) -> None:
    _age_other(campaign, root)
    with open_engine(root, campaign.registry.url) as engine:
        engine.system.prune(until_s=3600)


def _unmount(campaign: Campaign, root: Path) -> None:
    """Mounted and on record, or neither; then it can be unmounted."""
    with open_engine(root, campaign.registry.url) as engine:
        engine.system.recover()
        known = {record.path for record in engine.mounts.list()}
        found = {str(path) for path in (root / "onggi/mounts").iterdir() if not path.suffix}
        assert known == found, f"directories {found}, known {known}"
        for path in known:
            assert is_mountpoint(path) and (Path(path) / "etc/new").exists(), path
        for record in engine.mounts.list():
            engine.mounts.unmount(record.id)
        engine.gc()


def _heal(campaign: Campaign, root: Path) -> None:
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.repair(APP)


def _remove(campaign: Campaign, root: Path) -> None:
    with open_engine(root, campaign.registry.url) as engine:
        if any(f"{APP}:latest" in image.tags for image in engine.images.list(all=True)):
            engine.images.remove(APP)
        else:
            engine.system.recover()


def _after(
    again: Callable[[Campaign, Path], None],
    expected: Callable[[Campaign], Snapshot],
    *,
    damaged: bool = False,
) -> Callable[[Campaign, Path, bool], list[str]]:
    """Nothing is broken; the next command ends well; all is whole, and as it should be."""

    def look(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
        problems = [] if damaged else empty_files(root) + failures(root, campaign.registry.url)
        again(campaign, root)
        problems += strangers(root) + empty_files(root) + failures(root, campaign.registry.url)
        with open_engine(root, campaign.registry.url) as engine:
            driver = engine.system.info()["Driver"]
            problems += [] if driver == "erofs" else [f"driver {driver}"]
            problems += [f"verify: {finding}" for finding in engine.images.verify(all=True)]
            engine.convert_storage("overlay2")
        return problems + leftovers(root) + _same_layers(snapshot(root), expected(campaign))

    return look


def strangers(root: Path) -> list[str]:
    """Directories of no layer, temporary files, what was staged or mounted."""
    known = {path.read_text() for path in root.glob("image/erofs/layerdb/sha256/*/cache-id")}
    left = [path for path in root.glob("erofs/*") if path.name not in known]
    for name in ("staging", "trash", "removing", "mounts"):
        left += root.glob(f"onggi/{name}/*")
    left += root.glob("**/.tmp-*")
    return [f"left over: {path.relative_to(root)}" for path in left]


def _same_layers(found: Snapshot, expected: Snapshot) -> list[str]:
    """``distribution/`` remembers blobs of layers that are gone, ``metadata/`` the last tag, as Docker's do."""
    history = ("image/overlay2: distribution/", "image/overlay2: imagedb/metadata/")
    return [problem for problem in compare(found, expected) if not problem.startswith(history)]


# --- back to overlay2 -------------------------------------------------------------------------


def _after_conversion(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    """One driver's or the other's, whole; the same command ends it."""
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.get(APP)
        problems += [f"verify: {finding}" for finding in engine.images.verify(all=True)]
    with open_engine(root, campaign.registry.url) as engine:
        engine.convert_storage("overlay2")
    with open_engine(root, campaign.registry.url) as engine:
        problems += [f"verify: {finding}" for finding in engine.images.verify(all=True)]
    problems += [f"left over: {name}" for name in ("erofs", "image/erofs") if (root / name).exists()]
    problems += leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    return problems + compare(snapshot(root), campaign.expected)


def _expected(campaign: Campaign) -> Snapshot:
    return campaign.expected


EROFS_STORIES = {
    "pull": Story("pull", _empty, _after(_pull, _expected)),
    "removal": Story("remove", _both, _after(_remove, lambda campaign: campaign.expected_other)),
    "repair": Story("pull", _lacking, _after(_pull, _expected, damaged=True)),
    "healing": Story("repair", _damaged, _after(_heal, _expected, damaged=True)),
    "load": Story("load", _empty, _after(_load, lambda campaign: campaign.expected_loaded)),
    "gc": Story("gc", _orphans, _after(_gc, _expected)),
    "prune": Story("prune", _old, _after(_prune, _expected)),
    "sync": Story("sync", _empty, _after(_sync, _expected)),
    "conversion": Story("convert-back", _app, _after_conversion),
    "mount": Story("mount", _app, _after(_unmount, _expected)),
    "unmount": Story("unmount", _mounted, _after(_unmount, _expected)),
}
"""By name; ``conversion`` goes to overlay2, ``repair`` is a pull that mends."""

EROFS_POWER_CUTS = [name for name in EROFS_STORIES if name not in ("mount", "unmount")]
"""Those that a power cut can come upon: it takes all mounts."""
