"""What leaves a store does not tell how it was kept there: archives, pushes, and stores of the other driver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.fixtures import Onggi
from tests.peers.registries import Registry
from tests.peers.unprivileged import Nobody, nobody

DRIVERS = ("overlay2", "erofs")
SETTINGS = {
    "overlay2": {"storage-driver": "overlay2"},
    "erofs": {"storage-driver": "erofs"},
    "erofs-4096": {"storage-driver": "erofs", "storage-opts": ["erofs.block-size=4096"]},
}
IMAGES = ("odd", "twice", "tags:v1")


@pytest.fixture(scope="module")
def stores(tmp_path_factory, hub) -> dict[str, Onggi]:
    """The same images, pulled into a store of each driver, and of each form."""
    made = {}
    for driver, settings in SETTINGS.items():
        directory = tmp_path_factory.mktemp(driver)
        config = directory / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [hub], **settings}))
        made[driver] = Onggi(directory / "root", config)
        for name in IMAGES:
            made[driver].run("pull", "-q", name)
    return made


@pytest.fixture(scope="module")
def user(hub) -> Iterator[Nobody]:
    """A user without rights, with the same images."""
    with nobody(json.dumps({"registry-mirrors": [hub]})) as made:
        for name in IMAGES:
            made.run("pull", "-q", name)
        yield made


def other(store: Onggi, root: Path, driver: str) -> Onggi:
    config = root.with_name(root.name + ".json")
    config.write_text(json.dumps(SETTINGS[driver]))
    return Onggi(root, config)


def ids(store: Onggi | Nobody) -> set[str]:
    return set(store.output("images", "-aq", "--no-trunc").split())


def test_archives_are_the_same_and_load_anywhere(stores, tmp_path):
    for driver, store in stores.items():
        store.run("save", "-o", str(tmp_path / driver), *IMAGES)
    archives = [(tmp_path / driver).read_bytes() for driver in SETTINGS]
    assert archives[0] == archives[1] == archives[2]
    for driver in SETTINGS:
        fresh = other(stores[driver], tmp_path / f"into-{driver}", driver)
        fresh.run("load", "-i", str(tmp_path / "erofs"))
        assert ids(fresh) == ids(stores[driver])
        fresh.run("save", "-o", str(tmp_path / "again"), *IMAGES)
        assert (tmp_path / "again").read_bytes() == archives[0]


def test_pushes_are_the_same(stores, registry: Registry):
    digests = []
    for driver, store in stores.items():
        store.run("tag", "odd", f"{registry.host}/{driver}/odd")
        digests.append(store.output("push", f"{registry.host}/{driver}/odd").split("digest: ")[1])
    assert digests[0] == digests[1] == digests[2]


@pytest.mark.parametrize(
    "words",
    [
        ("layer", "ls", "odd#1"),
        ("layer", "ls", "odd#2"),
        ("layer", "diff", "odd#2"),
        ("layer", "diff", "odd#2", "odd#1"),
        ("layers", "--format", "{{.ChainID}} {{.Size}}", "odd"),
    ],
    ids=" ".join,
)
def test_looking_tells_the_same(stores, words):
    assert len({store.output(*words) for store in stores.values()}) == 1


def test_both_forms_show_the_same_tree(stores):
    """overlay2 has the time of its unpacking on directories that no archive names."""
    words = ("image", "files", "-R", "odd")
    assert stores["erofs"].output(*words) == stores["erofs-4096"].output(*words)


@pytest.mark.parametrize(("source", "target"), [DRIVERS, DRIVERS[::-1], ("overlay2", "erofs-4096")])
def test_sync_to_the_other_driver(stores, tmp_path, source, target):
    fresh = other(stores[source], tmp_path / "fresh", target)
    fresh.run("import", str(_empty_tar(tmp_path)), "first:1")  # its driver is chosen now
    stores[source].run("sync", str(stores[source].data_root), str(fresh.data_root))
    assert ids(stores[source]) <= ids(fresh)
    archives = []
    for store in (stores[source], fresh):
        store.run("save", "-o", str(tmp_path / "archive"), *IMAGES)
        archives.append((tmp_path / "archive").read_bytes())
    assert archives[0] == archives[1]
    assert fresh.output("layer", "ls", "odd#2") == stores[source].output("layer", "ls", "odd#2")


def _empty_tar(directory: Path) -> Path:
    (directory / "empty.tar").write_bytes(bytes(10240))
    return directory / "empty.tar"


def test_without_any_right(user: Nobody, stores, registry: Registry):
    """save, load, import, push and sync, as nobody."""
    archive, root = user.home / "all.tar", user.home / "other"
    user.run("save", "-o", str(archive), *IMAGES)
    stores["overlay2"].run("save", "-o", str(user.home / "roots.tar"), *IMAGES)
    assert archive.read_bytes() == (user.home / "roots.tar").read_bytes()
    user.run("tag", "odd", f"{registry.host}/nobody/odd")
    stores["erofs"].run("tag", "odd", f"{registry.host}/root/odd")
    mine = user.output("push", f"{registry.host}/nobody/odd").split("digest: ")[1]
    assert mine == stores["erofs"].output("push", f"{registry.host}/root/odd").split("digest: ")[1]
    user.run("rmi", f"{registry.host}/nobody/odd")
    user.run("sync", str(user.data_root), str(root))
    assert user.output("--data-root", str(root), "images", "-q") == user.output("images", "-q")
    user.run("--data-root", str(root), "load", "-i", str(archive))
    (user.home / "empty.tar").write_bytes(bytes(10240))
    user.run("import", str(user.home / "empty.tar"), "imported:1")
    assert "imported" in user.output("images")
