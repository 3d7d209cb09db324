"""What must be true of a data root after a crash, and after the next command. Checks return what is wrong."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import onggi
from tests.compat.stores import layer_trees, metadata_tree
from tests.crash.child import open_engine
from tests.crash.registry import CountingRegistry
from tests.crash.samples import chains, documents
from tests.peers.daemon import Daemon

__all__ = [
    "Held",
    "compare",
    "empty_files",
    "failures",
    "held",
    "leftovers",
    "refetched",
    "refused_by_dockerd",
    "snapshot",
]


def empty_files(root: Path) -> list[str]:
    """Metadata of no bytes: what a write without a flush leaves behind (moby#42456).

    Two kinds may be empty, since nothing reads them: temporary files, and layer directories
    that no layerdb entry names. :func:`leftovers` wants both gone after the next command.
    """
    files = [path for path in root.glob("image/**/*") if path.is_file()]
    for cache_id in root.glob("image/overlay2/layerdb/sha256/*/cache-id"):
        directory = root / "overlay2" / cache_id.read_text()
        files += [path for name in ("link", "lower") if (path := directory / name).exists()]
    return [
        f"empty file {path.relative_to(root)}"
        for path in files
        if not path.stat().st_size and not path.name.startswith(".tmp-")
    ]


def failures(root: Path, mirror: str) -> list[str]:
    """What ``onggi doctor`` calls a failure."""
    with open_engine(root, mirror) as engine:
        found = engine.system.doctor()
    return [f"doctor: {item.subject}: {item.message}" for item in found if item.level == "fail"]


def leftovers(root: Path) -> list[str]:
    """What is half made or half removed; directories and short names of no layer; temporary files, blobs."""
    layerdb, overlay = root / "image/overlay2/layerdb", root / "overlay2"
    known = {path.read_text() for path in layerdb.glob("sha256/*/cache-id")}
    directories = [path for path in overlay.glob("*") if path.name != "l" and path.name not in known]
    links = [
        path
        for path in overlay.glob("l/*")
        if os.readlink(path).split("/")[1] not in known or not path.exists()
    ]
    return [
        f"left over: {path.relative_to(root)}"
        for path in [
            *(
                path
                for name in ("staging", "trash", "removing", "mounts")
                for path in root.glob(f"onggi/{name}/*")
            ),
            *root.glob("onggi/blobs/sha256/*"),
            *layerdb.glob("sha256/*-removing"),
            *layerdb.glob("tmp/*"),
            *root.glob("**/.tmp-*"),
            *directories,
            *links,
        ]
    ]


def refused_by_dockerd(engine: onggi.Engine, root: Path, work: Path) -> list[str]:
    """With dockerd on the root of an idle engine: images and volumes are the same, there are no containers, one runs."""
    images = {image.id for image in engine.images.list(all=True)}
    volumes = {volume.name for volume in engine.volumes.list()}
    with Daemon(root, work) as daemon:
        seen = {
            "images": (set(daemon.output("images", "-a", "-q", "--no-trunc").split()), images),
            "containers": (set(daemon.output("ps", "-a", "-q").split()), set()),
            "volumes": (set(daemon.output("volume", "ls", "-q").split()), volumes),
        }
        words = ("run", "--rm", "--network", "none", "box", "echo", "here")
        said = daemon.output(*words)
    problems = [
        f"{what}: dockerd knows {theirs}, we {ours}"
        for what, (theirs, ours) in seen.items()
        if theirs != ours
    ]
    return problems + ([] if said == "here\n" else [f"the container says {said!r}"])


Snapshot = tuple[dict[str, tuple[object, ...]], dict[str, dict[str, tuple[object, ...]]]]


def snapshot(root: Path) -> Snapshot:
    """Metadata and layer trees, comparable between roots."""
    trees = {chain: _comparable(tree) for chain, tree in layer_trees(root).items()}
    return metadata_tree(root), trees


def _comparable(tree: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Without the times of whiteouts (those of unpacking) and the order in which hard links were met."""
    names: dict[object, str] = {}
    for name in sorted(tree, reverse=True):
        names[tree[name][-1]] = name
    return {
        name: (*facts[:3], 0 if _is_whiteout(facts) else facts[3], *facts[4:-1], names[facts[-1]])
        if len(facts) > 4
        else facts
        for name, facts in tree.items()
    }


def _is_whiteout(facts: tuple[object, ...]) -> bool:
    mode = facts[0]
    return isinstance(mode, int) and stat.S_ISCHR(mode) and facts[4] == 0


def compare(found: Snapshot, expected: Snapshot) -> list[str]:
    """Where two snapshots differ."""
    problems = _differences(found[0], expected[0], "image/overlay2")
    for chain in sorted(set(found[1]) | set(expected[1])):
        problems += _differences(found[1].get(chain, {}), expected[1].get(chain, {}), f"layer {chain[:12]}")
    return problems


def _differences(found: dict, expected: dict, where: str) -> list[str]:
    return [
        f"{where}: {name}: {str(found.get(name))[:120]}, not {str(expected.get(name))[:120]}"
        for name in sorted(set(found) | set(expected))
        if found.get(name) != expected.get(name)
    ]


@dataclass(frozen=True, slots=True)
class Held:
    """What a killed pull left: blobs of committed layers, whole blobs, and bytes of partial ones."""

    committed: frozenset[str]
    whole: frozenset[str]
    partial: dict[str, int]

    def surely(self) -> Held:
        """What a power cut cannot take: blobs that were not flushed may have their size and no bytes."""
        return Held(self.committed, frozenset(), {})


def held(root: Path, layout: Path, repository: str) -> Held:
    """Look at a data root before the next pull of ``repository``."""
    manifest, _ = documents(layout, repository)
    committed = set()
    for blob, chain in zip(manifest["layers"], chains(layout, repository), strict=True):
        if (root / "image/overlay2/layerdb/sha256" / chain / "diff").exists():
            committed.add(blob["digest"])
    sizes = {blob["digest"]: blob["size"] for blob in manifest["layers"]}
    whole, partial = set(), {}
    for path in root.glob("onggi/blobs/sha256/*"):
        digest = f"sha256:{path.name[:64]}"
        if not path.suffix:
            if path.stat().st_size == sizes[digest]:
                whole.add(digest)
        elif path.suffix == ".partial" and 0 < path.stat().st_size < sizes[digest]:
            partial[digest] = path.stat().st_size
    return Held(frozenset(committed), frozenset(whole), partial)


def refetched(before: Held, registry: CountingRegistry) -> list[str]:
    """Bytes that were asked for although they were here, or a partial blob begun anew."""
    again = (before.committed | before.whole) & set(registry.ranges)
    problems = [f"fetched again: {digest}" for digest in sorted(again)]
    for digest, size in before.partial.items():
        if digest not in again and registry.ranges.get(digest) != [size]:
            problems.append(
                f"{digest}: {size} bytes were here, requests began at {registry.ranges.get(digest)}"
            )
    return problems
