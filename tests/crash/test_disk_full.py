"""No room: a clear error, nothing half visible, and with room again the pull goes on."""

from __future__ import annotations

import gzip
import io
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.errors import ResourceExhausted
from onggi.transfer.archive_files import open_archive
from tests.crash.campaign import Campaign
from tests.crash.checks import compare, empty_files, failures, leftovers, snapshot
from tests.crash.child import open_engine
from tests.crash.power import Disk, disk
from tests.crash.samples import APP, DEEP, WIDE
from tests.peers.images import member, tar
from tests.transfer.archives import docker_archive

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


def test_a_layer_that_nobody_wants_takes_no_room(storage: Disk, root: Path) -> None:
    """Unpacked early it fills the disk, where the archive and its image have room."""
    noise = random.Random(3)
    wanted = [tar([member(f"f{n}", noise.randbytes(400_000))]) for n in range(2)]
    bomb = gzip.compress(tar([member("r", noise.randbytes(300_000)), member("zeros", bytes(40_000_000))]), 1)
    middle = member("x/layer.tar", bomb)
    data = docker_archive(wanted, more=[middle, member("y", noise.randbytes(2_000_000))])
    with storage.with_free(8 << 20), open_engine(root, "http://127.0.0.1:1") as engine:
        engine.images.load(io.BytesIO(gzip.compress(data, 1)))
        assert not list(engine.images.verify(all=True))
    assert not leftovers(root)


def test_what_was_unpacked_early_makes_room(storage: Disk, root: Path) -> None:
    """Where the archive itself finds no room, that is given back, and it goes on at the very byte."""
    data = docker_archive([tar([member("f", random.Random(4).randbytes(3_000_000))])])

    class Greedy:
        asked = 0

        def look(self, spool: int, pieces: Iterator[bytes]) -> None:
            pass

        def make_room(self) -> bool:
            self.asked += 1
            (storage.path / "taken").unlink(missing_ok=True)
            return self.asked == 1

    root.mkdir()
    greedy = Greedy()
    with storage.with_free(4 << 20):
        (storage.path / "taken").write_bytes(bytes(3 << 20))
        files = open_archive(io.BytesIO(gzip.compress(data, 1)), root, CancelToken(), greedy)
        try:
            extent = files.find("l0/layer.tar")
            assert extent is not None and greedy.asked == 1
            assert b"".join(extent.pieces()) == data[extent.start : extent.start + extent.size]
        finally:
            files.close()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_disk_full_at_every_size(crash: Campaign, storage: Disk, root: Path) -> None:
    def attempt(free: int) -> list[str]:
        with storage.with_free(free):
            found = full_at(crash, root)
        crash.pull(root)
        return found + leftovers(root) + compare(snapshot(root), crash.expected)

    at_every_size(root, attempt)


def at_every_size(root: Path, attempt: Callable[[int], list[str]]) -> None:
    """``attempt`` is given the bytes that are free, and tells what is wrong then."""
    problems = []
    for free in range(0, ENOUGH, STEP):
        problems += [f"{free} bytes free: {problem}" for problem in attempt(free)[:4]]
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
