"""Images move to the other driver whole, or not at all; what has no driver stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from onggi.engine import conversion as module
from onggi.engine.conversion import Conversion, StorageInUse
from onggi.errors import Conflict, DataLoss, FailedPrecondition, InvalidArgument
from tests.crash.child import open_engine

IMAGES = ("web:v1", "web:v2", "big:latest")
OTHER = {"overlay2": "erofs", "erofs": "overlay2"}


def driver(root: Path, hub: str) -> str:
    with open_engine(root, hub) as engine:
        return str(engine.system.info()["Driver"])


def state(root: Path, hub: str) -> dict[str, object]:
    """All that a user knows of the images."""
    with open_engine(root, hub) as engine:
        images = {name: engine.images.get(name) for name in IMAGES}
        return {
            "ids": {name: image.id for name, image in images.items()},
            "layers": {
                name: [(x.chain_id, x.diff_id, x.size) for x in i.layers] for name, i in images.items()
            },
            "names": sorted(str(tag) for image in engine.images.list(all=True) for tag in image.references),
            "pinned": sorted(image.id for image in engine.images.list(all=True) if image.pinned),
        }


def sound(root: Path, hub: str) -> bool:
    with open_engine(root, hub) as engine:
        return not list(engine.images.verify(all=True))


def convert(root: Path, hub: str, to: str, **settings):
    with open_engine(root, hub) as engine:
        return engine.convert_storage(to, **settings)


def nothing_is_left(root: Path, gone: str) -> bool:
    paths = (root / gone, root / "image" / gone, root / "onggi/converting" / gone)
    return not any(path.exists() for path in paths) and os.listdir(root / "onggi/staging") == []


def test_there_and_back(root: Path, small_shop: str) -> None:
    with open_engine(root, small_shop) as engine:
        engine.images.pin("web:v2")
    before = state(root, small_shop)
    assert before["pinned"]
    for to in ("erofs", "overlay2"):
        report = convert(root, small_shop, to)
        assert (report.to, report.images, report.layers, report.removed) == (to, 3, 4, (OTHER[to],))
        assert driver(root, small_shop) == to
        assert state(root, small_shop) == before and sound(root, small_shop)
        assert nothing_is_left(root, OTHER[to])
        with open_engine(root, small_shop) as engine, engine.images.get("web:v1").mount() as mounted:
            assert (mounted / "b").read_bytes() == b"x" * 5000
        assert convert(root, small_shop, to).removed == ()
    with open_engine(root, small_shop) as engine:
        directories = [layer.path for layer in engine.images.get("web:v1").layers]
        engine.images.pull("web:v1")
        assert [layer.path for layer in engine.images.get("web:v1").layers] == directories


def test_to_contents_on_blocks_and_back(root: Path, small_shop: str, monkeypatch) -> None:
    before = state(root, small_shop)
    monkeypatch.setenv("ONGGI_STORAGE_OPTS", "erofs.block-size=4096")
    convert(root, small_shop, "erofs")
    assert state(root, small_shop) == before and sound(root, small_shop)
    assert len(list(root.glob("erofs/*/layer.data"))) == 4 and not list(root.glob("erofs/*/layer.tar"))
    with open_engine(root, small_shop) as engine, engine.images.get("web:v1").mount() as mounted:
        assert (mounted / "b").read_bytes() == b"x" * 5000
    assert convert(root, small_shop, "overlay2").removed == ("erofs",)
    assert state(root, small_shop) == before and sound(root, small_shop)
    assert nothing_is_left(root, "erofs")


def test_dry_run(root: Path, small_shop: str) -> None:
    report = convert(root, small_shop, "erofs", dry_run=True)
    assert report.size_bytes > 500_000 and report.free_bytes > 0 and report.layers == 4
    assert driver(root, small_shop) == "overlay2" and not (root / "erofs").exists()
    assert not (root / "onggi/converting").exists()


def test_keep(root: Path, small_shop: str) -> None:
    assert convert(root, small_shop, "erofs", keep=True).removed == ()
    assert driver(root, small_shop) == "erofs" and (root / "image/overlay2").is_dir()
    with pytest.raises(FailedPrecondition, match="overlay2 holds images here already") as caught:
        convert(root, small_shop, "overlay2")
    assert "--to erofs" in caught.value.hint
    with open_engine(root, small_shop) as engine:
        names = [item.name for item in engine.gc(explain=True).items if item.kind == "conversion"]
    assert names == ["image/overlay2", "overlay2"]
    assert convert(root, small_shop, "erofs").removed == ("overlay2",)
    assert nothing_is_left(root, "overlay2") and sound(root, small_shop)


def test_refused_while_something_stands_on_it(root: Path, small_shop: str) -> None:
    with open_engine(root, small_shop) as engine:
        with engine.images.get("web:v1").mount(), pytest.raises(StorageInUse, match="the mount on"):
            engine.convert_storage("erofs")
        container = root / "containers" / ("c" * 64)
        container.mkdir()
        document = {"ID": "c" * 64, "Image": engine.images.get("web:v1").id, "State": {"Running": False}}
        (container / "config.v2.json").write_text(json.dumps(document))
        with pytest.raises(StorageInUse, match="container cccccccccccc"):
            engine.convert_storage("erofs")
    assert driver(root, small_shop) == "overlay2" and not (root / "erofs").exists()


def test_a_dry_run_says_what_would_refuse_it(root: Path, small_shop: str) -> None:
    with open_engine(root, small_shop) as engine:
        container = root / "containers" / ("c" * 64)
        container.mkdir()
        document = {"ID": "c" * 64, "Image": engine.images.get("web:v1").id, "State": {"Running": False}}
        (container / "config.v2.json").write_text(json.dumps(document))
        with engine.images.get("web:v1").mount() as mounted:
            report = engine.convert_storage("erofs", dry_run=True)
            assert [each.who for each in report.refusals] == [
                "container cccccccccccc",
                f"the mount on {mounted}",
            ]
            assert "docker rm cccccccccccc" in report.refusals[0].hint
        assert len(engine.convert_storage("erofs", dry_run=True).refusals) == 1
    assert driver(root, small_shop) == "overlay2"


def test_refused_while_others_write(root: Path, small_shop: str) -> None:
    with (
        open_engine(root, small_shop) as engine,
        engine._core.writing(),
        pytest.raises(Conflict, match="other"),
    ):
        convert(root, small_shop, "erofs")


def test_who_opened_the_root_before_writes_no_more(root: Path, small_shop: str) -> None:
    with open_engine(root, small_shop) as before:
        convert(root, small_shop, "erofs")
        with pytest.raises(InvalidArgument, match="holds images of storage driver erofs"):
            before.images.remove("big")


def test_a_damaged_layer_is_named_and_nothing_changes(root: Path, small_shop: str) -> None:
    before = state(root, small_shop)
    with open_engine(root, small_shop) as engine:
        path = engine.images.get("web:v1").layers[0].path / "b"
    good = path.read_bytes()
    path.write_bytes(b"!")
    with pytest.raises(DataLoss, match="could not verify layer data"):
        convert(root, small_shop, "erofs")
    assert driver(root, small_shop) == "overlay2" and state(root, small_shop) == before
    path.write_bytes(good)
    assert convert(root, small_shop, "erofs").layers <= 4
    assert sound(root, small_shop) and state(root, small_shop) == before


def test_unknown_driver(root: Path, small_shop: str) -> None:
    with pytest.raises(InvalidArgument, match="no storage driver 'zfs'"):
        convert(root, small_shop, "zfs")


def test_a_conversion_that_is_given_up(root: Path, small_shop: str, monkeypatch) -> None:
    monkeypatch.setattr(Conversion, "_copy_metadata", lambda self: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        convert(root, small_shop, "erofs")
    assert driver(root, small_shop) == "overlay2" and (root / "erofs").is_dir()
    assert convert(root, small_shop, "erofs", dry_run=True).already == 4
    with open_engine(root, small_shop) as engine:
        told = [item for item in engine.gc(explain=True, dry_run=True).items if item.kind == "conversion"]
    assert [(item.name, item.verdict) for item in told] == [
        ("onggi/converting/erofs", "keep"),
        ("erofs", "keep"),
    ]
    assert "storage convert --to overlay2" in told[0].reason and told[1].size_bytes > 0
    assert convert(root, small_shop, "overlay2").removed == ("erofs",)
    assert nothing_is_left(root, "erofs") and sound(root, small_shop)


@pytest.mark.parametrize("point", ["publish", "renamed", "removal"])
def test_stopped_at_the_end(root: Path, small_shop: str, monkeypatch, point: str) -> None:
    """Before the rename the root is the old driver's, behind it the new one's; the same command goes on."""
    before = state(root, small_shop)
    with monkeypatch.context() as patched:
        if point == "publish":
            patched.setattr(module, "publish", lambda apart: 1 // 0)
        elif point == "renamed":
            patched.setattr(Conversion, "_remove", lambda self, each: 1 // 0)
        else:
            remove = Conversion._remove

            def removed_by_half(self, each):
                self._core.trash.discard(root / "image" / each)
                return 1 // 0

            assert remove
            patched.setattr(Conversion, "_remove", removed_by_half)
        with pytest.raises(ZeroDivisionError):
            convert(root, small_shop, "erofs")
    assert driver(root, small_shop) == ("overlay2" if point == "publish" else "erofs")
    assert state(root, small_shop) == before
    report = convert(root, small_shop, "erofs")
    assert report.removed == ("overlay2",) and report.layers == 0
    assert nothing_is_left(root, "overlay2")
    assert state(root, small_shop) == before and sound(root, small_shop)
