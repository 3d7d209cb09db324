"""What is different between two indexes of a layer: the one that was kept and the one that its tar makes.

Compared is all that a mount shows, and where contents lie. Nothing is mounted, nothing needs a privilege.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from onggi.tree.change import Change, kind_text, shown_text, time_text

if TYPE_CHECKING:
    from onggi.archive.erofs.reader import Index, IndexNode

__all__ = ["changed_paths"]


def changed_paths(before: Index, after: Index) -> Iterator[tuple[bytes, Change]]:
    """Every difference by path, the root being the empty one. Raises InvalidIndex."""
    yield from ((b"", change) for change in _changes(before, before.root, after, after.root))
    known = dict(before.walk())
    links_before, links_after = _links(before), _links(after)
    for path, node in after.walk():
        old = known.pop(path, None)
        if old is None:
            yield path, Change("added", "", kind_text(node.type, node.device))
            continue
        yield from ((path, change) for change in _changes(before, old, after, node))
        if links_before.get(old.number, [path]) != links_after.get(node.number, [path]):
            yield path, Change("hard link")
    for path, old in known.items():
        yield path, Change("missing", kind_text(old.type, old.device))


def _links(index: Index) -> dict[int, list[bytes]]:
    """The names of every inode that has several."""
    names: dict[int, list[bytes]] = {}
    for path, node in index.walk():
        if node.links > 1 and node.type != stat.S_IFDIR:
            names.setdefault(node.number, []).append(path)
    return names


def _changes(before: Index, old: IndexNode, after: Index, new: IndexNode) -> Iterator[Change]:
    """What is different between two inodes of one path."""
    kinds = kind_text(old.type, old.device), kind_text(new.type, new.device)
    if kinds[0] != kinds[1]:
        what = "whiteout" if "whiteout" in kinds else "type" if old.type != new.type else "device"
        yield Change(what, *kinds)
        if old.type != new.type:
            return
    if old.mode != new.mode:
        yield Change("mode", f"{old.mode:04o}", f"{new.mode:04o}")
    if (old.uid, old.gid) != (new.uid, new.gid):
        yield Change("owner", f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}")
    if old.mtime_ns != new.mtime_ns:
        yield Change("mtime", time_text(old.mtime_ns), time_text(new.mtime_ns))
    if old.type == stat.S_IFREG:
        yield from _file_changes(before, old, after, new)
    elif old.type == stat.S_IFLNK and before.target(old) != after.target(new):
        yield Change("link target", shown_text(before.target(old)), shown_text(after.target(new)))
    xattrs, found = before.xattrs(old), after.xattrs(new)
    for key in sorted(xattrs.keys() | found.keys()):
        if xattrs.get(key) != found.get(key):
            yield Change(f"xattr {shown_text(key)}")


def _file_changes(before: Index, old: IndexNode, after: Index, new: IndexNode) -> Iterator[Change]:
    if old.size != new.size:
        yield Change("content", f"{old.size} bytes", f"{new.size} bytes")
    elif before.fragments(old) != after.fragments(new):
        yield Change("content", "", "elsewhere in the archive")
