"""Each kind of damage is healed, fetching what is damaged and no more; children find it where it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.errors import NotFound
from tests.crash.child import open_engine
from tests.peers.fixtures import Onggi


class Damaged:
    """One image of a data root, to be damaged and repaired. Layers count from 1 at the base."""

    def __init__(self, engine, image: str) -> None:
        self.engine = engine
        self.image = image
        self.root = engine.config.data_root
        self.layers = engine.images.get(image).layers

    def diff(self, number: int) -> Path:
        return self.layers[number - 1].path

    def entry(self, number: int) -> Path:
        return self.layers[number - 1].metadata_path

    def repair(self, **settings):
        return self.engine.images.repair(self.image, **settings)

    def clean(self) -> bool:
        return not list(self.engine.images.verify(all=True))

    def ids(self) -> list[tuple[str, str]]:
        return [(layer.chain_id, layer.cache_id) for layer in self.engine.images.get(self.image).layers]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory, hub: str) -> Path:
    """A root with tags:v1, tags:v2 (on one base with the file ``a``), twice, and many for another platform."""
    root = tmp_path_factory.mktemp("pulled") / "root"
    with open_engine(root, hub) as engine:
        for name in ("tags:v1", "tags:v2", "twice"):
            engine.images.pull(name)
        engine.images.pull("many", platform="linux/arm/v5")
    return root


@pytest.fixture
def engine(tmp_path: Path, pulled: Path, hub: str) -> Iterator:
    """An engine on a copy of that root."""
    subprocess.run(["cp", "-a", str(pulled), str(tmp_path / "root")], check=True)
    with open_engine(tmp_path / "root", hub) as opened:
        yield opened


@pytest.fixture
def tags(engine) -> Damaged:
    return Damaged(engine, "tags:v1")


@pytest.fixture
def program(tags: Damaged, tmp_path: Path, hub: str) -> Onggi:
    """The command line on the same root."""
    (tmp_path / "daemon.json").write_text(json.dumps({"registry-mirrors": [hub]}))
    return Onggi(tags.root, tmp_path / "daemon.json")


def edit(path: Path, data: bytes = b"!") -> None:
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def unlink(path: Path) -> None:
    path.unlink()


DAMAGE = {
    "content": (lambda it: edit(it.diff(1) / "a"), True),
    "mode": (lambda it: (it.diff(1) / "a").chmod(0o777), True),
    "added": (lambda it: (it.diff(1) / "evil").write_text("x"), True),
    "missing": (lambda it: unlink(it.diff(1) / "a"), True),
    "tar-split": (lambda it: unlink(it.entry(1) / "tar-split.json.gz"), True),
    "tar-split cut": (lambda it: (it.entry(1) / "tar-split.json.gz").write_bytes(b""), True),
    "no files": (lambda it: shutil.rmtree(it.diff(1)), True),
    "no directory": (lambda it: shutil.rmtree(it.diff(1).parent), True),
    "no entry": (lambda it: shutil.rmtree(it.entry(1)), True),
    "empty entry": (lambda it: [unlink(path) for path in it.entry(1).iterdir()], True),
    "diff": (lambda it: unlink(it.entry(1) / "diff"), False),
    "size": (lambda it: (it.entry(1) / "size").write_text("1\n"), False),
    "cache-id": (lambda it: unlink(it.entry(1) / "cache-id"), False),
    "cache-id of the top": (lambda it: unlink(it.entry(2) / "cache-id"), False),
    "parent": (lambda it: unlink(it.entry(2) / "parent"), False),
    "parent of another": (lambda it: (it.entry(1) / "parent").write_text("sha256:" + "0" * 64), False),
    "link": (lambda it: (it.diff(1).parent / "link").write_text(""), False),
    "link of the top": (lambda it: unlink(it.diff(2).parent / "link"), False),
    "short names": (
        lambda it: [unlink(path) for path in (it.root / "overlay2/l").iterdir()],
        False,
    ),
    "lower": (lambda it: (it.diff(2).parent / "lower").write_text("l/" + "A" * 26), False),
    "committed": (lambda it: unlink(it.diff(1).parent / "committed"), False),
    "work": (lambda it: shutil.rmtree(it.diff(2).parent / "work"), False),
}


def links(it: Damaged) -> dict[str, str]:
    """What stands on the base: each layer's ``lower``."""
    return {path.parent.name: path.read_text() for path in it.root.glob("overlay2/*/lower")}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_is_healed(tags: Damaged, name: str) -> None:
    damage, fetched = DAMAGE[name]
    lowers, ids = links(tags), tags.ids()
    damage(tags)
    assert not tags.clean()
    report = tags.repair()
    assert any(layer.fetched for layer in report.layers) == fetched
    assert report.findings and not tags.repair().findings
    for image in ("tags:v2", "twice", "many"):
        # What was damaged beyond this image (all short names, say) is theirs to repair.
        tags.engine.images.repair(image)
    assert tags.clean()
    assert links(tags) == lowers
    assert tags.ids() == ids
    for image in ("tags:v1", "tags:v2"):
        with tags.engine.images.get(image).mount() as mounted:
            assert (mounted / "a").read_bytes() == b"1"
    assert [each for each in tags.engine.system.doctor() if each.level == "fail"] == []


