"""No room: a clear error, nothing half visible, and with room again the pull goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.errors import ResourceExhausted
from tests.crash.campaign import Campaign
from tests.crash.checks import compare, empty_files, failures, leftovers, snapshot
from tests.crash.child import open_engine
from tests.crash.power import Disk, disk
from tests.crash.samples import APP, DEEP, WIDE

pytestmark = pytest.mark.xdist_group("crash-disk-full")

# Bytes; between two fillings of the soak, and what APP surely fits into.
STEP, ENOUGH = 64 * 1024, 6 << 20


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[Disk]:
    with disk(tmp_path_factory.mktemp("full"), 64 << 20) as made:
        yield made


@pytest.fixture
def root(storage: Disk) -> Iterator[Path]:
    yield storage.path / "root"
    shutil.rmtree(storage.path / "root", ignore_errors=True)


def visible(root: Path, mirror: str) -> list[str]:
    """What a failed pull must not leave: an image, half a layer, anything staged. Received blobs may stay."""
    with open_engine(root, mirror) as engine:
        images = [f"image {image.id} {image.tags}" for image in engine.images.list(all=True)]
    left = [path for path in leftovers(root) if "onggi/blobs" not in path]
    return images + left + empty_files(root) + failures(root, mirror)


def pull_until_full(root: Path, mirror: str, name: str) -> ResourceExhausted | None:
    """The error of a pull, or None when it had room; any other error is the test's failure."""
    try:
        with open_engine(root, mirror) as engine:
            engine.images.pull(name)
    except ResourceExhausted as error:
        return error
    return None


@pytest.mark.parametrize("name", [WIDE, DEEP], ids=["in-a-download", "in-an-unpack"])
def test_disk_full(crash: Campaign, storage: Disk, root: Path, name: str) -> None:
    mirror = crash.registry.url
    with storage.with_free(3 << 20):
        error = pull_until_full(root, mirror, name)
        assert error is not None and "no space left on device" in error.message and error.hint
        assert "\n" not in error.message
        assert not visible(root, mirror)
    with open_engine(root, mirror) as engine:
        assert engine.images.pull(name).tags == [f"{name}:latest"]
    assert not leftovers(root) + failures(root, mirror)


def test_a_download_goes_on_after_a_full_disk(crash: Campaign, storage: Disk, root: Path) -> None:
    with storage.with_free(3 << 20):
        assert pull_until_full(root, crash.registry.url, WIDE)
    (partial,) = root.glob("onggi/blobs/sha256/*.partial")
    size = partial.stat().st_size
    assert size > 0
    crash.registry.forget()
    crash.pull(root, WIDE)
    assert crash.registry.ranges[f"sha256:{partial.stem}"] == [size]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_disk_full_at_every_size(crash: Campaign, storage: Disk, root: Path) -> None:
    problems = []
    for free in range(0, ENOUGH, STEP):
        with storage.with_free(free):
            found = full_at(crash, root)
        crash.pull(root)
        found += leftovers(root) + compare(snapshot(root), crash.expected)
        problems += [f"{free} bytes free: {problem}" for problem in found[:4]]
        shutil.rmtree(root)
    assert not problems, "\n".join(problems)


def full_at(crash: Campaign, root: Path) -> list[str]:
    """Pull APP into what room there is; a success must be a whole one."""
    mirror = crash.registry.url
    try:
        error = pull_until_full(root, mirror, APP)
    except Exception as unclear:
        return [f"{type(unclear).__name__}: {unclear}"]
    return visible(root, mirror) if error else compare(snapshot(root), crash.expected)
