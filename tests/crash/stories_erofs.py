"""The same crashes in a data root of the erofs driver.

What is there in the end is moved to overlay2, so that it can be held against what an undisturbed
run on overlay2 leaves: the tar that a layer is, byte for byte, and all metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.crash.campaign import Campaign, Story
from tests.crash.checks import Snapshot, compare, empty_files, failures, leftovers, snapshot
from tests.crash.child import open_engine
from tests.crash.samples import APP, OTHER, chains

__all__ = ["EROFS_STORIES"]


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
    """A tar is edited, an index gone, a size wrong."""
    _app(campaign, root)
    tar = _layer(campaign, root, 0)[1] / "layer.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    (_layer(campaign, root, 1)[1] / "layer.erofs").unlink()
    (_layer(campaign, root, 2)[0] / "size").write_text("1")


def _pull(campaign: Campaign, root: Path) -> None:
    campaign.pull(root)


def _load(campaign: Campaign, root: Path) -> None:
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.load(campaign.archive)


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
        problems += _strangers(root) + empty_files(root) + failures(root, campaign.registry.url)
        with open_engine(root, campaign.registry.url) as engine:
            driver = engine.system.info()["Driver"]
            problems += [] if driver == "erofs" else [f"driver {driver}"]
            problems += [f"verify: {finding}" for finding in engine.images.verify(all=True)]
            engine.convert_storage("overlay2")
        return problems + leftovers(root) + _same_layers(snapshot(root), expected(campaign))

    return look


def _strangers(root: Path) -> list[str]:
    """Directories of no layer, temporary files, what was staged."""
    known = {path.read_text() for path in root.glob("image/erofs/layerdb/sha256/*/cache-id")}
    left = [path for path in root.glob("erofs/*") if path.name not in known]
    left += [*root.glob("onggi/staging/*"), *root.glob("onggi/trash/*"), *root.glob("**/.tmp-*")]
    return [f"left over: {path.relative_to(root)}" for path in left]


def _same_layers(found: Snapshot, expected: Snapshot) -> list[str]:
    """``distribution/`` remembers blobs of layers that are gone, ``metadata/`` the last tag, as Docker's do."""
    history = ("image/overlay2: distribution/", "image/overlay2: imagedb/metadata/")
    return [problem for problem in compare(found, expected) if not problem.startswith(history)]


EROFS_STORIES = {
    "pull": Story("pull", _empty, _after(_pull, lambda campaign: campaign.expected)),
    "removal": Story("remove", _both, _after(_remove, lambda campaign: campaign.expected_other)),
    "healing": Story("repair", _damaged, _after(_heal, lambda campaign: campaign.expected, damaged=True)),
    "load": Story("load", _empty, _after(_load, lambda campaign: campaign.expected_loaded)),
}
"""By name."""
