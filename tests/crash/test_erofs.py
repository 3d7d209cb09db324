"""A data root of the erofs driver: killed, without power, without room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from onggi.errors import ResourceExhausted
from tests.crash.campaign import Campaign, sample, sweep
from tests.crash.checks import empty_files, failures
from tests.crash.child import open_engine
from tests.crash.power import Disk, disk
from tests.crash.samples import APP
from tests.crash.stories_erofs import EROFS_POWER_CUTS, EROFS_STORIES, strangers
from tests.crash.test_disk_full import at_every_size, pull_until_full

pytestmark = pytest.mark.xdist_group("crash-erofs")

NAMES = pytest.mark.parametrize("name", EROFS_STORIES)
# Points of each story without the soak.
SAMPLES = {
    "pull": 3,
    "removal": 3,
    "repair": 2,
    "healing": 3,
    "load": 3,
    "gc": 2,
    "prune": 2,
    "conversion": 3,
    "mount": 2,
}
FORMS = pytest.mark.parametrize("block", ["512", "4096"])
JOURNAL = pytest.mark.parametrize("journal", [False, True], ids=["journal-lost", "journal-written"])
# Bytes that are left: for a part of the first layer, for that and some of the others.
ROOMS = (300_000, 1_500_000, 2_500_000)


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[Disk]:
    with disk(tmp_path_factory.mktemp("power-erofs"), 96 << 20) as made:
        made.require_power_switch()
        yield made


@pytest.mark.parametrize("name", SAMPLES)
def test_killed_at_some_points(crash: Campaign, name: str) -> None:
    story = EROFS_STORIES[name]
    problems = sample(partial(crash.kill, story), crash.calls(story), SAMPLES[name])
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pull", "erofs.block-size=4096"),
        ("healing", "erofs.block-size=4096"),
        ("pull", "erofs.immutable=true"),
        ("removal", "erofs.immutable=true"),
    ],
)
def test_killed_with_other_settings(crash: Campaign, name: str, options: str, monkeypatch) -> None:
    monkeypatch.setenv("ONGGI_STORAGE_OPTS", options)
    story = EROFS_STORIES[name]
    problems = sample(partial(crash.kill, story), crash.calls(story), 2)
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@JOURNAL
def test_power_cut_with_contents_on_blocks(
    crash: Campaign, storage: Disk, journal: bool, monkeypatch
) -> None:
    monkeypatch.setenv("ONGGI_STORAGE_OPTS", "erofs.block-size=4096")
    story = EROFS_STORIES["pull"]
    problems = sample(partial(crash.cut, story, storage, journal), crash.calls(story), 5)
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@FORMS
@NAMES
def test_killed_everywhere(crash: Campaign, name: str, block: str, monkeypatch) -> None:
    monkeypatch.setenv("ONGGI_STORAGE_OPTS", f"erofs.block-size={block}")
    story = EROFS_STORIES[name]
    problems = sweep(partial(crash.kill, story), 2 * crash.calls(story))
    assert not problems, "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@JOURNAL
@pytest.mark.parametrize("name", EROFS_POWER_CUTS)
def test_power_cut_everywhere(crash: Campaign, storage: Disk, name: str, journal: bool) -> None:
    story = EROFS_STORIES[name]
    problems = sweep(partial(crash.cut, story, storage, journal), 2 * crash.calls(story))
    assert not problems, "\n".join(problems)


@JOURNAL
def test_power_cut_of_a_pull(crash: Campaign, storage: Disk, journal: bool) -> None:
    story = EROFS_STORIES["pull"]
    problems = sample(partial(crash.cut, story, storage, journal), crash.calls(story), 3)
    assert not problems, "\n".join(problems)


def test_no_room(crash: Campaign, storage: Disk) -> None:
    """A clear error, nothing half visible; with room again the pull ends well."""
    story = EROFS_STORIES["pull"]
    root, filler = storage.path / "root", storage.path / "filler"
    story.prepare(crash, root)
    failed = 0
    for room in ROOMS:
        free = shutil.disk_usage(storage.path).free
        with open(filler, "wb") as file:
            file.write(bytes(free - room))
        try:
            crash.pull(root)
        except ResourceExhausted:
            failed += 1
            with open_engine(root, crash.registry.url) as engine:
                assert engine.images.list(all=True) == []
        finally:
            filler.unlink()
    assert failed
    assert story.look(crash, root, False) == []
    shutil.rmtree(root)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@FORMS
def test_disk_full_at_every_size(crash: Campaign, storage: Disk, block: str, monkeypatch) -> None:
    monkeypatch.setenv("ONGGI_STORAGE_OPTS", f"erofs.block-size={block}")
    story, root = EROFS_STORIES["pull"], storage.path / "root"

    def attempt(free: int) -> list[str]:
        story.prepare(crash, root)
        with storage.with_free(free):
            found = full_at(crash, root)
        return found + story.look(crash, root, False)

    at_every_size(root, attempt)


def full_at(crash: Campaign, root: Path) -> list[str]:
    """Pull APP into what room there is; what a failed pull must not leave."""
    mirror = crash.registry.url
    try:
        error = pull_until_full(root, mirror, APP)
    except Exception as unclear:
        return [f"{type(unclear).__name__}: {unclear}"]
    if error is None:
        return []
    with open_engine(root, mirror) as engine:
        images = [f"image {image.id} {image.tags}" for image in engine.images.list(all=True)]
    return images + strangers(root) + empty_files(root) + failures(root, mirror)