def test_only_damaged_layers_are_fetched(tags: Damaged, program: Onggi) -> None:
    other = (tags.diff(2) / "v1").stat()
    edit(tags.diff(1) / "a")
    lines = program.output("repair", "tags:v1").splitlines()
    assert lines[0].endswith(": Pulling fs layer") and sum("Pull complete" in line for line in lines) == 1
    cache_id = tags.diff(1).parent.name[:12]
    assert lines[-2:] == [
        f"tags:v1 layer 1 (cache-id {cache_id}): a: content changed",
        f"Repaired layer 1 (cache-id {cache_id}): fetched again and replaced",
    ]
    assert (tags.diff(2) / "v1").stat().st_ino == other.st_ino
    assert program.output("repair", "tags:v1") == "tags:v1: nothing to repair\n"
    assert program.output("repair", "-q", "tags:v1") == ""


def test_json(tags: Damaged, program: Onggi) -> None:
    (tags.entry(1) / "size").unlink()
    document = json.loads(program.output("repair", "--json", "tags:v1"))
    assert document["Findings"][0]["File"] == "layerdb/size"
    assert document["Layers"][0]["Files"] == ["layerdb/size"] and not document["Layers"][0]["Fetched"]


def test_config(tags: Damaged) -> None:
    image = tags.engine.images.get("tags:v1").id
    config = tags.root / "image/overlay2/imagedb/content/sha256" / image.hex
    good = config.read_bytes()
    config.write_bytes(b"{}")
    with open_engine(tags.root, tags.engine.config.registry_mirrors[0]) as fresh:
        assert fresh.images.repair("tags:v1").config_fetched
    assert config.read_bytes() == good and tags.clean()


def test_pull_of_an_up_to_date_tag_does_not_heal(tags: Damaged, program: Onggi) -> None:
    """As Docker. ``rmi`` and pull does, ``pull --verify`` does."""
    edit(tags.diff(1) / "a")
    assert "Image is up to date" in program.output("pull", "tags:v1")
    assert not tags.clean()
    for image in ("tags:v1", "tags:v2"):
        tags.engine.images.remove(image)
    program.run("image", "rm", "twice")
    tags.engine.images.remove("many")
    tags.engine.images.pull("tags:v1")
    healed = Damaged(tags.engine, "tags:v1")
    assert healed.clean()
    edit(healed.diff(1) / "a")
    out = program.output("pull", "--verify", "tags:v1")
    assert "Image is up to date" in out and "a: content changed\nRepaired layer 1" in out
    assert healed.clean()
    assert "Verified: nothing has changed\n" in program.output("pull", "--verify", "tags:v1")


def test_a_mount_is_not_robbed(tags: Damaged, program: Onggi) -> None:
    edit(tags.diff(1) / "a")
    with tags.engine.images.get("tags:v2").mount() as mounted:
        refused = program.run("repair", "tags:v1", check=False)
        assert refused.returncode == 1 and refused.stderr.startswith(
            f"Error: repair tags:v1: the mount on {mounted} stands on its layer 1"
        )
        assert (tags.diff(1) / "a").read_bytes() == b"!"
        program.run("repair", "--force", "tags:v1")
        assert tags.clean()


