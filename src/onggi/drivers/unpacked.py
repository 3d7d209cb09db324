"""A layer kept as Docker's graph drivers keep it: its files in ``diff/``, the rest in tar-split.

overlay2 keeps every layer so, erofs those that no index can show.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from onggi.drivers.job import Job
from onggi.drivers.staged import StagedDirectory
from onggi.store.atomic import remove_tree
from onggi.store.layerdb import TAR_SPLIT

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from io import FileIO

    from onggi.archive.tar import Member
    from onggi.archive.tarsplit import FileEntry, Segment
    from onggi.tree.layer_tree import KeptDirectories, LayerTree

__all__ = [
    "check_request",
    "content",
    "content_size",
    "empty",
    "hollow",
    "members",
    "tar",
    "tar_size",
    "tree",
    "unpack_job",
]

_NULS = bytes(1 << 20)


def unpack_job(staged: StagedDirectory, write_set: Path) -> Job:
    """Have a worker fill ``diff/`` and write the tar-split into the layerdb directory to be."""
    root = os.open(staged.diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        split = os.open(write_set / TAR_SPLIT, flags, 0o644)
    except BaseException:
        os.close(root)
        raise
    os.fchmod(split, 0o644)
    return Job({"job": "unpack"}, (root, split))


def check_request(driver: str, diff: Path, entry: Path, part: str, *, fast: bool) -> dict[str, object] | None:
    """What a worker is asked to check ``content`` or, if ``fast``, ``tree``; the content's pass does both.

    None when files or tar-split are gone, too.
    """
    split = entry / TAR_SPLIT
    if (part == "tree" and not fast) or not diff.is_dir() or not split.is_file():
        return None
    return {
        "job": "check",
        "part": part,
        "diff": str(diff),
        "split": str(split),
        "file": f"{driver}/diff",
        "unpacked_ns": _unpacked_ns(diff, entry) if fast else None,
    }


def _unpacked_ns(diff: Path, entry: Path) -> int:
    """When the layer was complete: nothing in it is touched later, neither contents nor inodes.

    A copy of a data root has new inodes; the root of the layer is the last that a copy touches.
    """
    times = [os.stat(diff).st_ctime_ns]
    times += [os.stat(path).st_ctime_ns for path in entry.iterdir()]
    return max(times)


def content_size(diff: Path) -> int:
    """The layer's size by Docker's rule, counted."""
    from onggi.tree.size import tree_size

    root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return tree_size(root)
    finally:
        os.close(root)


def empty(staged: StagedDirectory) -> None:
    """Forget what was unpacked."""
    mode = os.stat(staged.diff).st_mode & 0o7777
    remove_tree(staged.diff, must_succeed=True)
    os.mkdir(staged.diff, mode)
    os.chmod(staged.diff, mode)


def tar(diff: Path, tar_split: Path) -> Iterator[bytes]:
    """The tar stream that the layer was made from, put together from its files. Not yet verified.

    Raises (while iterating): InvalidTarSplit, ContentMismatch, InvalidLayer.
    """
    from onggi.archive.tarsplit import assemble, read_gzip
    from onggi.tree.files import Files

    root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with read_gzip(tar_split) as entries, Files(root) as files:
            yield from assemble(entries, files.open)
    finally:
        os.close(root)


def tar_size(tar_split: Path) -> int:
    """Bytes of :func:`tar`, without reading the files. Raises InvalidTarSplit."""
    from onggi.archive.tarsplit import read_gzip

    with read_gzip(tar_split) as entries:
        return entries.archive_size()


def members(tar_split: Path) -> Iterator[Member]:
    """The archive's members in its order, told without reading the files.

    tar-split has every byte of the archive that is no content; with NUL bytes in the place of
    the contents that is an archive again. Raises (while iterating): InvalidTarSplit, InvalidTar.
    """
    from onggi.archive.tar import TarReader
    from onggi.archive.tarsplit import read_gzip

    with read_gzip(tar_split) as entries:
        yield from TarReader(hollow(entries))


def content(diff: Path, tar_split: Path, member: Member) -> Iterator[bytes]:
    """The content of the member's file, checked against the CRC that tar-split has of it.

    Of a sparse member tar-split knows the size only, since the archive lacks its holes.
    Raises (while iterating): ContentMismatch, InvalidLayer.
    """
    from onggi.archive.tarsplit import FileEntry, assemble, read_gzip
    from onggi.tree.files import Files

    root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Files(root) as files:
            if member.sparse is not None:
                yield from _unchecked(files.open(member.name), member.name, member.size)
                return
            with read_gzip(tar_split) as entries:
                wanted = (e for e in entries if isinstance(e, FileEntry) and e.name == member.name)
                yield from assemble(wanted, files.open)
    finally:
        os.close(root)


def _unchecked(file: FileIO, name: bytes, size: int) -> Iterator[bytes]:
    from onggi.archive.tarsplit import ContentMismatch

    with file:
        if os.fstat(file.fileno()).st_size != size:
            raise ContentMismatch(name)
        while piece := file.read(len(_NULS)):
            yield piece


def tree(diff: Path, kept: KeptDirectories) -> LayerTree:
    """The directory, opened; the caller closes it. Raises FileNotFoundError."""
    from onggi.tree.layer_tree import DirectoryLayer

    return DirectoryLayer(os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), kept)


def hollow(entries: Iterable[Segment | FileEntry]) -> Iterator[bytes]:
    """The archive with NUL bytes in the place of contents."""
    from onggi.archive.tarsplit import Segment

    for entry in entries:
        if isinstance(entry, Segment):
            yield entry.payload
            continue
        left = entry.size
        while left > 0:
            piece = _NULS if left >= len(_NULS) else _NULS[:left]
            yield piece
            left -= len(piece)
