"""The tree that a layer's archive makes, in memory: what apply.py would have on disk.

    tree = ExpectedTree()
    for member in reader:
        tree.add(member)
    tree.finish()

The rules are those of apply.py, on nodes instead of inodes: clamped names, parents that lead
through links, implied directories, replacement, whiteouts as devices 0:0, hard links that
share a node and give it their owner and mode, times of directories at the very end; and what
is refused there is refused here, in the same words. A rule that changes there changes here;
the tests apply every case both ways.
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
from onggi.tree import acl
from onggi.tree.create import PATH_MAX, refusal
from onggi.tree.directories import IMPLIED_MODE
from onggi.tree.errors import InvalidLayer, errno_text, failure, printable, shortened
from onggi.tree.kept_attributes import kept_value
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
# Bytes of a name on every Linux file system, and of a link's target.
_NAME_MAX = 255
_TARGET_MAX = 4095


class Node:
    """One inode. ``type`` is that of ``st_mode``; ``mtime_ns`` is None where the archive says nothing.

    ``xattrs`` are those of the archive that Linux keeps, overlayfs's own left out; ``opaque``
    stands for ``trusted.overlay.opaque``. ``member`` is the verbatim name of the member whose content
    the node has, ``links`` the number of its names and ``first`` the path it was made under.
    ``proved`` is the number of the inode that was seen to be this node, 0 before (compare.py).
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
        "proved",
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
        self.proved = 0
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
        self._with_acl: list[Node] = []

    def add(self, member: Member, position: int = 0, cleaned: bytes | None = None) -> Node | None:
        """Apply one member, whose content begins at ``position`` of the archive; gives the node it makes.

        ``cleaned`` is its name as of ``clean_path``, from who has it already. Raises InvalidLayer
        where no directory could have taken it.
        """
        if member.type == GLOBAL_HEADER:
            return None
        path = cleaned if cleaned and cleaned[0] not in b"/." else clamp_path(member.name)
        parent_path, _, name = path.rpartition(b"/")
        if not name:
            self._add_root(member)
            return None
        if len(path) >= PATH_MAX:
            raise InvalidLayer(f"lstat {printable(path)}: file name too long", path=path)
        parent = self._directories.get(parent_path) or self._parent(parent_path, path, member)
        if name[:4] == PREFIX:
            self._add_whiteout(parent, parent_path, name, path, member)
        elif member.type == LINK:
            self._add_link(parent, parent_path, name, path, member)
        else:
            node = self._add_node(parent, parent_path, name, path, member)
            node.position = position
            return node
        return None

    def finish(self) -> None:
        """What comes last: ACLs that follow the mode, and times of directories, which every name changed.

        Raises InvalidLayer where something else took a directory's place and leads nowhere.
        """
        for node in self._with_acl:
            if node.xattrs is not None and acl.ACCESS in node.xattrs:
                node.xattrs[acl.ACCESS] = acl.with_mode(node.xattrs[acl.ACCESS], node.mode)
        for path, mtime_ns in self._times:
            self._timed(path).mtime_ns = mtime_ns

    def _timed(self, path: bytes) -> Node:
        parent_path, _, name = path.rpartition(b"/")
        found = self._resolve(parent_path)
        if name and isinstance(found, Node):
            found = _children(found).get(name) or errno.ENOENT
            if isinstance(found, Node) and found.type == stat.S_IFLNK:
                found = self._resolve(path)
        if isinstance(found, int):
            raise failure(_error(found), f"chtimes {printable(path)}", path)
        return found

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

    def _parent(self, path: bytes, member_path: bytes, member: Member) -> Node:
        found = self._resolve(path)
        if isinstance(found, Node):
            return found
        if found != errno.ENOENT or self._is_dangling(path):
            raise refusal(_error(found), member, member_path)
        return self._make_all(path, member_path)

    def _is_dangling(self, path: bytes) -> bool:
        parent_path, _, name = path.rpartition(b"/")
        parent = self._resolve(parent_path)
        node = _children(parent).get(name) if isinstance(parent, Node) else None
        return node is not None and node.type == stat.S_IFLNK

    def _resolve(self, path: bytes) -> Node | int:
        """The directory at a path, links followed inside the root, or the errno of opening it."""
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
                return errno.ENOENT if len(name) <= _NAME_MAX else errno.ENAMETOOLONG
            if node.type == stat.S_IFLNK:
                followed += 1
                if followed > _LINKS_FOLLOWED:
                    return errno.ELOOP
                if node.target.startswith(b"/"):
                    stack = [self.root]
                pending += node.target.split(b"/")[::-1]
            elif node.children is None:
                return errno.ENOTDIR
            else:
                stack.append(node)
        self._directories[path] = stack[-1]
        return stack[-1]

    def _make_all(self, path: bytes, member_path: bytes) -> Node:
        reached = b""
        parent = self.root
        for name in path.split(b"/"):
            reached = reached + b"/" + name if reached else name
            known = self._resolve(reached)
            if isinstance(known, int):
                children = _children(parent)
                if name in children:
                    known = errno.EEXIST
                if known != errno.ENOENT:
                    raise failure(_error(known), f"mkdir {printable(reached)}", member_path)
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
        if member.type != DIRECTORY:
            raise InvalidLayer(f"unlinkat /: {errno_text(errno.EBUSY)}")
        self._times.append((b"", clamped_times(member)[1]))
        self._set(self.root, b"", member)

    def _add_node(self, parent: Node, parent_path: bytes, name: bytes, path: bytes, member: Member) -> Node:
        type = _FILE_TYPES.get(member.type)
        if type is None:
            raise InvalidLayer(f"unhandled tar header type {member.type}", path=path)
        children = _children(parent)
        old = children.get(name)
        if type == stat.S_IFDIR:
            self._times.append((path, clamped_times(member)[1]))
            if old is not None and old.children is not None:
                self._set(old, path, member)
                return old
        elif type == stat.S_IFLNK and not 0 < len(member.linkname) <= _TARGET_MAX:
            raise refusal(_error(errno.ENAMETOOLONG if member.linkname else errno.ENOENT), member, path)
        if old is not None:
            children = _children(self._replace(parent, parent_path, name, path, member))
        elif len(name) > _NAME_MAX:
            raise refusal(_error(errno.ENAMETOOLONG), member, path)
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
        self._set(node, path, member)
        if type != stat.S_IFDIR:
            node.mtime_ns = clamped_times(member)[1]
        return node

    def _add_link(self, parent: Node, parent_path: bytes, name: bytes, path: bytes, member: Member) -> None:
        children = _children(parent)
        node = self._link_target(path, member)
        if name in children:
            children = _children(self._replace(parent, parent_path, name, path, member))
            node = self._link_target(path, member)
        if node.children is not None:
            raise refusal(_error(errno.EPERM), member, path)
        if len(name) > _NAME_MAX:
            raise refusal(_error(errno.ENAMETOOLONG), member, path)
        children[name] = node
        node.links += 1
        node.proved = 0  # the link's header speaks of the same inode
        if node.xattrs and node.type == stat.S_IFREG:
            # A chown takes capabilities away, even one to the same owner.
            node.xattrs = {key: value for key, value in node.xattrs.items() if key != b"security.capability"}
        self._set(node, path, member)
        if node.type != stat.S_IFLNK:
            node.mtime_ns = clamped_times(member)[1]

    def _link_target(self, path: bytes, member: Member) -> Node:
        parent_path, _, name = clamp_path(member.linkname).rpartition(b"/")
        found = self._resolve(parent_path)
        if name and isinstance(found, Node):
            missing = errno.ENOENT if len(name) <= _NAME_MAX else errno.ENAMETOOLONG
            found = _children(found).get(name) or missing
        if isinstance(found, int):
            raise refusal(_error(found), member, path)
        return found

    def _add_whiteout(
        self, parent: Node, parent_path: bytes, name: bytes, path: bytes, member: Member
    ) -> None:
        if member.size and member.sparse is None:
            self.shadowed.append(member.name)
        children = _children(parent)
        standing = children.get(name)
        if standing is not None and not (standing.children is not None and member.type == DIRECTORY):
            parent = self._replace(parent, parent_path, name, path, member)
            children = _children(parent)
        if name == OPAQUE_MARKER:
            parent.opaque = True
            return
        gone = name[len(PREFIX) :]
        if gone in (b"", b".", b"..") or gone in children:
            place = clamp_path(parent_path + b"/" + gone)
            raise failure(_error(errno.EEXIST), f'failed to mknod("{printable(place)}", S_IFCHR, 0)', place)
        if len(gone) > _NAME_MAX:
            what = f'failed to mknod("{printable(clamp_path(parent_path + b"/" + gone))}", S_IFCHR, 0)'
            raise failure(_error(errno.ENAMETOOLONG), what, path)
        node = Node(stat.S_IFCHR, parent, 0)
        _set_owner(node, member)
        children[gone] = node

    def _replace(self, parent: Node, parent_path: bytes, name: bytes, path: bytes, member: Member) -> Node:
        """Take a name away; gives the parent as its path leads to it then, perhaps elsewhere."""
        self._remove(_children(parent), name)
        found = self._resolve(parent_path)
        if isinstance(found, int):
            raise refusal(_error(found), member, path)
        return found

    def _set(self, node: Node, path: bytes, member: Member) -> None:
        """Owner, attributes and mode, in the order of apply.py."""
        _set_owner(node, member)
        if member.xattrs:
            self._set_xattrs(node, path, member)
        if node.type != stat.S_IFLNK:
            node.mode = member.mode & 0o7777

    def _set_xattrs(self, node: Node, path: bytes, member: Member) -> None:
        found = dict(node.xattrs or {})
        for name, value in member.xattrs.items():
            if belongs_to_overlay(name):
                continue
            try:
                kept = kept_value(node.type, name, value)
            except OSError as error:
                raise failure(error, f"lsetxattr {shortened(name)} {printable(path)}", path) from None
            if kept is None:
                continue
            if name in (acl.ACCESS, acl.DEFAULT):
                self._set_acl(node, name, kept, found)
            else:
                found[name] = kept
        node.xattrs = found or None

    def _set_acl(self, node: Node, name: bytes, kept: bytes, found: dict[bytes, bytes]) -> None:
        if not kept:
            found.pop(name, None)
            return
        found[name] = kept
        self.has_default_acl |= name == acl.DEFAULT
        self._with_acl.append(node)

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
    if (uid := kernel_id(member.uid)) != -1:
        node.uid = uid
    if (gid := kernel_id(member.gid)) != -1:
        node.gid = gid


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
