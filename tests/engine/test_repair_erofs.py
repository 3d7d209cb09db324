"""The erofs driver: what its own files can suffer is healed, under mounts too, fetching no more than it must."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import onggi
from tests.engine.test_repair import Damaged
from tests.peers.fixtures import Onggi

IMAGES = ("tags:v1", "tags:v2")


def opened(root: Path, hub: str, block: str = "512") -> onggi.Engine:
    config = onggi.Config(
        data_root=root,
        storage_driver="erofs",
        storage_opts=(f"erofs.block-size={block}",),
        registry_mirrors=(hub,),
        docker_config_dir=Path("/nonexistent"),
        certs_dirs=(),
    )
    return onggi.open(config=config)


@pytest.fixture(scope="module")
def pulled(tmp_path_factory, hub: str) -> Path:
    """tags:v1 and tags:v2, on one base with the file ``a``."""
    root = tmp_path_factory.mktemp("pulled-erofs") / "root"
    with opened(root, hub) as engine:
        for name in IMAGES:
            engine.images.pull(name)
    return root


@pytest.fixture
def tags(tmp_path: Path, pulled: Path, hub: str) -> Iterator[Damaged]:
    """tags:v1 in a root of one's own."""
    subprocess.run(["cp", "-a", str(pulled), str(tmp_path / "root")], check=True)
    with opened(tmp_path / "root", hub) as engine:
        yield Damaged(engine, "tags:v1")


@pytest.fixture
def program(tags: Damaged, tmp_path: Path, hub: str) -> Onggi:
    (tmp_path / "daemon.json").write_text(json.dumps({"registry-mirrors": [hub]}))
    return Onggi(tags.root, tmp_path / "daemon.json")


def base(it: Damaged, number: int = 1) -> Path:
    """The driver's directory of a layer."""
    return it.root / "erofs" / it.layers[number - 1].cache_id


def edit(it: Damaged, number: int = 1) -> None:
    """Change a byte of the content of the layer's file, in the tar, as one who has the right to."""
    path = base(it, number) / "layer.tar"
    data = bytearray(path.read_bytes())
    data[512] ^= 0x10
    path.write_bytes(data)


