"""``engine.images.load``: from an archive to images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.engine.core import Core
from onggi.errors import InvalidArgument
from onggi.oci.platform import Platform
from onggi.progress import ProgressSink
from onggi.transfer.load import Loaded, Loader
from onggi.transfer.loadable import PlatformChoice

__all__ = ["Loaded", "choice_of", "load"]


def choice_of(platform: str | Sequence[str] | None, all_platforms: bool) -> PlatformChoice:
    """What a caller asked for. Raises InvalidArgument, InvalidPlatform."""
    platforms = [platform] if isinstance(platform, str) else platform or ()
    if platforms and all_platforms:
        raise InvalidArgument("--platform can't be used with --all-platforms", hint="leave one of them out")
    return PlatformChoice(tuple(map(Platform.parse, platforms)), all_platforms)


def load(
    core: Core,
    workers: Workers,
    source: Path | BinaryIO,
    choice: PlatformChoice,
    progress: ProgressSink,
    cancel: CancelToken,
) -> Loaded:
    """Load the images of ``source`` that are asked for; events tell of each."""
    with core.writing():
        loader = Loader(
            core.layers,
            core.images,
            core.tags,
            core.manifests,
            core.locks,
            workers,
            core.layout.own,
            core.config.compat,
        )
        loaded = loader.load(source, choice, progress, cancel)
        for image in loaded.images:
            labels = core.images.remembered(image.id).labels
            core.used(image.id)
            core.emit("load", image.id, {**labels, "name": image.id})
    return loaded
