"""Compare two data roots file by file: everything but random names must be equal."""

from __future__ import annotations

import gzip
import json
import os
import stat
from pathlib import Path

__all__ = ["layer_trees", "metadata_tree", "shape"]

_RANDOM = ("cache-id", "tar-split.json.gz")


def shape(status: os.stat_result) -> tuple[int, int, int]:
    """Mode, owner, group."""
    return status.st_mode, status.st_uid, status.st_gid


def metadata_tree(root: Path) -> dict[str, tuple[object, ...]]:
    """``image/overlay2``: path → modes, owners and content (cache-ids aside, tar-split inflated)."""
    base = root / "image/overlay2"
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(base.rglob("*")):
        name = str(path.relative_to(base))
        if name.startswith("layerdb/mounts"):
            continue
        content: bytes | None = None
        if path.is_file():
            content = path.read_bytes()
            if path.name == "tar-split.json.gz":
                content = gzip.decompress(content)
            elif path.name == "cache-id":
                content = b"64 digits" if len(content) == 64 else content
        found[name] = (*shape(path.lstat()), content)
    return found


def layer_trees(root: Path) -> dict[str, dict[str, tuple[object, ...]]]:
    """chainID → the layer's directory: driver files by shape, ``diff`` by everything."""
    trees = {}
    for entry in (root / "image/overlay2/layerdb/sha256").iterdir():
        directory = root / "overlay2" / (entry / "cache-id").read_text()
        trees[entry.name] = _driver_files(directory) | _tree(directory / "diff", _named_members(entry))
    return trees


def _driver_files(directory: Path) -> dict[str, tuple[object, ...]]:
    """link and lower are random names: their lengths count."""
    found: dict[str, tuple[object, ...]] = {".": shape(directory.lstat())}
    for path in directory.iterdir():
        length = len(path.read_bytes()) if path.is_file() else -1
        found[f"./{path.name}"] = (*shape(path.lstat()), length)
    return found


def _named_members(entry: Path) -> set[str]:
    """Cleaned names of the layer's members; other directories are only implied by what is in them."""
    names = set()
    for line in gzip.decompress((entry / "tar-split.json.gz").read_bytes()).splitlines():
        name = json.loads(line).get("name")
        if name:
            names.add(os.path.normpath("/" + name).lstrip("/"))
    return names


def _tree(diff: Path, named: set[str]) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    first_names: dict[int, str] = {}
    for parent, directories, files in os.walk(os.fsencode(diff)):
        # Sorted: the first name stands for a group of hard links, and readdir has no order.
        directories.sort()
        for name in sorted([*directories, *files]):
            path = os.path.join(parent, name)
            key = os.path.relpath(path, os.fsencode(diff)).decode("utf-8", "surrogateescape")
            found[key] = _facts(path, key, first_names, named)
    return found


def _facts(path: bytes, key: str, first_names: dict[int, str], named: set[str]) -> tuple[object, ...]:
    status = os.lstat(path)
    content: bytes | None = None
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = file.read()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    xattrs = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    # Whiteout devices, and directories that no member names, have the time of unpacking.
    implied = stat.S_ISDIR(status.st_mode) and key not in named
    whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    mtime = 0 if implied or whiteout else status.st_mtime_ns
    first = first_names.setdefault(status.st_ino, key) if status.st_nlink > 1 and content is not None else key
    return (*shape(status), mtime, status.st_rdev, content, tuple(sorted(xattrs.items())), first)