def test_a_running_container_is_not_robbed(tags: Damaged, program: Onggi) -> None:
    container = tags.root / "containers" / ("c" * 64)
    container.mkdir()
    document = {"ID": "c" * 64, "Image": tags.engine.images.get("tags:v2").id, "State": {"Running": True}}
    (container / "config.v2.json").write_text(json.dumps(document))
    edit(tags.diff(1) / "a")
    refused = program.run("repair", "tags:v1", check=False)
    assert f"running container {'c' * 12} stands on its layer 1" in refused.stderr
    (container / "config.v2.json").write_text(json.dumps({**document, "State": {"Running": False}}))
    tags.repair()
    assert tags.clean()


def test_metadata_are_mended_under_a_mount(tags: Damaged) -> None:
    """Nothing that the mount uses is replaced."""
    with tags.engine.images.get("tags:v1").mount() as mounted:
        (tags.entry(1) / "size").write_text("")
        tags.repair()
        assert tags.clean() and (mounted / "a").read_bytes() == b"1"


def test_blobs_are_found_without_the_names(tags: Damaged) -> None:
    """A name that leads elsewhere: the repository where the blob was seen still has it."""
    tags.engine.images.tag("tags:v1", "here/only:1")
    for name in ("tags:v1", "tags:v2"):
        tags.engine.images.remove(name)
    edit(tags.diff(1) / "a")
    tags.image = "here/only:1"
    assert tags.repair().layers[0].fetched and tags.clean()


def test_nowhere_to_fetch(tags: Damaged) -> None:
    tags.engine.images.tag("tags:v1", "127.0.0.1:1/only:1")
    for name in ("tags:v1", "tags:v2"):
        tags.engine.images.remove(name)
    shutil.rmtree(tags.root / "image/overlay2/distribution/v2metadata-by-diffid")
    edit(tags.diff(1) / "a")
    tags.image = "127.0.0.1:1/only:1"
    with pytest.raises(NotFound, match=r"fetch layer 1 \(sha256:"):
        tags.repair()
    assert (tags.diff(1) / "a").read_bytes() == b"!"


def test_a_layer_of_another_platform(engine) -> None:
    """The index is searched for the very image, whatever this host is."""
    it = Damaged(engine, "many")
    edit(it.diff(2) / "arch")
    (repaired,) = it.repair().layers
    assert (repaired.layer, repaired.cache_id, repaired.fetched) == (2, it.layers[1].cache_id, True)
    assert it.clean()


def test_every_layer_at_once(engine) -> None:
    """library/twice has one blob for two of its layers."""
    it = Damaged(engine, "twice")
    for number, name in ((1, "a"), (2, "b"), (3, "a")):
        edit(it.diff(number) / name)
    assert [layer.fetched for layer in it.repair().layers] == [True] * 3
    assert it.clean()


def test_kept_blobs_need_no_registry(tmp_path: Path, pulled: Path, hub: str) -> None:
    root = tmp_path / "root"
    with open_engine(root, hub) as engine:
        engine.images.pull("tags:v1", keep_blobs=True)
    with open_engine(root, "http://127.0.0.1:1") as engine:
        it = Damaged(engine, "tags:v1")
        edit(it.diff(1) / "a")
        assert it.repair().layers[0].fetched and it.clean()
        edit(it.diff(1) / "a")
        assert it.repair().layers[0].fetched, "the blob stays"


def test_unknown_image(tags: Damaged) -> None:
    with pytest.raises(NotFound, match="No such image: nothere:latest"):
        tags.engine.images.repair("nothere")


def test_what_a_killed_repair_left_is_swept(tags: Damaged) -> None:
    """Killed before a rename: what was to be mended is broken still, so the next repair comes by."""
    (tags.entry(1) / "size").unlink()
    (tags.diff(1).parent / "link").unlink()
    left = [tags.entry(1) / ".tmp-size123", tags.diff(1).parent / ".tmp-link123"]
    for path in left:
        path.write_text("1")
    tags.repair()
    assert tags.clean() and not any(path.exists() for path in left)
