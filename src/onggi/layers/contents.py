"""What the archive of a layer holds, told from its tar-split, without reading the files.

tar-split has every byte of the archive that is no content; with NUL bytes in the place of the
contents that is an archive again, and the members come out of it in their order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from onggi.archive.tar import LINK, TarReader
from onggi.archive.tar_format import Member, clamp_path
from onggi.archive.tarsplit import FileEntry, Segment, assemble, read_gzip
from onggi.errors import DataLoss, InvalidArgument, NotFound
from onggi.tree.files import Files
from onggi.tree.whiteout import OPAQUE_MARKER, PREFIX

if TYPE_CHECKING:
    from io import FileIO

__all__ = ["NoSuchMember", "NotAFile", "deleted_path", "layer_file", "layer_members", "members_below"]

_NULS = bytes(1 << 20)


class NoSuchMember(NotFound):
    """The layer's archive has no member of that name."""

    def __init__(self, layer: str, path: bytes, *, deleted: bool = False) -> None:
        shown = os.fsdecode(path)
        reason = "this layer deletes it" if deleted else "no such file in this layer"
        super().__init__(
            f"layer {layer}: /{shown}: {reason}",
            hint=f"'onggi layer ls {layer}' lists what it holds; "
            f"'onggi explain IMAGE:/{shown}' finds its layers",
        )


class NotAFile(InvalidArgument):
    """The member has no content to show."""

    def __init__(self, layer: str, path: bytes, what: str, hint: str = "") -> None:
        super().__init__(f"layer {layer}: /{os.fsdecode(path)}: {what}", hint=hint)


def layer_members(tar_split: Path) -> Iterator[Member]:
    """The members in the archive's order; whiteouts are files called ``.wh.…``, as they stand there.

    Raises (while iterating): InvalidTarSplit, InvalidTar.
    """
    with read_gzip(tar_split) as entries:
        yield from TarReader(_hollow(entries))


def _hollow(entries: Iterable[Segment | FileEntry]) -> Iterator[bytes]:
    for entry in entries:
        if isinstance(entry, Segment):
            yield entry.payload
            continue
        left = entry.size
        while left > 0:
            piece = _NULS if left >= len(_NULS) else _NULS[:left]
            yield piece
            left -= len(piece)


def members_below(members: Iterable[Member], path: bytes) -> Iterator[Member]:
    """Those at ``path`` (cleaned; empty: the root) and below it, a whiteout counted as what it deletes."""
    for member in members:
        name = clamp_path(member.name)
        deleted = deleted_path(name)
        name = name if deleted is None else deleted
        if not path or name == path or name.startswith(path + b"/"):
            yield member


def deleted_path(name: bytes) -> bytes | None:
    """What a whiteout of that cleaned name deletes: a path, or a directory whose lower content is hidden.

    None if the name is no whiteout's.
    """
    directory, _, last = name.rpartition(b"/")
    if last == OPAQUE_MARKER:
        return directory
    if not last.startswith(PREFIX):
        return None
    return directory + b"/" + last[len(PREFIX) :] if directory else last[len(PREFIX) :]


def layer_file(layer: str, tar_split: Path, diff: Path, path: bytes) -> Iterator[bytes]:
    """The content of a file of the layer, checked against the CRC that tar-split has of it.

    ``layer`` is what errors call the layer. Hard links lead to their file.

    Raises:
        NoSuchMember, NotAFile: at once.
        ContentMismatch, InvalidLayer: while iterating.
    """
    member = _find(layer, tar_split, clamp_path(path))
    if member.type == LINK:
        member = _find(layer, tar_split, clamp_path(member.linkname))
    return _content(tar_split, diff, member)


def _find(layer: str, tar_split: Path, path: bytes) -> Member:
    deleted = False
    for member in layer_members(tar_split):
        name = clamp_path(member.name)
        deleted |= deleted_path(name) == path
        if name == path:
            return _with_content(layer, path, member)
    raise NoSuchMember(layer, path, deleted=deleted)


def _with_content(layer: str, path: bytes, member: Member) -> Member:
    if chr(member.type) in "01S7\0":
        return member
    if chr(member.type) == "2":
        target = os.fsdecode(member.linkname)
        raise NotAFile(layer, path, f"a symbolic link to {target}", hint="name the file it leads to")
    what = {"5": "a directory", "3": "a device", "4": "a device", "6": "a fifo"}.get(chr(member.type))
    raise NotAFile(layer, path, what or "not a file")


def _content(tar_split: Path, diff: Path, member: Member) -> Iterator[bytes]:
    root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Files(root) as files:
            if member.sparse is not None:
                yield from _unchecked(files.open(member.name), member.size)
                return
            with read_gzip(tar_split) as entries:
                wanted = (e for e in entries if isinstance(e, FileEntry) and e.name == member.name)
                yield from assemble(wanted, files.open)
    finally:
        os.close(root)


def _unchecked(file: FileIO, size: int) -> Iterator[bytes]:
    """A sparse member: tar-split knows its size only, since the archive lacks its holes."""
    with file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise DataLoss(f"{file.name}: {found} bytes, {size} in the layer")
        while piece := file.read(len(_NULS)):
            yield piece
