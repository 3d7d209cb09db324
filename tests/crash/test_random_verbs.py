"""Anybody does anything to one data root, and some are killed: the store stays sound, and dockerd starts on it.

A failing run names its seed; ``ONGGI_PLAY_SEED=… pytest -k random_verbs`` plays the same words with the
same kills again, and ``python -m tests.crash.verbs SCENE SEED-PROCESS-GENERATION`` shows those of a process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom

import pytest

import onggi
from onggi.drivers.choice import DRIVERS
from tests.crash.checks import empty_files, failures, leftovers
from tests.crash.child import open_engine
from tests.crash.play import Play, scene
from tests.crash.samples import BUSYBOX
from tests.crash.stories_erofs import strangers
from tests.crash.test_kill import processes_under
from tests.crash.verbs import Scene
from tests.peers.daemon import Daemon
from tests.peers.processes import wait_until

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("crash-random-verbs")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Scene]:
    assert os.geteuid() == 0, "crash tests need root: run `make setup` and `make test` as root"
    with scene(tmp_path_factory.mktemp("verbs")) as made:
        yield made


@pytest.fixture(params=DRIVERS)
def driver(stage: Scene, request) -> str:
    """A new data root is made for the driver."""
    shutil.rmtree(stage.root, ignore_errors=True)
    Path(stage.root, "image", request.param).mkdir(parents=True)
    return str(request.param)


def test_random_verbs(stage: Scene, tmp_path: Path, driver: str) -> None:
    play(stage, tmp_path, driver, processes=6, seconds=6)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_random_verbs_for_long(stage: Scene, tmp_path: Path, driver: str) -> None:
    play(stage, tmp_path, driver, processes=20, seconds=300)


def play(stage: Scene, work: Path, driver: str, *, processes: int, seconds: float) -> None:
    seed = int(os.environ.get("ONGGI_PLAY_SEED") or SystemRandom().randrange(1_000_000))
    print(f"ONGGI_PLAY_SEED={seed}")
    played = Play(stage, work / "play", seed, processes, seconds)
    problems = played.run()
    print(played.account())
    problems += unsound(stage, driver)
    if driver != "overlay2":
        with open_engine(Path(stage.root), stage.mirror) as engine:
            engine.convert_storage("overlay2")
    problems += refused_by_dockerd(stage, work)
    problems += left_when_empty(stage)
    assert not problems, f"ONGGI_PLAY_SEED={seed}\n" + "\n".join(problems)


# --- what must be true at the end -------------------------------------------------------------


def unsound(stage: Scene, driver: str) -> list[str]:
    """All that is not as it must be when everybody has gone."""
    root = Path(stage.root)
    wait_until(lambda: not processes_under(root), "the end of every worker of the killed")
    with open_engine(root, stage.mirror) as engine:
        engine.system.recover()
        problems = unknown_mounts(stage, engine)
        if engine.system.info()["Driver"] != driver:
            problems.append("it is another driver's root now")
        for mounted in engine.mounts.list():
            engine.mounts.unmount(mounted.id)
        problems += [f"verify: {finding}" for finding in engine.images.verify(all=True)]
        problems += broken_names(engine)
        engine.gc()
        problems += [f"gc again: {item.kind} {item.name}: {item.reason}" for item in engine.gc().items]
        problems += wrong_sizes(root / driver, engine)
    return problems + left_over(root, driver) + empty_files(root) + failures(root, stage.mirror)


def left_over(root: Path, driver: str) -> list[str]:
    """Received blobs may wait for the next pull, and kept ones stay."""
    found = leftovers(root) if driver == "overlay2" else strangers(root)
    return [problem for problem in found if "onggi/blobs/" not in problem]


def unknown_mounts(stage: Scene, engine: onggi.Engine) -> list[str]:
    """Mounts without a record, and records without a mount."""
    places = (f"{stage.root}/", *stage.targets)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = sorted(line.split()[4] for line in lines if line.split()[4].startswith(places))
    known = sorted(record.path for record in engine.mounts.list())
    return [] if mounted == known else [f"mounted are {mounted}, known {known}"]


def broken_names(engine: onggi.Engine) -> list[str]:
    """Names whose image, or a layer of it, is not here."""
    core = engine._core
    problems = []
    for reference, image_id in core.tags.snapshot().items():
        if image_id not in core.images:
            problems.append(f"{reference.familiar} means {image_id}, which is not here")
        elif any(core.layers.usable(chain) is None for chain in core.images.get(image_id).chain_ids):
            problems.append(f"{reference.familiar} lacks a layer")
    return problems


def wrong_sizes(home: Path, engine: onggi.Engine) -> list[str]:
    """Shared and exclusive parts must be what ``du`` counts in the driver's directory."""
    usage = engine.system.df(disk=True)
    assert usage.disk is not None
    directories = [path for path in home.iterdir() if path.name != "l"]
    counted = sum(blocks(path) for path in (*directories, *home.glob("l/*")))
    problems = []
    if usage.disk.total != counted or usage.disk.unused:
        problems.append(f"df says {usage.disk}, du {counted} bytes")
    for each in usage.images:
        if each.shared_size + each.unique_size != each.image.size:
            problems.append(
                f"{each.image.id.short}: {each.shared_size} + {each.unique_size} != {each.image.size}"
            )
    return problems


def blocks(path: Path) -> int:
    done = subprocess.run(["du", "-sx", "-B1", path], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def refused_by_dockerd(stage: Scene, work: Path) -> list[str]:
    """dockerd must start, know the same images, run one and save one."""
    root = Path(stage.root)
    with open_engine(root, stage.mirror) as engine:
        engine.images.pull(BUSYBOX)
        ours = {image.id for image in engine.images.list(all=True)}
    with Daemon(root, work / "dockerd", mirror=stage.mirror) as daemon:
        theirs = set(daemon.output("images", "-a", "-q", "--no-trunc").split())
        problems = [] if theirs == ours else [f"dockerd knows {theirs}, we {ours}"]
        said = daemon.output("run", "--rm", "--network", "none", BUSYBOX)
        if said != "onggi\n":
            problems.append(f"the container says {said!r}")
        archive = work / "saved.tar"
        daemon.run("save", "-o", str(archive), BUSYBOX)
        if not archive.stat().st_size:
            problems.append("dockerd saves nothing")
    return problems


def left_when_empty(stage: Scene) -> list[str]:
    """With the last image everything goes."""
    root = Path(stage.root)
    with open_engine(root, stage.mirror) as engine:
        for image in engine.images.list(all=True):
            engine.images.remove(image.id, force=True)
        engine.gc()
        problems = [f"image {image.id} cannot go" for image in engine.images.list(all=True)]
    own = [
        path
        for name in ("pins", "last-use", "manifests", "removing", "trash", "mounts", "staging")
        for path in root.glob(f"onggi/{name}/*")
    ]
    layers = [*root.glob("image/overlay2/layerdb/sha256/*"), *root.glob("overlay2/*/diff")]
    return problems + [f"left when empty: {path.relative_to(root)}" for path in (*own, *layers)]
