"""What changed from one merged tree to another: the rules of ``docker diff`` (docker-engine §7.4).

``A`` is new, and so is all below it; ``D`` is gone, named once at its top; ``C`` differs in mode,
owner, device number or capability or, if no directory, in size or time. A directory in which
something changed is listed as ``C`` before it. The root is never listed. Docker's order among
siblings is random, but for what is gone coming after what is there; ours is bytewise by name.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from onggi.tree.merged import Entry, Merged
from onggi.tree.whiteout import is_whiteout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from onggi.tree.layer_tree import LayerTree

    Pairs = Callable[[Entry | None, Entry], Iterator[tuple[Entry | None, Entry | None]]]

__all__ = ["ADDED", "CHANGED", "DELETED", "Change", "differences", "top_changes"]

ADDED, CHANGED, DELETED = "A", "C", "D"
_SECOND_NS = 1_000_000_000


class Change(NamedTuple):
    """One line of a difference. ``path`` is below the root; ``size`` is bytes of what is there or was."""

    kind: str
    path: bytes
    size: int


class _Frame(NamedTuple):
    """A directory being compared; ``listed`` holds True once the directory has a line of its own."""

    directory: Entry
    listed: list[bool]
    pairs: Iterator[tuple[Entry | None, Entry | None]]


def differences(old: Merged | None, new: Merged) -> Iterator[Change]:
    """The changes that make ``new`` of ``old`` (None: of nothing), each directory before what it holds.

    Subtrees that both views take from the same layers are not visited. Memory is that of the
    listings along one path.
    """
    return _run(old, new, lambda before, after: _pairs(old, new, before, after))


def top_changes(top: LayerTree, old: Merged) -> Iterator[Change]:
    """What a layer changes in the view below it: :func:`differences`, only that layer being listed.

    Somebody may be changing the layer; what disappears meanwhile is left out. What is gone comes
    after its siblings, as with Docker.
    """
    new = Merged((top, *old.root.layers))
    return _run(old, new, lambda before, after: _top_pairs(top, old, before, after))


def _run(old: Merged | None, new: Merged, pairs: Pairs) -> Iterator[Change]:
    before = None if old is None else old.root
    stack = [_Frame(new.root, [True], pairs(before, new.root))]
    while stack:
        pair = next(stack[-1].pairs, None)
        if pair is None:
            stack.pop()
            continue
        before, after = pair
        change = _compare(old, new, before, after)
        if change is not None:
            yield from _unlisted(stack)
            yield change
        if after is not None and after.is_directory and not _same_origin(before, after):
            inside = before if before is not None and before.is_directory else None
            stack.append(_Frame(after, [change is not None], pairs(inside, after)))


def _unlisted(stack: list[_Frame]) -> Iterator[Change]:
    """Lines of the directories on the way that have none yet."""
    for frame in stack:
        if not frame.listed[0]:
            frame.listed[0] = True
            yield Change(CHANGED, frame.directory.path, 0)


def _pairs(
    old: Merged | None, new: Merged, before: Entry | None, after: Entry
) -> Iterator[tuple[Entry | None, Entry | None]]:
    had = {} if old is None or before is None else old.listing(before)
    has = new.listing(after)
    for name in sorted(had.keys() | has.keys()):
        yield had.get(name), has.get(name)


def _top_pairs(
    top: LayerTree, old: Merged, before: Entry | None, after: Entry
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Of the names that the layer has in a directory; of all, where it hides the directory below."""
    gone: list[Entry] = []
    names = _listed(top, after.path)
    for name, status in sorted(names.items()):
        was = None if before is None else old.lookup(before, name)
        if not is_whiteout(status):
            yield was, _on_top(top, was, after.path + b"/" + name if after.path else name, status)
        elif was is not None:
            gone.append(was)
    if before is not None and len(after.layers) == 1:
        gone += [entry for name, entry in old.listing(before).items() if name not in names]
    for entry in sorted(gone):
        yield entry, None


def _listed(top: LayerTree, path: bytes) -> dict[bytes, os.stat_result]:
    try:
        return dict(top.scan(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _on_top(top: LayerTree, was: Entry | None, path: bytes, status: os.stat_result) -> Entry:
    """The layer's entry in the new view: a directory is merged with that below it, unless it is opaque."""
    merged = stat.S_ISDIR(status.st_mode) and was is not None and was.is_directory
    if not merged or _is_opaque(top, path):
        return Entry(path, (top,), status)
    assert was is not None
    return Entry(path, (top, *was.layers), status)


def _is_opaque(top: LayerTree, path: bytes) -> bool:
    directory, _, name = path.rpartition(b"/")
    try:
        return top.is_opaque(directory, name)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _same_origin(before: Entry | None, after: Entry) -> bool:
    return before is not None and before.layers == after.layers


def _compare(old: Merged | None, new: Merged, before: Entry | None, after: Entry | None) -> Change | None:
    if after is None:
        assert before is not None
        return Change(DELETED, before.path, _size(before))
    if before is None:
        return Change(ADDED, after.path, _size(after))
    assert old is not None
    if _same_origin(before, after) or not _differs(old, new, before, after):
        return None
    return Change(CHANGED, after.path, _size(after))


def _size(entry: Entry) -> int:
    return 0 if entry.is_directory else entry.status.st_size


def _differs(old: Merged, new: Merged, before: Entry, after: Entry) -> bool:
    was, now = before.status, after.status
    if (was.st_mode, was.st_uid, was.st_gid) != (now.st_mode, now.st_uid, now.st_gid):
        return True
    if was.st_rdev != now.st_rdev:
        return True
    # One bit, as Docker asks: block devices and sockets have it too.
    if not was.st_mode & stat.S_IFDIR and (was.st_size != now.st_size or not _same_time(was, now)):
        return True
    return stat.S_ISREG(now.st_mode) and _capability(old, before) != _capability(new, after)


def _same_time(was: os.stat_result, now: os.stat_result) -> bool:
    """Equal, or equal in whole seconds where one of the two archives had no more."""
    if was.st_mtime_ns == now.st_mtime_ns:
        return True
    coarse = not was.st_mtime_ns % _SECOND_NS or not now.st_mtime_ns % _SECOND_NS
    return coarse and was.st_mtime_ns // _SECOND_NS == now.st_mtime_ns // _SECOND_NS


def _capability(view: Merged, entry: Entry) -> bytes:
    try:
        return view.xattrs(entry).get("security.capability", b"")
    except FileNotFoundError:
        return b""  # removed by whoever changes the layer
