"""The tree that a layer's archive makes, in memory: what apply.py would have on disk.

    tree = ExpectedTree()
    for member in reader:
        tree.add(member)
    tree.finish()

The rules are those of apply.py, on nodes instead of inodes: clamped names, parents that lead
through links, implied directories, replacement, whiteouts as devices 0:0, hard links that
share a node and give it their owner and mode, times of directories at the very end. A rule
that changes there changes here; the tests apply every case both ways.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from onggi.archive.tar import (
    DEVICE_BLOCK,
    DEVICE_CHARACTER,
    DIRECTORY,
    FIFO,
    GLOBAL_HEADER,
    LINK,
    REGULAR,
    SYMLINK,
)
from onggi.archive.tar_format import clamp_path, clean_path
from onggi.tree.directories import IMPLIED_MODE
from onggi.tree.errors import InvalidLayer, errno_text, printable
from onggi.tree.metadata import clamped_times, kernel_id
from onggi.tree.whiteout import OPAQUE_MARKER, PREFIX, belongs_to_overlay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.archive.tar import Member

__all__ = ["ExpectedTree", "Node"]

_FILE_TYPES = {
    REGULAR: stat.S_IFREG,
    DIRECTORY: stat.S_IFDIR,
    SYMLINK: stat.S_IFLNK,
    DEVICE_CHARACTER: stat.S_IFCHR,
    DEVICE_BLOCK: stat.S_IFBLK,
    FIFO: stat.S_IFIFO,
}
# The kernel follows so many links in one path.
_LINKS_FOLLOWED = 40


class Node:
    """One inode. ``type`` is that of ``st_mode``; ``mtime_ns`` is None where the archive says nothing.

    ``xattrs`` are those of the archive, overlayfs's own left out; ``opaque`` stands for
    ``trusted.overlay.opaque``. ``member`` is the verbatim name of the member whose content
    the node has, ``links`` the number of its names and ``first``
    the path it was made under.
    """

    __slots__ = (
        "children",
        "device",
        "first",
        "gid",
        "links",
        "member",
        "mode",
        "mtime_ns",
        "opaque",
        "position",
        "size",
        "sparse",
        "target",
        "type",
        "uid",
        "xattrs",
    )

    def __init__(self, type: int, parent: Node | None, mode: int) -> None:
        self.type = type
        self.mode = mode
        self.uid = 0
        self.gid: int = parent.gid if parent is not None and parent.mode & stat.S_ISGID else 0
        self.mtime_ns: int | None = None
        self.xattrs: dict[bytes, bytes] | None = None
        self.size = 0
        self.target = b""
        self.device = 0
        self.links = 1
        self.first = b""
        self.member = b""
        self.opaque = False
        self.position = 0
        self.sparse: tuple[tuple[int, int], ...] | None = None
        self.children: dict[bytes, Node] | None = {} if type == stat.S_IFDIR else None

    @property
    def fragments(self) -> tuple[tuple[int, int, int], ...]:
        """A file's data as (offset in the file, length, offset in the archive)."""
        if self.sparse is None:
            return ((0, self.size, self.position),) if self.size else ()
        found = []
        position = self.position
        for offset, length in self.sparse:
            if length:
                found.append((offset, length, position))
            position += length
        return tuple(found)


