"""Read an index of writer.py without mounting it: no root, no kernel, nothing trusted.

    index = Index(image)
    node = index.lookup(b"etc/hosts")
    for offset, length, position in node.fragments: ...

Positions, names and sizes come from a file that somebody may have changed, so each is checked
against the image before it is used; what does not add up is InvalidIndex.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from onggi.archive.erofs.format import (
    BLOCK_BITS_4K,
    BLOCK_BITS_TAR,
    CHUNK_INDEX,
    CHUNK_WITH_INDEX,
    COMPAT_CHECKSUM,
    DEVICE_SLOT,
    DEVICE_SLOT_OFFSET,
    DIRENT,
    EXTENDED,
    HOLE,
    INODE,
    LAYOUT_CHUNKS,
    LAYOUT_INLINE,
    LAYOUT_PLAIN,
    MAGIC,
    METADATA_OFFSET,
    NID_BITS,
    SUPERBLOCK,
    SUPERBLOCK_OFFSET,
    XATTR_ENTRY,
    XATTR_HEADER,
    XATTR_PREFIXES,
    XATTR_WHOLE_NAMES,
    InvalidIndex,
    checked_range,
    checksum,
)
from onggi.record import record

__all__ = ["Index", "IndexNode"]

_NS = 1_000_000_000
_PREFIXES = {number: text for text, number in XATTR_PREFIXES}
_WHOLE_NAMES = {number: text for text, number in XATTR_WHOLE_NAMES.items()}
_INLINE_MAX = 1 << 16
# Bytes of one directory or link target; Linux ends paths at 4096, a directory of a million names is 20 MB.
_CONTENT_MAX = 1 << 28
_CHUNKS_MAX = 1 << 21


@record
class IndexNode:
    """One inode. ``number`` is the same for every name of a hard link; ``type`` is that of ``st_mode``."""

    number: int
    type: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    links: int
    layout: int
    word: int
    xattr_units: int

    @property
    def device(self) -> int:
        """``st_rdev`` of a device."""
        word = self.word
        return os.makedev(word >> 8 & 0xFFF, word & 0xFF | word >> 12 & ~0xFF)


class _Extent(NamedTuple):
    """A directory or link: ``outside`` bytes in whole blocks, then ``tail`` bytes behind the inode."""

    start: int
    outside: int
    tail_start: int
    tail: int


class Index:
    """An index in memory; ``image`` is its bytes, or a map of its file, ``name`` what errors call it."""

    def __init__(self, image: bytes | bytearray | memoryview, name: str = "EROFS index") -> None:
        self._name = name
        self._image = memoryview(image)
        if len(self._image) < SUPERBLOCK_OFFSET + SUPERBLOCK.size:
            raise self._invalid("it is too short")
        fields = SUPERBLOCK.unpack_from(self._image, SUPERBLOCK_OFFSET)
        magic, crc, compat, bits = fields[:4]
        if magic != MAGIC:
            raise self._invalid("there is no superblock")
        if bits not in (BLOCK_BITS_TAR, BLOCK_BITS_4K):
            raise self._invalid(f"blocks of 2^{bits} bytes")
        self.block_bits: int = bits
        self._block = 1 << bits
        self._root = int(fields[5])
        self.inodes = int(fields[6])
        self.uuid: bytes = fields[12]
        self._shared = int(fields[11]) << bits
        self._devices = int(fields[16])
        if len(self._image) < METADATA_OFFSET:
            raise self._invalid("it is too short")
        if len(self._image) != int(fields[9]) << bits:
            raise self._invalid("its size is not the one its superblock tells")
        start, end = checked_range(bits)
        if compat & COMPAT_CHECKSUM and checksum(self._image[start:end]) != crc:
            raise self._invalid("the superblock's checksum is wrong")

    @property
    def data_blocks(self) -> int:
        """Blocks of the data file that the index was written for."""
        return int(DEVICE_SLOT.unpack_from(self._image, DEVICE_SLOT_OFFSET)[1]) if self._devices else 0

    def _invalid(self, cause: str) -> InvalidIndex:
        return InvalidIndex(cause, self._name)

    # --- nodes ----------------------------------------------------------------------------

    @property
    def root(self) -> IndexNode:
        """The layer's top directory."""
        return self.node(self._root)

    def node(self, number: int) -> IndexNode:
        """An inode by its number."""
        at = number << NID_BITS
        self._span(at, INODE.size)
        head, units, mode, _, size, word, _, uid, gid, seconds, ns, links = INODE.unpack_from(self._image, at)
        layout = head >> 1 & 7
        if not head & EXTENDED or layout not in (LAYOUT_PLAIN, LAYOUT_INLINE, LAYOUT_CHUNKS):
            raise self._invalid(f"inode {number} has a layout that is not ours")
        return IndexNode(
            number,
            stat.S_IFMT(mode),
            mode & 0o7777,
            uid,
            gid,
            size,
            seconds * _NS + ns,
            links,
            layout,
            word,
            units,
        )

    def entries(self, node: IndexNode) -> Iterator[tuple[bytes, IndexNode]]:
        """Names and inodes of a directory, sorted, ``.`` and ``..`` left out."""
        content = self._content(node)
        for start in range(0, len(content), self._block):
            for name, number in self._names(content[start : start + self._block]):
                if name not in (b".", b".."):
                    yield name, self.node(number)

    def _names(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        if len(block) < DIRENT.size:
            raise self._invalid("a directory block is too short")
        first = DIRENT.unpack_from(block)[1]
        if first % DIRENT.size or not DIRENT.size <= first <= len(block):
            raise self._invalid("a directory block's names do not follow its entries")
        heads = [DIRENT.unpack_from(block, at) for at in range(0, first, DIRENT.size)]
        ends = [offset for _, offset, _ in heads[1:]] + [len(block)]
        for (number, offset, _), end in zip(heads, ends, strict=True):
            name = block[offset:end].rstrip(b"\0") if end == len(block) else block[offset:end]
            if not first <= offset < end or not name or b"/" in name or b"\0" in name:
                raise self._invalid("a directory holds a name that is none")
            yield name, number

    def child(self, node: IndexNode, name: bytes) -> IndexNode | None:
        """One entry of a directory, ``.`` and ``..`` too; its block is found by halving."""
        extent = self._extent(node)
        low, high = 0, -(-node.size // self._block)
        while high - low > 1:
            middle = (low + high) // 2
            if name < self._first_name(self._block_at(extent, middle)):
                high = middle
            else:
                low = middle
        for found, number in self._names(self._block_at(extent, low)) if high else ():
            if found == name:
                return self.node(number)
        return None

    def _first_name(self, block: bytes) -> bytes:
        if len(block) < DIRENT.size:
            raise self._invalid("a directory block is too short")
        start = DIRENT.unpack_from(block)[1]
        if start < 2 * DIRENT.size:
            return block[start:].rstrip(b"\0")
        return block[start : DIRENT.unpack_from(block, DIRENT.size)[1]]

    def _block_at(self, extent: _Extent, number: int) -> bytes:
        """One block of a directory; the last may be shorter, and stand behind the inode."""
        start = number * self._block
        if start < extent.outside:
            size = min(self._block, extent.outside - start)
            return bytes(self._image[self._span(extent.start + start, size)])
        return bytes(self._image[self._span(extent.tail_start, extent.tail)])

    def lookup(self, path: bytes) -> IndexNode | None:
        """The inode at a clean path below the root, no link followed; None where there is nothing."""
        node: IndexNode | None = self.root
        for name in filter(None, path.split(b"/")):
            if node is None or node.type != stat.S_IFDIR:
                return None
            node = self.child(node, name)
        return node

    def walk(self) -> Iterator[tuple[bytes, IndexNode]]:
        """Every path below the root, a directory before what is in it."""
        pending = [(b"", self.root)]
        seen = 0
        while pending:
            path, directory = pending.pop()
            below = []
            for name, node in self.entries(directory):
                where = path + b"/" + name if path else name
                yield where, node
                if node.type == stat.S_IFDIR:
                    below.append((where, node))
            seen += 1
            if seen > self.inodes:
                raise self._invalid("its directories go in circles")
            pending += reversed(below)

    # --- what they hold -------------------------------------------------------------------

    def target(self, node: IndexNode) -> bytes:
        """Where a symbolic link leads, verbatim."""
        return self._content(node)

    def xattrs(self, node: IndexNode) -> dict[bytes, bytes]:
        """Attributes by their full names."""
        if not node.xattr_units:
            return {}
        at = (node.number << NID_BITS) + INODE.size
        size = XATTR_HEADER.size + 4 * (node.xattr_units - 1)
        body = bytes(self._image[self._span(at, size)])
        _, shared = XATTR_HEADER.unpack_from(body)
        own = XATTR_HEADER.size + 4 * shared
        if own > size:
            raise self._invalid(f"inode {node.number}: its shared attributes are cut off")
        found = {}
        for offset in range(XATTR_HEADER.size, own, 4):
            start = self._shared + 4 * int.from_bytes(body[offset : offset + 4], "little")
            name, value, _ = self._entry(memoryview(self._image), start)
            found[name] = value
        while own < size:
            name, value, own = self._entry(memoryview(body), own)
            found[name] = value
        return found

    def _entry(self, data: memoryview, at: int) -> tuple[bytes, bytes, int]:
        """Name, value and the end of one attribute."""
        if at + XATTR_ENTRY.size > len(data):
            raise self._invalid("an attribute is cut off")
        name_size, prefix, value_size = XATTR_ENTRY.unpack_from(data, at)
        start = at + XATTR_ENTRY.size
        end = start + name_size + value_size
        if end > len(data) or not (prefix in _PREFIXES or prefix in _WHOLE_NAMES):
            raise self._invalid("an attribute is damaged")
        rest = bytes(data[start : start + name_size])
        name = _WHOLE_NAMES.get(prefix) or _PREFIXES[prefix] + rest
        return name, bytes(data[start + name_size : end]), end + -end % 4

    def fragments(self, node: IndexNode) -> list[tuple[int, int, int]]:
        """A regular file's (offset in the file, length, offset in the data file); the rest is holes."""
        if not node.size:
            return []
        if node.layout != LAYOUT_CHUNKS or not node.word & CHUNK_WITH_INDEX:
            raise self._invalid(f"inode {node.number}: a file without a chunk index")
        bits = self.block_bits + (node.word & 0x1F)
        chunks = -(-node.size >> bits)
        if chunks > _CHUNKS_MAX:
            raise self._invalid(f"inode {node.number}: too many chunks")
        size = XATTR_HEADER.size + 4 * (node.xattr_units - 1) if node.xattr_units else 0
        at = (node.number << NID_BITS) + INODE.size + size
        at += -at % 8
        self._span(at, chunks * CHUNK_INDEX.size)
        found: list[tuple[int, int, int]] = []
        for number in range(chunks):
            _, _, block = CHUNK_INDEX.unpack_from(self._image, at + number * CHUNK_INDEX.size)
            if block != HOLE:
                start = number << bits
                _join(found, start, min(1 << bits, node.size - start), block << self.block_bits)
        return found

    def _content(self, node: IndexNode) -> bytes:
        """What a directory or a link holds."""
        extent = self._extent(node)
        content = bytes(self._image[self._span(extent.start, extent.outside)]) if extent.outside else b""
        return content + self._image[self._span(extent.tail_start, extent.tail)]

    def _extent(self, node: IndexNode) -> _Extent:
        if node.size > _CONTENT_MAX or node.layout == LAYOUT_CHUNKS:
            raise self._invalid(f"inode {node.number}: {node.size} bytes of a directory or link")
        at = (node.number << NID_BITS) + INODE.size
        if node.xattr_units:
            at += XATTR_HEADER.size + 4 * (node.xattr_units - 1)
        tail = 0
        if node.layout == LAYOUT_INLINE:
            tail = node.size % self._block or min(node.size, self._block)
        return _Extent(node.word << self.block_bits, node.size - tail, at, tail)

    def _span(self, start: int, size: int) -> slice:
        if start < 0 or start + size > len(self._image):
            raise self._invalid(f"{size} bytes at {start} are not in it")
        return slice(start, start + size)


def _join(found: list[tuple[int, int, int]], start: int, length: int, position: int) -> None:
    """Add a fragment, as one with the last where both files go on."""
    if found:
        before, size, at = found[-1]
        if before + size == start and at + size == position:
            found[-1] = (before, size + length, at)
            return
    found.append((start, length, position))
