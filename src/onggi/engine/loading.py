"""``engine.images.load``: from an archive to images."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.engine.core import Core
from onggi.oci.platform import Platform
from onggi.progress import ProgressSink
from onggi.transfer.load import Loaded, Loader

__all__ = ["Loaded", "load"]


def load(
    core: Core,
    workers: Workers,
    source: Path | BinaryIO,
    platform: str | None,
    progress: ProgressSink,
    cancel: CancelToken,
) -> Loaded:
    """Load every image of ``source``; events tell of each."""
    wanted = Platform.parse(platform) if platform else None
    with core.writing():
        loader = Loader(
            core.layers,
            core.images,
            core.tags,
            core.locks,
            workers,
            core.layout.own,
            core.config.compat,
        )
        loaded = loader.load(source, wanted, progress, cancel)
        for image in loaded.images:
            labels = core.images.remembered(image.id).labels
            core.used(image.id)
            core.emit("load", image.id, {**labels, "name": image.id})
    return loaded
