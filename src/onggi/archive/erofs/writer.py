"""Write the index of a tree whose contents lie in another file, most often the layer's tar.

Pure: a tree in, bytes out, the same bytes for the same tree. Two passes: the first gives
every inode its place, the second fills them in.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from onggi.archive.erofs.format import (
    BLOCKS_MAX,
    CHUNK_BITS_MAX,
    CHUNK_INDEX,
    CHUNK_WITH_INDEX,
    COMPAT_CHECKSUM,
    COMPAT_MTIME,
    DATA_DEVICE,
    DEVICE_SLOT,
    DEVICE_SLOT_OFFSET,
    DIRENT,
    EXTENDED,
    FILE_TYPES,
    HOLE,
    INCOMPAT_CHUNKS,
    INCOMPAT_DEVICES,
    INODE,
    LAYOUT_CHUNKS,
    LAYOUT_INLINE,
    LAYOUT_PLAIN,
    MAGIC,
    METADATA_OFFSET,
    NAME_MAX,
    NID_BITS,
    SUPERBLOCK,
    SUPERBLOCK_OFFSET,
    XATTR_ENTRY,
    XATTR_HEADER,
    XATTR_PREFIXES,
    XATTR_UNITS_MAX,
    XATTR_WHOLE_NAMES,
    NotRepresentable,
    checked_range,
    checksum,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Inode", "write_index"]

_NS = 1_000_000_000
_SLOT = 1 << NID_BITS
# Holes before inodes that had to start in a block of their own, kept to be filled.
_GAPS_KEPT = 64
# Chunks of one file: a sparse one needs an index for every piece of its smallest fragment's alignment.
_CHUNKS_MAX = 1 << 20
_OPAQUE = b"trusted.overlay.opaque"


class Inode(Protocol):
    """What the writer asks of a node. The same object under two names is a hard link.

    ``type`` is that of ``st_mode``, ``device`` as of ``os.makedev``; ``children`` is None for
    what is no directory. ``fragments`` are (offset in the file, length, offset in the data
    file), ascending, of a regular file; what lies between them is a hole.
    """

    type: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int | None
    size: int
    target: bytes
    device: int
    links: int
    opaque: bool

    @property
    def xattrs(self) -> Mapping[bytes, bytes] | None: ...

    @property
    def children(self) -> Mapping[bytes, Inode] | None: ...

    @property
    def fragments(self) -> Sequence[tuple[int, int, int]]: ...


def write_index(root: Inode, *, data_bytes: int, block_bits: int, uuid: bytes) -> bytearray:
    """The whole index. ``data_bytes`` is the size of the data file, ``uuid`` 16 bytes.

    Raises:
        NotRepresentable: a name, an attribute or a fragment that EROFS cannot hold.
    """
    return _Writer(root, data_bytes, block_bits, uuid).write()


class _Placed:
    """An inode and its place. ``blocks`` are a directory's entries, block by block."""

    __slots__ = (
        "blocks",
        "chunk_bits",
        "inline",
        "inode",
        "layout_offset",
        "outside",
        "parent",
        "path",
        "xattrs",
    )

    def __init__(self, inode: Inode, parent: Inode, path: bytes) -> None:
        self.inode = inode
        self.parent = parent
        self.path = path
        self.xattrs = b""
        self.blocks: list[list[bytes]] = []
        self.inline = False
        self.outside = 0
        self.chunk_bits = 0
        self.layout_offset = 0


