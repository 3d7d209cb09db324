"""Images stored by both drivers, mounted: the same tree, to the last attribute, and the same for runc."""

from __future__ import annotations

import filecmp
import json
import os
import random
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import onggi
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.images import Layout, member, tar
from tests.peers.processes import require

GENERATED = ["odd", "twice", "deep", "plain", "zstd", "nohistory", "many", "tags:v1"]
REAL = ["nginx", "python:3.11", "debian:bookworm-slim", "busybox", "oci/nginx", "oci/busybox:zstd"]


@contextmanager
def engine(root: Path, mirror: str, driver: str) -> Iterator[onggi.Engine]:
    config = onggi.Config(
        data_root=root,
        storage_driver=driver,
        exec_root=root.parent / "run",
        registry_mirrors=(mirror,),
        docker_config_dir=Path("/nonexistent"),
        certs_dirs=(),
    )
    with onggi.open(config=config) as opened:
        yield opened


@contextmanager
def both(directory: Path, mirror: str, name: str) -> Iterator[tuple[Path, Path]]:
    """The image as overlay2 shows it, and as erofs does."""
    with ExitStack() as stack:
        points = []
        for driver in ("overlay2", "erofs"):
            opened = stack.enter_context(engine(directory / driver, mirror, driver))
            opened.images.pull(name)
            points.append(stack.enter_context(opened.images.get(name).mount()))
        yield points[0], points[1]


def facts(path: bytes) -> tuple[object, ...]:
    """All but contents. What the archive gives no time has that of unpacking, or none at all."""
    status = os.lstat(path)
    directory = stat.S_ISDIR(status.st_mode)
    unset = directory and (status.st_mtime_ns == 0 or abs(status.st_mtime - time.time()) < 3600)
    return (
        oct(status.st_mode),
        status.st_uid,
        status.st_gid,
        None if unset else status.st_mtime_ns,
        None if directory else status.st_size,
        None if directory else status.st_nlink,
        status.st_rdev,
        os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"",
        {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        },
    )


def differences(one: Path, other: Path) -> list[str]:
    """Where two trees are not alike; hard links are compared by the first name of each inode."""
    found = []
    names = [sorted(_names(os.fsencode(top))) for top in (one, other)]
    devices = [
        len({os.lstat(os.path.join(os.fsencode(top), name)).st_dev for name in _names(os.fsencode(top))})
        for top in (one, other)
    ]
    if devices != [1, 1]:
        found.append(f"device numbers: {devices}")
    if names[0] != names[1]:
        found.append(f"names: {sorted(set(names[0]) ^ set(names[1]))[:20]}")
    firsts: tuple[dict[int, bytes], dict[int, bytes]] = {}, {}
    for name in names[0]:
        paths = [os.path.join(os.fsencode(top), name) for top in (one, other)]
        told = [facts(path) for path in paths]
        if told[0] != told[1]:
            found.append(f"{name!r}: {told[0]} {told[1]}")
        groups = [
            first.setdefault(os.lstat(path).st_ino, name) for first, path in zip(firsts, paths, strict=True)
        ]
        if groups[0] != groups[1]:
            found.append(f"{name!r}: linked to {groups}")
        if stat.S_ISREG(os.lstat(paths[0]).st_mode) and not filecmp.cmp(*paths, shallow=False):
            found.append(f"{name!r}: contents")
    return found


def _names(top: bytes) -> Iterator[bytes]:
    yield b""
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            yield os.path.relpath(os.path.join(directory, name), top)


def test_nothing_stays_mounted(tmp_path, hub):
    """Layers are attached as long as an image that stands on them is mounted, and not longer."""
    attached = tmp_path / "run/layers"
    with engine(tmp_path / "root", hub, "erofs") as opened:
        opened.images.pull("odd")
        opened.images.pull("many")
        with opened.images.get("odd").mount() as first, opened.images.get("odd").mount() as second:
            assert sorted(os.listdir(first)) == sorted(os.listdir(second))
            with opened.images.get("many").mount():
                pass
            assert len(list(attached.iterdir())) == 1
            opened.gc()
            assert len(list(attached.iterdir())) == 1
        assert list(attached.iterdir()) == []


@pytest.mark.parametrize("name", GENERATED)
def test_the_same_tree(tmp_path, hub, name):
    with both(tmp_path, hub, name) as points:
        assert differences(*points) == []


@pytest.mark.parametrize("name", REAL)
def test_the_same_tree_of_real_images(tmp_path, real_registry, name):
    if real_registry is None:
        return  # no real images at hand; the generated ones stand above
    with both(tmp_path, f"http://{real_registry.host}", name) as points:
        assert differences(*points) == []


@pytest.mark.soak
def test_the_same_tree_of_60000_files(tmp_path):
    layout = Layout(tmp_path / "layout")
    layout.image("library/many:latest", [tar(list(_small_files(layer))) for layer in range(6)])
    with serving(OCILayout(layout.directory)) as url, both(tmp_path, url, "many") as points:
        assert differences(*points) == []


def _small_files(layer: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    chance = random.Random(layer)
    for number in range(10_000):
        name = f"usr/layer{layer}/d{number // 200}/f{number}"
        if number % 10 == 9:
            yield member(name, type=tarfile.SYMTYPE, linkname=f"f{number - 1}")
        elif number % 50 == 7:
            yield member(
                name, type=tarfile.LNKTYPE, linkname=f"usr/layer{layer}/d{number // 200}/f{number - 1}"
            )
        else:
            yield member(name, chance.randbytes(chance.randrange(3000)), uid=chance.randrange(2000))


def test_runc_runs_on_it(tmp_path, real_registry):
    """A container's root is an overlay with the image's mount below; runc starts nginx in it."""
    if real_registry is None:
        return
    from onggi.linux.mount import overlay_mount, unmount

    with engine(tmp_path / "root", f"http://{real_registry.host}", "erofs") as opened:
        opened.images.pull("nginx")
        with opened.images.get("nginx").mount() as lower:
            for name in ("bundle", "bundle/rootfs", "upper", "work"):
                (tmp_path / name).mkdir()
            overlay_mount(tmp_path / "bundle/rootfs", [lower], tmp_path / "upper", tmp_path / "work")
            try:
                done = run_in(tmp_path / "bundle", ["nginx", "-v"])
            finally:
                unmount(tmp_path / "bundle/rootfs")
    assert "nginx version" in done.stderr + done.stdout, done


def run_in(bundle: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    runc = require("runc")
    subprocess.run([runc, "spec"], cwd=bundle, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"].update(terminal=False, args=command)
    spec["process"].pop("rlimits", None)
    (bundle / "config.json").write_text(json.dumps(spec))
    words = [runc, "--root", str(bundle.parent / "state"), "run", "--bundle", str(bundle), "onggi-erofs-test"]
    return subprocess.run(words, capture_output=True, text=True, check=False)
