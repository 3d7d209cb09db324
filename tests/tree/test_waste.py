from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from onggi.tree.size import tree_size
from onggi.tree.waste import LayerShare, WastedPath, measure_waste
from tests.tree.stacks import mounted, opened, seen_by_kernel, stack


def layer(
    directory: Path, files: dict[str, int], gone: tuple[str, ...] = (), opaque: tuple[str, ...] = ()
) -> Path:
    directory.mkdir()
    for name, size in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(bytes(size))
    for name in gone:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(directory / name, stat.S_IFCHR, 0)
    for name in opaque:
        os.setxattr(directory / name, "trusted.overlay.opaque", b"y")
    return directory


def test_every_way_of_hiding(tmp_path: Path) -> None:
    base = layer(
        tmp_path / "1", {"over": 100, "gone": 30, "d/x": 7, "d/y": 5, "o/a": 11, "o/b": 13, "kept": 50}
    )
    middle = layer(tmp_path / "2", {"over": 10, "o/a": 1, "new": 2}, gone=("gone", "d"), opaque=("o",))
    top = layer(tmp_path / "3", {"over": 20, "d/x": 3})
    with opened([base, middle, top]) as trees:
        waste = measure_waste(trees)
    assert waste.layers == [
        LayerShare(added_files=7, added_bytes=216, wasted_bytes=166),
        LayerShare(
            added_files=1, added_bytes=2, changed_files=2, changed_bytes=11,
            removed_files=4, removed_bytes=55, hidden_bytes=166, wasted_bytes=10,
        ),
        LayerShare(added_files=1, added_bytes=3, changed_files=1, changed_bytes=20, hidden_bytes=10),
    ]  # fmt: skip
    assert waste.wasted_bytes == 176
    assert waste.total_bytes == 252
    assert waste.paths[:3] == [
        WastedPath(110, b"over", 3),
        WastedPath(30, b"gone", 2),
        WastedPath(13, b"o/b", 1),
    ]
    # over: 10 of 130, gone: 0 of 30, d/x: 0 of 10, d/y: 0 of 5, o/a: 1 of 12, o/b: 0 of 13, kept, new
    assert waste.efficiency == pytest.approx((10 + 1 + 50 + 2) / 252)


def test_a_hard_link_is_wasted_with_its_last_name(tmp_path: Path) -> None:
    base = layer(tmp_path / "1", {"one": 40})
    os.link(base / "one", base / "two")
    half = layer(tmp_path / "2", {}, gone=("one",))
    rest = layer(tmp_path / "3", {}, gone=("two",))
    with opened([base, half, rest]) as trees:
        assert measure_waste(trees[:2]).wasted_bytes == 0
        assert measure_waste(trees).wasted_bytes == 40


def test_nothing(tmp_path: Path) -> None:
    with opened([layer(tmp_path / "1", {})]) as trees:
        assert measure_waste(trees).efficiency == 1.0
    assert measure_waste([]).layers == []


@pytest.mark.parametrize("seed", range(10))
def test_sums_agree_with_the_kernel(tmp_path: Path, seed: int) -> None:
    """What is not wasted is what a mount of the stack shows; what a layer adds and changes is its size."""
    layers = stack(tmp_path, seed, 2 + seed % 3)
    with opened(layers[::-1]) as trees:
        waste = measure_waste(trees)
        shares = [share.added_bytes + share.changed_bytes for share in waste.layers]
        assert shares == [tree_size(tree.root_fd) for tree in trees]
    with mounted(tmp_path / "m", layers) as root:
        paths = [root / name for name in seen_by_kernel(root)]
        seen = sum(path.lstat().st_size for path in paths if not stat.S_ISDIR(path.lstat().st_mode))
    assert waste.total_bytes - waste.wasted_bytes == seen