class ExpectedTree:
    """Built member by member; ``root`` is whole after :meth:`finish`.

    ``shadowed`` are verbatim names of members whose content is not on disk, because the
    archive itself replaces it later: such a layer cannot be put together again, by Docker neither.
    """

    def __init__(self) -> None:
        self.root = Node(stat.S_IFDIR, None, IMPLIED_MODE)
        self.shadowed: list[bytes] = []
        self.header_bytes = 0
        self.has_default_acl = False
        self._directories: dict[bytes, Node] = {b"": self.root}
        self._times: list[tuple[bytes, int]] = []

    def add(self, member: Member, position: int = 0) -> None:
        """Apply one member, whose content begins at ``position`` of the archive.

        Raises InvalidLayer where no directory could have taken it.
        """
        if member.type == GLOBAL_HEADER:
            return
        path = clamp_path(member.name)
        parent_path, _, name = path.rpartition(b"/")
        if not name:
            self._add_root(member)
            return
        parent = self._parent(parent_path, path)
        if name[:4] == PREFIX:
            self._add_whiteout(parent, name, member)
        elif member.type == LINK:
            self._add_link(parent, name, path, member)
        else:
            self._add_node(parent, name, path, member).position = position

    def finish(self) -> None:
        """The times of directories, which every name made in them has changed."""
        for path, mtime_ns in self._times:
            parent_path, _, name = path.rpartition(b"/")
            node = self._directory(parent_path)
            if node is not None and name:
                node = _children(node).get(name)
            if node is not None and node.type == stat.S_IFLNK:
                node = self._directory(path)
            if node is not None:
                node.mtime_ns = mtime_ns

    def sizes(self) -> tuple[int, int]:
        """The layer's size by Docker's two rules: what lies on disk, and what the headers say."""
        total = 0
        seen: set[int] = set()
        for _, node in self.walk():
            if node.children is None and (node.links == 1 or id(node) not in seen):
                seen.add(id(node))
                total += node.size
        return total, self.header_bytes

    def walk(self, path: bytes = b"", node: Node | None = None) -> Iterator[tuple[bytes, Node]]:
        """Every name below ``node`` (the root), parents first."""
        pending = [(path, node or self.root)]
        while pending:
            path, node = pending.pop()
            for name, child in (node.children or {}).items():
                below = path + b"/" + name if path else name
                yield below, child
                if child.children:
                    pending.append((below, child))

    # --- directories ----------------------------------------------------------------------

    def _parent(self, path: bytes, member_path: bytes) -> Node:
        return self._directories.get(path) or self._directory(path) or self._make_all(path, member_path)

    def _directory(self, path: bytes) -> Node | None:
        """The directory at a path, links followed inside the root; None where there is none."""
        known = self._directories.get(path)
        if known is not None:
            return known
        stack = [self.root]
        pending = path.split(b"/")[::-1]
        followed = 0
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if len(stack) > 1:
                    stack.pop()
                continue
            node = _children(stack[-1]).get(name)
            if node is None:
                return None
            if node.type == stat.S_IFLNK:
                followed += 1
                if followed > _LINKS_FOLLOWED:
                    return None
                if node.target.startswith(b"/"):
                    stack = [self.root]
                pending += node.target.split(b"/")[::-1]
            elif node.children is None:
                return None
            else:
                stack.append(node)
        self._directories[path] = stack[-1]
        return stack[-1]

    def _make_all(self, path: bytes, member_path: bytes) -> Node:
        reached = b""
        parent = self.root
        for name in path.split(b"/"):
            reached = reached + b"/" + name if reached else name
            known = self._directory(reached)
            if known is None:
                children = _children(parent)
                if name in children:
                    raise _impossible("mkdir", errno.ENOTDIR, member_path)
                known = children[name] = Node(stat.S_IFDIR, parent, IMPLIED_MODE | parent.mode & stat.S_ISGID)
                known.gid = 0
            parent = known
        return parent

    # --- members --------------------------------------------------------------------------

    def _add_root(self, member: Member) -> None:
        if clean_path(member.name) == b".":
            if member.size and member.sparse is None:
                self.shadowed.append(member.name)
            return
        self._times.append((b"", clamped_times(member)[1]))
        self._set(self.root, member)

    def _add_node(self, parent: Node, name: bytes, path: bytes, member: Member) -> Node:
        type = _FILE_TYPES.get(member.type)
        if type is None:
            raise InvalidLayer(f"unhandled tar header type {member.type}", path=path)
        children = _children(parent)
        old = children.get(name)
        if type == stat.S_IFDIR:
            self._times.append((path, clamped_times(member)[1]))
            if old is not None and old.children is not None:
                self._set(old, member)
                return old
        if old is not None:
            self._remove(children, name)
        node = children[name] = Node(type, parent, 0)
        node.first = path
        node.size = member.size
        self.header_bytes += member.size
        if type == stat.S_IFREG:
            node.member = member.name if member.size and member.sparse is None else b""
            node.sparse = member.sparse
        elif type == stat.S_IFLNK:
            node.target = member.linkname
            node.size = len(member.linkname)
        elif type in (stat.S_IFCHR, stat.S_IFBLK):
            node.device = os.makedev(member.devmajor & 0xFFF, member.devminor & 0xFFFFF)
        self._set(node, member)
        if type != stat.S_IFDIR:
            node.mtime_ns = clamped_times(member)[1]
        return node

    def _add_link(self, parent: Node, name: bytes, path: bytes, member: Member) -> None:
        children = _children(parent)
        if name in children:
            self._remove(children, name)
        target_parent, _, target = clamp_path(member.linkname).rpartition(b"/")
        directory = self._directory(target_parent)
        node = None if directory is None else _children(directory).get(target)
        if node is None or node.children is not None:
            raise _impossible("link", errno.ENOENT, path)
        children[name] = node
        node.links += 1
        if node.xattrs and node.type == stat.S_IFREG:
            # A chown takes capabilities away, even one to the same owner.
            node.xattrs = {key: value for key, value in node.xattrs.items() if key != b"security.capability"}
        self._set(node, member)
        if node.type != stat.S_IFLNK:
            node.mtime_ns = clamped_times(member)[1]

    def _add_whiteout(self, parent: Node, name: bytes, member: Member) -> None:
        if member.size and member.sparse is None:
            self.shadowed.append(member.name)
        children = _children(parent)
        standing = children.get(name)
        if standing is not None and not (standing.children is not None and member.type == DIRECTORY):
            self._remove(children, name)
        if name == OPAQUE_MARKER:
            parent.opaque = True
            return
        node = Node(stat.S_IFCHR, parent, 0)
        _set_owner(node, member)
        children[name[len(PREFIX) :]] = node

    def _set(self, node: Node, member: Member) -> None:
        """Owner, attributes and mode, in the order of apply.py."""
        _set_owner(node, member)
        if member.xattrs:
            kept = {key: value for key, value in member.xattrs.items() if not belongs_to_overlay(key)}
            self.has_default_acl |= b"system.posix_acl_default" in kept
            node.xattrs = {**(node.xattrs or {}), **kept}
        if node.type != stat.S_IFLNK:
            node.mode = member.mode & 0o7777

    def _remove(self, children: dict[bytes, Node], name: bytes) -> None:
        """Take a name away with all below it."""
        node = children.pop(name)
        self._forget(node)
        if node.children is not None:
            for _, below in list(self.walk(b"", node)):
                self._forget(below)
        if node.children is not None or node.type == stat.S_IFLNK:
            self._directories = {b"": self.root}

    def _forget(self, node: Node) -> None:
        node.links -= 1
        if not node.links and node.member:
            self.shadowed.append(node.member)


def _children(node: Node) -> dict[bytes, Node]:
    assert node.children is not None
    return node.children


def _set_owner(node: Node, member: Member) -> None:
    uid, gid = kernel_id(member.uid), kernel_id(member.gid)
    if uid != -1:
        node.uid = uid
    if gid != -1:
        node.gid = gid


def _impossible(verb: str, number: int, path: bytes) -> InvalidLayer:
    return InvalidLayer(f"{verb} {printable(path)}: {errno_text(number)}", path=path)
