"""Differences against a plain comparison of two kernel mounts, by Docker's rules."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from onggi.tree.differences import Change, differences, top_changes
from onggi.tree.merged import Merged
from tests.tree.stacks import mounted, opened, stack


def docker_diff(old: Path, new: Path, *, gone_last: bool = False) -> list[tuple[str, str]]:
    """``Changes`` of Docker's archive package, over two mounted trees."""
    found: list[tuple[str, str]] = []
    compare(old, new, "", found, listed=True, gone_last=gone_last)
    return found


def compare(
    old: Path | None, new: Path, path: str, found: list[tuple[str, str]], *, listed: bool, gone_last: bool
) -> None:
    mark = len(found)
    had = names(old)
    has = names(new)
    for name in sorted(had | has, key=lambda name: (gone_last and name not in has, name)):
        below = f"{path}/{name}"
        if name not in has:
            found.append(("D", below))
            continue
        after = os.lstat(new / name)
        before = os.lstat(old / name) if old is not None and name in had else None
        own = before is None or different(before, after)
        if own:
            found.append(("A" if before is None else "C", below))
        if stat.S_ISDIR(after.st_mode):
            inside = (
                old / name
                if old is not None and before is not None and stat.S_ISDIR(before.st_mode)
                else None
            )
            compare(inside, new / name, below, found, listed=own, gone_last=gone_last)
    if len(found) > mark and not listed:
        found.insert(mark, ("C", path))


def names(directory: Path | None) -> set[str]:
    if directory is None:
        return set()
    return {name for name in os.listdir(directory) if os.path.lexists(directory / name)}


def different(was: os.stat_result, now: os.stat_result) -> bool:
    if (was.st_mode, was.st_uid, was.st_gid, was.st_rdev) != (
        now.st_mode,
        now.st_uid,
        now.st_gid,
        now.st_rdev,
    ):
        return True
    if stat.S_ISDIR(now.st_mode):
        return False
    one, two = divmod(was.st_mtime_ns, 10**9), divmod(now.st_mtime_ns, 10**9)
    same_time = one[0] == two[0] and (one[1] == two[1] or not one[1] or not two[1])
    return was.st_size != now.st_size or not same_time


def ours(old: Merged | None, new: Merged) -> list[tuple[str, str]]:
    return [(change.kind, "/" + os.fsdecode(change.path)) for change in differences(old, new)]


@pytest.mark.parametrize("seed", range(20, 32))
def test_one_layer_upon_others(tmp_path: Path, seed: int) -> None:
    layers = stack(tmp_path, seed, 2 + seed % 3)
    with mounted(tmp_path / "new", layers) as new, mounted(tmp_path / "old", layers[1:]) as old:
        expected = docker_diff(old, new)
        of_container = docker_diff(old, new, gone_last=True)
    with opened(layers) as trees:
        assert ours(Merged(trees[1:]), Merged(trees)) == expected
        changes = top_changes(trees[0], Merged(trees[1:]))
        assert [(change.kind, "/" + os.fsdecode(change.path)) for change in changes] == of_container


@pytest.mark.parametrize("seed", range(4))
def test_two_stacks(tmp_path: Path, seed: int) -> None:
    shared = stack(tmp_path, seed, 2)
    one, two = stack(tmp_path, 50 + seed, 1), stack(tmp_path, 60 + seed, 2)
    with mounted(tmp_path / "new", two + shared) as new, mounted(tmp_path / "old", one + shared) as old:
        expected = docker_diff(old, new)
    with opened(one + two + shared) as trees:
        assert ours(Merged([trees[0], *trees[3:]]), Merged(trees[1:])) == expected


def test_a_base_adds_everything(tmp_path: Path) -> None:
    layers = stack(tmp_path, 3, 1)
    with opened(layers) as trees:
        view = Merged(trees)
        changes = ours(None, view)
        assert {kind for kind, _ in changes} == {"A"}
        assert len(changes) == len(list(view.walk(view.root))) - 1


def test_only_a_capability_changed(tmp_path: Path) -> None:
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + b"\x00" * 12
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for layer in (upper, lower):
        layer.mkdir()
        (layer / "ping").write_bytes(b"p")
        os.utime(layer / "ping", (1, 1))
    os.setxattr(upper / "ping", "security.capability", capability)
    with opened([upper, lower]) as trees:
        assert list(differences(Merged(trees[1:]), Merged(trees))) == [Change("C", b"ping", 1)]


def test_what_disappears_meanwhile_is_left_out(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    (upper / "a/deep").mkdir(parents=True)
    (upper / "z").write_bytes(b"z")
    lower.mkdir()
    with opened([upper, lower]) as trees:
        changes = top_changes(trees[0], Merged(trees[1:]))
        assert next(changes).path == b"a"
        (upper / "a/deep").rmdir()
        (upper / "a").rmdir()
        assert [change.path for change in changes] == [b"z"]