class _Writer:
    def __init__(self, root: Inode, data_bytes: int, block_bits: int, uuid: bytes) -> None:
        self._root = root
        self._bits = block_bits
        self._block = 1 << block_bits
        self._uuid = uuid
        self._data_blocks = -(-data_bytes >> block_bits) if data_bytes else 0
        # The kernel reads whole blocks: EIO where the data file ends within one.
        self._whole_bytes = data_bytes >> block_bits << block_bits
        self._end = METADATA_OFFSET
        self._gaps: list[tuple[int, int]] = []
        self._widest_gap = 0  # at most: none is wider
        self._outside = 0  # blocks used behind the metadata
        self._positions: dict[int, int] = {}
        self._shared = b""
        self._shared_ids: dict[bytes, int] = {}

    def write(self) -> bytearray:
        order = self._walk()
        self._share_xattrs(order)
        for placed in order:
            self._place(placed)
        self._shared_block = -(-self._end // self._block)
        self._first_outside = self._shared_block + -(-len(self._shared) // self._block)
        blocks = self._first_outside + self._outside
        if blocks + self._data_blocks > BLOCKS_MAX:
            raise NotRepresentable(b"", f"more than {BLOCKS_MAX} blocks")
        image = bytearray(blocks << self._bits)
        for placed in order:
            self._fill(image, placed)
        at = self._shared_block << self._bits
        image[at : at + len(self._shared)] = self._shared
        self._finish(image, len(order), blocks)
        return image

    def _walk(self) -> list[_Placed]:
        """Every inode once, the root first, the files of a directory behind it."""
        order: list[_Placed] = []
        seen: set[int] = set()
        pending = [(self._root, self._root, b"")]
        while pending:
            directory, parent, path = pending.pop()
            order.append(_Placed(directory, parent, path))
            children = directory.children or {}
            below = []
            for name in sorted(children):
                child = children[name]
                where = path + b"/" + name if path else name
                if len(name) > NAME_MAX:
                    raise NotRepresentable(where, f"a name of {len(name)} bytes, {NAME_MAX} are possible")
                if child.children is not None:
                    below.append((child, directory, where))
                elif child.links == 1 or id(child) not in seen:
                    seen.add(id(child))
                    order.append(_Placed(child, directory, where))
            pending += reversed(below)
        return order

    # --- attributes -----------------------------------------------------------------------

    def _share_xattrs(self, order: list[_Placed]) -> None:
        """Pack every inode's attributes; entries that several inodes have are written once."""
        with_some = [
            (placed, _entries(placed)) for placed in order if placed.inode.xattrs or placed.inode.opaque
        ]
        counts = Counter(entry for _, entries in with_some for entry in entries)
        parts: list[bytes] = []
        offset = 0
        for entry in sorted(entry for entry, count in counts.items() if count > 1):
            self._shared_ids[entry] = offset // 4
            parts.append(entry)
            offset += len(entry)
        self._shared = b"".join(parts)
        for placed, entries in with_some:
            placed.xattrs = self._body(placed.path, entries)

    def _body(self, path: bytes, entries: list[bytes]) -> bytes:
        shared = [self._shared_ids[entry] for entry in entries if entry in self._shared_ids]
        if len(shared) > 255:
            raise NotRepresentable(path, "more than 255 shared attributes")
        own = b"".join(entry for entry in entries if entry not in self._shared_ids)
        ids = b"".join(number.to_bytes(4, "little") for number in shared)
        body = XATTR_HEADER.pack(0, len(shared)) + ids + own
        if _units(body) > XATTR_UNITS_MAX:
            raise NotRepresentable(path, "too many attributes")
        return body

    # --- places ---------------------------------------------------------------------------

    def _place(self, placed: _Placed) -> None:
        inode = placed.inode
        size = placed.layout_offset = INODE.size + len(placed.xattrs)
        inline = 0
        if inode.children is not None:
            inline = self._place_directory(placed)
        elif inode.type == stat.S_IFLNK:
            inline = self._tail(placed, len(inode.target))
        elif inode.type == stat.S_IFREG and inode.size:
            placed.chunk_bits, chunks = self._chunks(placed)
            size = _up(size, 8) + CHUNK_INDEX.size * chunks
        self._positions[id(inode)] = self._reserve(size, inline)

    def _place_directory(self, placed: _Placed) -> int:
        """Cut the sorted names into blocks; the last one is kept behind the inode where it fits."""
        block: list[bytes] = []
        used = 0
        for name in sorted((b".", b"..", *(placed.inode.children or {}))):
            need = DIRENT.size + len(name)
            if used + need > self._block:
                placed.blocks.append(block)
                block, used = [], 0
            block.append(name)
            used += need
        placed.blocks.append(block)
        return self._tail(placed, used, len(placed.blocks) - 1)

    def _tail(self, placed: _Placed, size: int, blocks_before: int = 0) -> int:
        """Bytes kept behind the inode, at most a block less the inode; else blocks of their own."""
        if 0 < size <= self._block - INODE.size:
            placed.outside = self._take(blocks_before)
            placed.inline = True
            return size
        placed.outside = self._take(blocks_before + -(-size // self._block))
        return 0

    def _take(self, blocks: int) -> int:
        self._outside += blocks
        return self._outside - blocks

    def _chunks(self, placed: _Placed) -> tuple[int, int]:
        """Bits of the chunk's size above a block, and how many chunks the file has."""
        inode, fragments = placed.inode, placed.inode.fragments
        start, length, at = fragments[0] if len(fragments) == 1 else (0, 0, 0)
        if (start, length) == (0, inode.size) and not at % self._block and at + length <= self._whole_bytes:
            bits = max(0, (length - 1).bit_length() - self._bits)
            if bits > CHUNK_BITS_MAX:
                raise NotRepresentable(placed.path, "the file is too large")
            return bits, 1
        if any(length and (at % self._block or start % self._block) for start, length, at in fragments):
            raise NotRepresentable(placed.path, "its data do not lie on blocks")
        if any(at + length > self._whole_bytes for _, length, at in fragments):
            raise NotRepresentable(placed.path, "the archive ends within its last block")
        bits = self._common_bits(placed)
        chunks = -(-inode.size >> (self._bits + bits))
        if chunks > _CHUNKS_MAX:
            raise NotRepresentable(placed.path, "its map of holes is too large")
        return bits, chunks

    def _common_bits(self, placed: _Placed) -> int:
        """The largest chunk that begins every fragment, and ends it or the file."""
        size = placed.inode.size
        edges = 0
        for start, length, _ in placed.inode.fragments:
            if not length:
                continue
            edges |= start
            if start + length != size:
                edges |= start + length
        if edges & (self._block - 1):
            raise NotRepresentable(placed.path, "its holes do not lie on blocks")
        bits = (edges & -edges).bit_length() - 1 - self._bits if edges else CHUNK_BITS_MAX
        return min(bits, max(0, (size - 1).bit_length() - self._bits))

    def _reserve(self, size: int, inline: int) -> int:
        """The position of an inode of ``size`` bytes, so that ``inline`` ones behind it lie in one block."""
        if not inline and size <= self._widest_gap:
            for number in range(len(self._gaps) - 1, -1, -1):
                start, end = self._gaps[number]
                if end - start >= size:
                    self._shrink(number, _up(start + size, _SLOT), end)
                    return start
            self._widest_gap = max((end - start for start, end in self._gaps), default=0)
        position = self._end
        tail = (position + size) % self._block
        if inline and tail and tail + inline > self._block:
            position = self._next_fitting(position, size, inline)
            self._gaps = [*self._gaps[-_GAPS_KEPT + 1 :], (self._end, position)]
            self._widest_gap = max(self._widest_gap, position - self._end)
        self._end = _up(position + size + inline, _SLOT)
        return position

    def _next_fitting(self, position: int, size: int, inline: int) -> int:
        """The first slot from where the inline bytes do not cross a block."""
        boundary = _up(position + size, self._block)
        position = _up(boundary - size, _SLOT)
        tail = (position + size) % self._block
        return position if tail + inline <= self._block else _up(position, self._block)

    def _shrink(self, number: int, start: int, end: int) -> None:
        if end - start >= INODE.size:
            self._gaps[number] = (start, end)
        else:
            del self._gaps[number]

    # --- bytes ----------------------------------------------------------------------------

    def _fill(self, image: bytearray, placed: _Placed) -> None:
        inode = placed.inode
        position = self._positions[id(inode)]
        after = position + placed.layout_offset
        image[position + INODE.size : after] = placed.xattrs
        layout, word, size, mode, links = LAYOUT_PLAIN, 0, 0, inode.mode, inode.links
        if inode.children is not None:
            layout, word, size = self._fill_directory(image, placed, after)
            links = 2 + sum(child.children is not None for child in inode.children.values())
        elif inode.type == stat.S_IFLNK:
            size, mode = len(inode.target), 0o777
            layout, word = self._fill_blocks(image, placed, [inode.target], after)
        elif inode.type == stat.S_IFREG:
            size = inode.size
            if size:
                layout, word = LAYOUT_CHUNKS, placed.chunk_bits | CHUNK_WITH_INDEX
                self._fill_chunks(image, placed, _up(after, 8))
        elif inode.type in (stat.S_IFCHR, stat.S_IFBLK):
            word = _device_word(inode.device)
        seconds, nanoseconds = divmod(inode.mtime_ns or 0, _NS)
        INODE.pack_into(
            image, position, EXTENDED | layout << 1, _units(placed.xattrs), inode.type | mode, 0,
            size, word, position >> NID_BITS, inode.uid, inode.gid, seconds, nanoseconds, links,
        )  # fmt: skip

    def _fill_directory(self, image: bytearray, placed: _Placed, after: int) -> tuple[int, int, int]:
        blocks = [self._directory_block(placed, names) for names in placed.blocks]
        layout, word = self._fill_blocks(image, placed, blocks, after)
        return layout, word, (len(blocks) - 1) * self._block + len(blocks[-1])

    def _directory_block(self, placed: _Placed, names: list[bytes]) -> bytes:
        children = placed.inode.children or {}
        entries = bytearray()
        offset = DIRENT.size * len(names)
        for name in names:
            if name == b".":
                node = placed.inode
            elif name == b"..":
                node = placed.parent
            else:
                node = children[name]
            entries += DIRENT.pack(self._positions[id(node)] >> NID_BITS, offset, FILE_TYPES[node.type])
            offset += len(name)
        return bytes(entries) + b"".join(names)

    def _fill_blocks(
        self, image: bytearray, placed: _Placed, blocks: list[bytes], after: int
    ) -> tuple[int, int]:
        """Layout and its word, for what lies in blocks of its own but for an inline tail."""
        first = self._first_outside + placed.outside
        outside = blocks
        if placed.inline:
            outside = blocks[:-1]
            image[after : after + len(blocks[-1])] = blocks[-1]
        at = first << self._bits
        for block in outside:
            image[at : at + len(block)] = block
            at += self._block
        return (LAYOUT_INLINE if placed.inline else LAYOUT_PLAIN), (first if outside else 0)

    def _fill_chunks(self, image: bytearray, placed: _Placed, at: int) -> None:
        inode = placed.inode
        bits = self._bits + placed.chunk_bits
        fragments = inode.fragments
        if len(fragments) == 1 and fragments[0][1] == inode.size <= 1 << bits:
            CHUNK_INDEX.pack_into(image, at, 0, DATA_DEVICE, fragments[0][2] >> self._bits)
            return
        blocks = [HOLE] * -(-inode.size >> bits)
        for start, length, position in fragments:
            for chunk in range(start >> bits, -(-(start + length) >> bits)):
                blocks[chunk] = position + (chunk << bits) - start >> self._bits
        for number, block in enumerate(blocks):
            device = 0 if block == HOLE else DATA_DEVICE
            CHUNK_INDEX.pack_into(image, at + number * CHUNK_INDEX.size, 0, device, block)

    def _finish(self, image: bytearray, inodes: int, blocks: int) -> None:
        """Superblock, device slot, checksum."""
        devices = 1 if self._data_blocks else 0
        SUPERBLOCK.pack_into(
            image, SUPERBLOCK_OFFSET, MAGIC, 0, COMPAT_CHECKSUM | COMPAT_MTIME, self._bits, 0,
            self._positions[id(self._root)] >> NID_BITS, inodes, 0, 0, blocks, 0,
            self._shared_block if self._shared else 0, self._uuid, b"",
            INCOMPAT_CHUNKS | (INCOMPAT_DEVICES if devices else 0), 0, devices,
            DEVICE_SLOT_OFFSET // DEVICE_SLOT.size, 0, 0, 0, 0,
        )  # fmt: skip
        if devices:
            DEVICE_SLOT.pack_into(image, DEVICE_SLOT_OFFSET, b"", self._data_blocks, blocks)
        crc = checksum(memoryview(image)[slice(*checked_range(self._bits))])
        image[SUPERBLOCK_OFFSET + 4 : SUPERBLOCK_OFFSET + 8] = crc.to_bytes(4, "little")


def _entries(placed: _Placed) -> list[bytes]:
    """Packed attributes, sorted by name; overlayfs's mark of an opaque directory is one of them."""
    xattrs = dict(placed.inode.xattrs or {})
    if placed.inode.opaque:
        xattrs[_OPAQUE] = b"y"
    return [_entry(placed.path, name, xattrs[name]) for name in sorted(xattrs)]


def _entry(path: bytes, name: bytes, value: bytes) -> bytes:
    shown = name.decode("utf-8", "backslashreplace")
    prefix, rest = XATTR_WHOLE_NAMES.get(name, 0), b""
    if not prefix:
        prefix, rest = next(
            ((number, name[len(text) :]) for text, number in XATTR_PREFIXES if name.startswith(text)),
            (0, b""),
        )
    if not prefix or len(rest) > 255 or len(value) > 0xFFFF:
        raise NotRepresentable(path, f"attribute {shown}: EROFS cannot hold it")
    entry = XATTR_ENTRY.pack(len(rest), prefix, len(value)) + rest + value
    return entry + bytes(-len(entry) % 4)


def _units(body: bytes) -> int:
    """The inode's count of an attribute body: 1 for the header, 1 more for every 4 bytes behind it."""
    return 1 + (len(body) - XATTR_HEADER.size) // 4 if body else 0


def _device_word(device: int) -> int:
    """``new_encode_dev`` of the kernel: 12 bits of major between the two parts of the minor."""
    major, minor = os.major(device), os.minor(device)
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


def _up(value: int, to: int) -> int:
    return -(-value // to) * to
