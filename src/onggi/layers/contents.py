"""What the archive of a layer holds: its members in their order, and the content of each.

The driver tells them from tar-split, or from the tar itself where that is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from onggi.archive.tar import LINK
from onggi.archive.tar_format import Member, clamp_path
from onggi.errors import InvalidArgument, NotFound
from onggi.tree.whiteout import OPAQUE_MARKER, PREFIX

if TYPE_CHECKING:
    from onggi.layers.driver import StorageDriver
    from onggi.oci.digest import CacheID

__all__ = ["LayerArchive", "NoSuchMember", "NotAFile", "deleted_path"]


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


def _members_below(members: Iterable[Member], path: bytes) -> Iterator[Member]:
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


class LayerArchive:
    """The archive of a layer that ``driver`` keeps; ``name`` is what errors call the layer."""

    def __init__(self, driver: StorageDriver, cache_id: CacheID, tar_split: Path, name: str) -> None:
        self._driver = driver
        self._cache_id = cache_id
        self._tar_split = tar_split
        self._name = name

    def members(self, path: bytes = b"") -> Iterator[Member]:
        """Those at ``path`` and below it; whiteouts are files called ``.wh.…``, as they stand there.

        Raises DataLoss (while iterating).
        """
        found = self._driver.members(self._cache_id, self._tar_split)
        wanted = clamp_path(path)
        return _members_below(found, wanted) if wanted else found

    def read(self, path: bytes) -> Iterator[bytes]:
        """The content of a file, checked against the checksum kept of it. Hard links lead to their file.

        Raises:
            NoSuchMember, NotAFile: at once.
            DataLoss: while iterating.
        """
        member = self._find(clamp_path(path))
        if member.type == LINK:
            member = self._find(clamp_path(member.linkname))
        return self._driver.content(self._cache_id, self._tar_split, member)

    def _find(self, path: bytes) -> Member:
        deleted = False
        for member in self._driver.members(self._cache_id, self._tar_split):
            name = clamp_path(member.name)
            deleted |= deleted_path(name) == path
            if name == path:
                return _with_content(self._name, path, member)
        raise NoSuchMember(self._name, path, deleted=deleted)


def _with_content(layer: str, path: bytes, member: Member) -> Member:
    if chr(member.type) in "01S7\0":
        return member
    if chr(member.type) == "2":
        target = os.fsdecode(member.linkname)
        raise NotAFile(layer, path, f"a symbolic link to {target}", hint="name the file it leads to")
    what = {"5": "a directory", "3": "a device", "4": "a device", "6": "a fifo"}.get(chr(member.type))
    raise NotAFile(layer, path, what or "not a file")
