"""Random stacks of layer directories, and the kernel's view of them."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.linux.mount import overlay_mount, unmount
from onggi.tree.layer_tree import LayerTree, OpenLayers

__all__ = ["mounted", "opened", "seen_by_kernel", "stack"]

NAMES = ("a", "b", "c", "d")
KINDS = ("file", "file", "directory", "directory", "whiteout", "link", "opaque", "fifo")


def fill(directory: Path, rng: random.Random, depth: int = 0) -> None:
    """A layer's directory with a few names of every kind."""
    for name in NAMES:
        if rng.random() < 0.4:
            continue
        path, kind = directory / name, rng.choice(KINDS)
        if kind in ("directory", "opaque") and depth < 3:
            path.mkdir(mode=rng.choice((0o755, 0o700)))
            fill(path, rng, depth + 1)
            if kind == "opaque":
                os.setxattr(path, "trusted.overlay.opaque", b"y")
        elif kind == "whiteout":
            os.mknod(path, stat.S_IFCHR, 0)
        elif kind == "link":
            targets = ("/a/b", "../c", "b", "../../../../a", "/", "nowhere", "d/")
            path.symlink_to(rng.choice(targets))
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.write_bytes(rng.randbytes(rng.randrange(20)))
            os.utime(path, ns=(0, rng.choice((10**9, 2 * 10**9, 10**9 + 5))))


@contextmanager
def opened(layers: list[Path]) -> Iterator[list[LayerTree]]:
    with OpenLayers() as trees:
        yield trees.directories(layers)


@contextmanager
def mounted(target: Path, layers: list[Path]) -> Iterator[Path]:
    """The kernel's view; of one layer too, whose bind mount would show whiteouts as devices."""
    target.mkdir()
    nothing = target.with_name(target.name + "-nothing")
    nothing.mkdir()
    overlay_mount(target, [*layers, nothing])
    yield target
    unmount(target)


def seen_by_kernel(root: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for parent, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(parent, name)
            # In a directory of one layer the kernel lists whiteouts, which nobody can look up.
            if os.path.lexists(path):
                found[os.path.relpath(path, root)] = facts(os.lstat(path), path)
    return found


def facts(status: os.stat_result, path: str) -> tuple[object, ...]:
    content: object = None
    if stat.S_ISREG(status.st_mode):
        content = Path(path).read_bytes()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    return status.st_mode, status.st_uid, status.st_mtime_ns, content


def stack(tmp_path: Path, seed: int, count: int) -> list[Path]:
    rng = random.Random(seed)
    layers = [tmp_path / f"layer{seed}-{number}" for number in range(count)]
    for layer in layers:
        layer.mkdir()
        fill(layer, rng)
    return layers
