"""``engine.images.import_``: from a root file system's tarball to an image."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.engine.core import Core
from onggi.oci.digest import ImageID
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.progress import Message, ProgressSink
from onggi.transfer.archive_files import open_stream, stream_pieces
from onggi.transfer.changes import apply_changes
from onggi.transfer.import_image import Importer, ImportOptions, is_plain_file
from onggi.transfer.new_image import ImageMaker

__all__ = ["import_image"]

Fetch = Callable[[str, CancelToken], Iterator[bytes]]


def import_image(
    core: Core,
    workers: Workers,
    fetch: Fetch,
    source: str | Path | BinaryIO,
    reference: str | None,
    *,
    changes: Sequence[str],
    message: str,
    platform: str | None,
    progress: ProgressSink,
    cancel: CancelToken,
) -> ImageID:
    """Import a file, a stream, or (text) what an address of the web leads to."""
    options = ImportOptions(
        apply_changes(changes, core.config.compat),
        message or f"Imported from {source if isinstance(source, str) else '-'}",
        Platform.parse(platform) if platform else Platform.host(),
        Reference.parse(reference, core.config.compat) if reference else None,
    )
    options.check()
    with core.writing():
        maker = ImageMaker(core.layers, core.images, core.tags, core.locks, workers, core.layout.own)
        importer = Importer(maker, core.config.compat)
        with _opened(source, fetch, progress, cancel) as content:
            image_id = importer.run(content, options, cancel)
        _tell(core, image_id, options.reference)
    return image_id


@contextmanager
def _opened(
    source: str | Path | BinaryIO, fetch: Fetch, progress: ProgressSink, cancel: CancelToken
) -> Iterator[io.FileIO | Iterable[bytes]]:
    if isinstance(source, str):
        progress(Message(f"Downloading from {source}"))
        yield fetch(source, cancel)
    elif isinstance(source, Path):
        with io.FileIO(open_stream(source), "rb") as file:
            yield file if is_plain_file(file) else stream_pieces(file, cancel)
    elif isinstance(source, io.FileIO) and is_plain_file(source):
        yield source
    else:
        yield stream_pieces(source, cancel)


def _tell(core: Core, image_id: ImageID, reference: Reference | None) -> None:
    labels = core.images.remembered(image_id).labels
    if reference is not None:
        core.emit("tag", image_id, {**labels, "name": reference.tagged().familiar})
    core.used(image_id)
    core.emit("import", image_id, {**labels, "name": image_id})
