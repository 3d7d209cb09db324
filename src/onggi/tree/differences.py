"""What changed from one merged tree to another: the rules of ``docker diff`` (docker-engine §7.4).

``A`` is new, and so is all below it; ``D`` is gone, named once at its top; ``C`` differs in mode,
owner, device number or capability or, if no directory, in size or time. A directory in which
something changed is listed as ``C`` before it. The root is never listed. Docker's order among
siblings is random; ours is bytewise by name.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.tree.merged import Entry, Merged

__all__ = ["ADDED", "CHANGED", "DELETED", "Change", "differences"]

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
    before = None if old is None else old.root
    stack = [_Frame(new.root, [True], _pairs(old, new, before, new.root))]
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
            stack.append(_Frame(after, [change is not None], _pairs(old, new, inside, after)))


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
    if not after.is_directory and (was.st_size != now.st_size or not _same_time(was, now)):
        return True
    return stat.S_ISREG(now.st_mode) and _capability(old, before) != _capability(new, after)


def _same_time(was: os.stat_result, now: os.stat_result) -> bool:
    """Equal, or equal in whole seconds where one of the two archives had no more."""
    if was.st_mtime_ns == now.st_mtime_ns:
        return True
    coarse = not was.st_mtime_ns % _SECOND_NS or not now.st_mtime_ns % _SECOND_NS
    return coarse and was.st_mtime_ns // _SECOND_NS == now.st_mtime_ns // _SECOND_NS


def _capability(view: Merged, entry: Entry) -> bytes:
    return view.xattrs(entry).get("security.capability", b"")
