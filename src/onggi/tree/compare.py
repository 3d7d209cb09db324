"""What is different between a layer's directory and the archive it was made of.

Compared are type, mode, owner, time, size, link target, device, attributes, whiteouts and
hard links of every name, and which names there are. Contents are not: their checks stand in
tar-split. Times of whiteouts and implied directories are those of unpacking, so they do not
count, and neither does the time of the layer's root.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from onggi.tree.attributes import changed_attributes
from onggi.tree.change import Change, kind_text, shown_text, time_text
from onggi.tree.walk import scan_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.tree.expected import ExpectedTree, Node

__all__ = ["compare_tree", "prove"]

# Seconds: file systems with 32-bit times keep this for all later ones.
_LAST_SHORT_TIME = 2**31 - 1


def compare_tree(
    tree: ExpectedTree,
    root_fd: int,
    report: Callable[[bytes, Change], None],
    *,
    unpacked_ns: int | None = None,
) -> None:
    """Report every difference below ``root_fd`` by path; the root is the empty path.

    Nodes that are proved are passed over. Moves the working directory: call it in a process that
    nobody else relies on. With ``unpacked_ns`` an inode that was touched later (its ctime) is a
    difference too.
    """
    _Comparison(tree, root_fd, report, unpacked_ns).run()


def prove(node: Node, fd: int, status: os.stat_result) -> None:
    """Note that an open regular file, with one name, is what the archive says, if it is (contents aside).

    Where a walk meets that inode under the node's name, it need not be looked at again.
    """
    if (
        status.st_mode == node.type | node.mode
        and status.st_size == node.size
        and status.st_mtime_ns == node.mtime_ns
        and status.st_uid == node.uid
        and status.st_gid == node.gid
        and status.st_nlink == 1
        and not node.xattrs
        and not os.listxattr(fd)
    ):
        node.proved = status.st_ino


class _Comparison:
    def __init__(
        self,
        tree: ExpectedTree,
        root_fd: int,
        report: Callable[[bytes, Change], None],
        unpacked_ns: int | None,
    ) -> None:
        self._tree = tree
        self._root_fd = root_fd
        self._report = report
        self._unpacked_ns = unpacked_ns
        self._links: list[tuple[bytes, Node, int]] = []
        self._inherits = tree.has_default_acl

    def run(self) -> None:
        """Walk the disk beside the tree."""
        pending: dict[bytes, Node | None] = {b"": self._tree.root}
        root = os.fstat(self._root_fd)
        self._inherits |= b"system.posix_acl_default" in map(os.fsencode, os.listxattr(self._root_fd))
        self._compare_inode(b"", self._root_fd, self._tree.root, root)
        for path, fd, entries in scan_tree(self._root_fd):
            node = pending.pop(path, None)
            os.fchdir(fd)
            children = dict(node.children) if node is not None and node.children is not None else {}
            for entry in entries:
                name = os.fsencode(entry.name)
                child = children.pop(name, None)
                if child is not None and child.proved == entry.inode() and child.links == 1:
                    continue
                below = path + b"/" + name if path else name
                status = entry.stat(follow_symlinks=False)
                self._compare(below, name, child, status)
                if stat.S_ISDIR(status.st_mode):
                    pending[below] = child
                elif child is not None and child.children:
                    self._missing(below, child)
            for name, child in children.items():
                below = path + b"/" + name if path else name
                self._report(below, Change("missing", kind_text(child.type, child.device)))
                self._missing(below, child)
        self._compare_links()

    def _missing(self, path: bytes, node: Node) -> None:
        """All that should be below a directory that is not there."""
        if node.children:
            for below, child in self._tree.walk(path, node):
                self._report(below, Change("missing", kind_text(child.type, child.device)))

    def _compare(self, path: bytes, name: bytes, node: Node | None, status: os.stat_result) -> None:
        if node is None:
            self._report(path, Change("added", "", kind_text(stat.S_IFMT(status.st_mode), status.st_rdev)))
        elif self._same_kind(path, node, status):
            self._compare_inode(path, name, node, status)
            if node.type == stat.S_IFLNK and os.readlink(name) != node.target:
                self._report(
                    path, Change("link target", shown_text(node.target), shown_text(os.readlink(name)))
                )
            if node.links > 1 or (status.st_nlink > 1 and node.children is None):
                self._links.append((path, node, status.st_ino))

    def _same_kind(self, path: bytes, node: Node, status: os.stat_result) -> bool:
        file_type = stat.S_IFMT(status.st_mode)
        expected, found = kind_text(node.type, node.device), kind_text(file_type, status.st_rdev)
        if file_type != node.type:
            what = "whiteout" if "whiteout" in (expected, found) else "type"
            self._report(path, Change(what, expected, found))
            return False
        if status.st_rdev != node.device and file_type in (stat.S_IFCHR, stat.S_IFBLK):
            what = "whiteout" if "whiteout" in (expected, found) else "device"
            self._report(path, Change(what, expected, found))
            return what == "device"
        return True

    def _compare_inode(self, path: bytes, name: bytes | int, node: Node, status: os.stat_result) -> None:
        if status.st_mode & 0o7777 != node.mode and node.type != stat.S_IFLNK:
            self._report(path, Change("mode", f"{node.mode:04o}", f"{status.st_mode & 0o7777:04o}"))
        if status.st_uid != node.uid or status.st_gid != node.gid:
            owners = f"{node.uid}:{node.gid}", f"{status.st_uid}:{status.st_gid}"
            self._report(path, Change("owner", *owners))
        if status.st_size != node.size and node.type == stat.S_IFREG:
            self._report(path, Change("content", f"{node.size} bytes", f"{status.st_size} bytes"))
        if node.mtime_ns is not None and status.st_mtime_ns != node.mtime_ns:
            self._compare_times(path, node.mtime_ns, status.st_mtime_ns)
        if self._unpacked_ns is not None and status.st_ctime_ns > self._unpacked_ns and path:
            self._report(path, Change("ctime", "", time_text(status.st_ctime_ns)))
        for key in changed_attributes(
            name, node.type, node.xattrs, opaque=node.opaque, inherited=self._inherits
        ):
            self._report(path, Change(f"xattr {shown_text(key)}"))

    def _compare_times(self, path: bytes, expected_ns: int, found_ns: int) -> None:
        cut = found_ns // 10**9 == _LAST_SHORT_TIME and expected_ns // 10**9 > _LAST_SHORT_TIME
        if not cut:
            self._report(path, Change("mtime", time_text(expected_ns), time_text(found_ns)))

    def _compare_links(self) -> None:
        """Names of one node must be names of one inode, and of no other node's."""
        nodes: dict[int, set[int]] = {}
        inodes: dict[int, int] = {}  # id of a node → the inode that stands for it: that of its first name
        for path, node, inode in self._links:
            nodes.setdefault(inode, set()).add(id(node))
            if path == node.first or id(node) not in inodes:
                inodes[id(node)] = inode
        for path, node, inode in self._links:
            if len(nodes[inode]) > 1 or inodes[id(node)] != inode:
                self._report(path, Change("hard link"))