DAMAGE = {
    "content": (edit, True),
    "tar cut": (lambda it: (base(it) / "layer.tar").write_bytes(b""), True),
    "no tar": (lambda it: (base(it) / "layer.tar").unlink(), True),
    "no directory": (lambda it: shutil.rmtree(base(it)), True),
    "no entry": (lambda it: shutil.rmtree(it.entry(1)), True),
    "no index": (lambda it: (base(it) / "layer.erofs").unlink(), False),
    "index of another": (
        lambda it: shutil.copyfile(base(it, 2) / "layer.erofs", base(it) / "layer.erofs"),
        False,
    ),
    "no sums": (lambda it: (base(it) / "layer.sums").unlink(), False),
    "parent": (lambda it: (base(it, 2) / "parent").write_text("f" * 64), False),
    "size": (lambda it: (it.entry(1) / "size").write_text("7"), False),
    "cache-id": (lambda it: (it.entry(1) / "cache-id").unlink(), False),
    "diff": (lambda it: (it.entry(2) / "diff").unlink(), False),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_is_healed(tags: Damaged, name: str) -> None:
    damage, fetched = DAMAGE[name]
    ids = tags.ids()
    damage(tags)
    assert not tags.clean()
    report = tags.repair()
    assert any(layer.fetched for layer in report.layers) == fetched
    assert report.findings and not tags.repair().findings
    assert tags.clean() and not list(tags.engine.images.verify(all=True, fast=True))
    assert tags.ids() == ids
    for image in IMAGES:
        tags.engine.images.repair(image)
        with tags.engine.images.get(image).mount() as mounted:
            assert (mounted / "a").read_bytes() == b"1"


def test_pull_of_an_up_to_date_tag_does_not_heal(tags: Damaged, program: Onggi) -> None:
    """As Docker. ``rmi`` and pull does, ``pull --verify`` does."""
    edit(tags)
    found = program.run("verify", "tags:v1", check=False)
    assert found.returncode == 1 and ": a: content changed\n" in found.stdout
    assert "Image is up to date" in program.output("pull", "tags:v1")
    assert not tags.clean()
    for image in IMAGES:
        tags.engine.images.remove(image)
    tags.engine.images.pull("tags:v1")
    healed = Damaged(tags.engine, "tags:v1")
    assert healed.clean()
    edit(healed)
    out = program.output("pull", "--verify", "tags:v1")
    assert "Image is up to date" in out and "a: content changed\nRepaired layer 1" in out
    assert healed.clean()
    assert "Verified: nothing has changed\n" in program.output("pull", "--verify", "tags:v1")


def test_what_a_killed_repair_was_writing_goes(tags: Damaged) -> None:
    temporary = base(tags) / ".tmp-layer.sums"
    temporary.write_bytes(b"x")
    tags.repair()
    assert not temporary.exists()


def test_a_layer_is_replaced_under_a_mount(tags: Damaged) -> None:
    """Who has the old files mounted keeps them, whole; who comes later gets the new ones."""
    with tags.engine.images.get("tags:v2").mount() as old:
        names = sorted(path.name for path in old.iterdir())
        edit(tags)
        report = tags.repair()
        assert report.layers[0].fetched and tags.clean()
        assert f"the mount on {old} still has the old files of layer 1" in report.lines()[-1]
        assert f"onggi image unmount {old}, and mount it again" in report.stale[0]
        assert sorted(path.name for path in old.iterdir()) == names
        assert len((old / "a").read_bytes()) == 1
        with tags.engine.images.get("tags:v2").mount() as new:
            assert (new / "a").read_bytes() == b"1"


def edit_data(it: Damaged) -> None:
    data = bytearray((base(it) / "layer.data").read_bytes())
    data[0] ^= 0x10
    (base(it) / "layer.data").write_bytes(data)


ALIGNED = {
    "content": (edit_data, True),
    "no contents": (lambda it: (base(it) / "layer.data").unlink(), True),
    "no tar-split": (lambda it: (base(it) / "tar-split.json.gz").unlink(), True),
    "tar-split cut": (lambda it: (base(it) / "tar-split.json.gz").write_bytes(b""), True),
    "no directory": (lambda it: shutil.rmtree(base(it)), True),
    "no entry": (lambda it: shutil.rmtree(it.entry(1)), True),
    "no index": (lambda it: (base(it) / "layer.erofs").unlink(), False),
    "size": (lambda it: (it.entry(1) / "size").write_text("7"), False),
    "cache-id": (lambda it: (it.entry(1) / "cache-id").unlink(), False),
}


def test_contents_on_blocks_are_healed(tmp_path: Path, hub: str) -> None:
    """One root, damaged and healed again and again; at last by layers that are tars."""
    with opened(tmp_path / "root", hub, "4096") as engine:
        engine.images.pull("tags:v1")
        tags = Damaged(engine, "tags:v1")
        ids = tags.ids()
        for name, (damage, fetched) in ALIGNED.items():
            damage(tags)
            assert not tags.clean(), name
            assert any(layer.fetched for layer in tags.repair().layers) == fetched, name
            assert tags.clean() and tags.ids() == ids, name
    with opened(tmp_path / "root", hub) as engine:
        tags = Damaged(engine, "tags:v1")
        edit_data(tags)
        with engine.images.get("tags:v1").mount() as old:
            assert tags.repair().layers[0].fetched and tags.clean()
            assert (base(tags) / "layer.tar").exists() and not (base(tags) / "layer.data").exists()
            assert len((old / "a").read_bytes()) == 1
        with engine.images.get("tags:v1").mount() as new:
            assert (new / "a").read_bytes() == b"1"
