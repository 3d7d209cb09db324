"""Engines without a registry, and docker archives written by hand."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onggi
from tests.peers.images import Layout, member, odd_layers, tar

__all__ = ["archive", "docker_archive", "engine", "legacy_archive", "rich_layers", "sample_layout"]


def engine(root: Path, compat: str = "28") -> onggi.Engine:
    """An engine that sees nothing of the user's settings."""
    return onggi.open(
        config=onggi.Config(
            data_root=root, compat=compat, docker_config_dir=Path("/nonexistent"), certs_dirs=()
        )
    )


def rich_layers() -> list[bytes]:
    """The odd layers without the members that dockerd cannot put together again."""
    layers = []
    for layer in odd_layers():
        out = io.BytesIO()
        names = {"encoding": "utf-8", "errors": "surrogateescape"}
        with (
            tarfile.open(fileobj=io.BytesIO(layer), **names) as source,
            tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, **names) as target,
        ):
            for info in source:
                if info.name not in ("../escape", "/absolute"):
                    target.addfile(info, source.extractfile(info) if info.isreg() else None)
        layers.append(out.getvalue())
    return layers


def sample_layout(directory: Path) -> Layout:
    """``rich``, ``twice`` (one layer two times) and ``plain`` (uncompressed, rich's layers, a full config)."""
    layout = Layout(directory)
    first, second = tar([member("a", b"1")]), tar([member("b", b"2")])
    layout.image("library/rich:latest", rich_layers())
    layout.image("library/twice:latest", [first, second, first])
    config = {
        "Cmd": "sh",
        "Env": ["A=<b>\b"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"z": "1", "a": "2"},
        "StopTimeout": 0,
        "Healthcheck": {"Test": ["CMD", "x"], "Retries": 3, "Interval": 10, "StartInterval": 7},
        "Unknown": 1,
    }
    layout.image("library/plain:latest", rich_layers(), compression="none", config=config)
    return layout


def archive(members: Sequence[tuple[str, bytes]]) -> bytes:
    """A tar of files."""
    return tar([member(name, data) for name, data in members])


def docker_archive(
    layers: Sequence[bytes],
    *,
    tags: Sequence[str] | None = ("hand:made",),
    changes: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    more: Sequence[tuple[tarfile.TarInfo, bytes]] = (),
) -> bytes:
    """A docker archive of one image; ``changes`` go over its manifest item, ``config`` over its config."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
        **(config or {}),
    }
    names = [f"l{number}/layer.tar" for number in range(len(layers))]
    item = {"Config": "c.json", "RepoTags": tags, "Layers": names, **(changes or {})}
    members = [
        member("c.json", json.dumps(document).encode()),
        *(member(name, layer) for name, layer in zip(names, layers, strict=True)),
        member("manifest.json", json.dumps([item]).encode()),
        *more,
    ]
    return tar(members)


def legacy_archive(
    images: Sequence[tuple[str, str, bytes, bytes]], repositories: dict[str, dict[str, str]] | None
) -> bytes:
    """Of (old id, parent, JSON, layer); the parent is put into the JSON."""
    members = []
    for name, parent, raw, layer in images:
        if parent:
            raw = (
                raw.rstrip()[:-1]
                + (b"," if len(raw.strip()) > 2 else b"")
                + b'"parent":"%s"}' % parent.encode()
            )
        members += [member(f"{name}/", None), member(f"{name}/VERSION", b"1.0")]
        members += [member(f"{name}/json", raw), member(f"{name}/layer.tar", layer)]
    if repositories is not None:
        members.append(member("repositories", json.dumps(repositories).encode()))
    return tar(members)
