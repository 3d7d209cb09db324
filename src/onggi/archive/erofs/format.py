"""EROFS on disk, as far as an index over a tar uses it (Linux, ``fs/erofs/erofs_fs.h``).

::

    0      boot area, zeros
    1024   superblock, 128 bytes
    1152   slot of device 1, 128 bytes: the tar (or the repacked data) with the files' contents
    1280   inodes, each on a multiple of 32 bytes; its number (nid) is its position / 32
           │ inode 64 │ attributes │ chunk index or inline tail │
    ⋯      attributes that several inodes share, on a block of their own
    ⋯      directory blocks and long link targets, whole blocks

    directory block:  n × │ nid u64 │ name offset u16 │ type u8 │ 0 │, then the names, sorted
    attributes:       │ 0 u32 │ shared u8 │ 0×7 │ shared ids u32… │ entries… │
    entry:            │ name length u8 │ prefix u8 │ value length u16 │ name │ value │ to 4 bytes
    chunk index:      │ 0 u16 │ device u16 │ block u32 │, one for every chunk of a file

All numbers are little endian. Blocks have 512 bytes, so that a member's content lies on one
wherever it stands in a tar, or 4096.
"""

from __future__ import annotations

import stat
import struct

from onggi.errors import DataLoss, Unsupported

__all__ = [
    "BLOCK_BITS_4K",
    "BLOCK_BITS_TAR",
    "CHUNK_INDEX",
    "DEVICE_SLOT",
    "DIRENT",
    "FILE_TYPES",
    "HOLE",
    "INODE",
    "InvalidIndex",
    "LAYOUT_CHUNKS",
    "LAYOUT_INLINE",
    "LAYOUT_PLAIN",
    "NAME_MAX",
    "NotRepresentable",
    "SUPERBLOCK",
    "SUPERBLOCK_OFFSET",
    "XATTR_PREFIXES",
    "checksum",
]

BLOCK_BITS_TAR = 9
BLOCK_BITS_4K = 12

MAGIC = 0xE0F5E1E2
SUPERBLOCK_OFFSET = 1024
SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQ24x")
"""magic, crc, compat, block bits, slots, root nid, inodes, epoch s, ns, blocks, meta block, attribute
block, uuid, volume name, incompat, compression, devices, device slot / 128, directory bits, …"""

DEVICE_SLOT_OFFSET = SUPERBLOCK_OFFSET + SUPERBLOCK.size
DEVICE_SLOT = struct.Struct("<64sII56x")
"""tag, blocks, first block when it is addressed behind the image itself."""

METADATA_OFFSET = DEVICE_SLOT_OFFSET + DEVICE_SLOT.size
NID_BITS = 5

INODE = struct.Struct("<HHHHQIIIIqII16x")
"""format, attribute units, mode, 0, size, layout's word, number, uid, gid, mtime s, ns, names."""
EXTENDED = 1  # bit 0 of the format: 64 bytes, with times and 32-bit owners; the layout stands in bits 1–3
LAYOUT_PLAIN, LAYOUT_INLINE, LAYOUT_CHUNKS = 0, 2, 4

DIRENT = struct.Struct("<QHBx")
FILE_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}
NAME_MAX = 255

CHUNK_INDEX = struct.Struct("<HHI")
CHUNK_WITH_INDEX = 0x20  # in the layout's word, beside the bits of the chunk's size
CHUNK_BITS_MAX = 31
HOLE = 0xFFFFFFFF
DATA_DEVICE = 1
BLOCKS_MAX = 2**32 - 1
"""Block numbers have 32 bits: 2 TiB of tar in blocks of 512 bytes."""

XATTR_HEADER = struct.Struct("<IB7x")
XATTR_ENTRY = struct.Struct("<BBH")
XATTR_PREFIXES = ((b"user.", 1), (b"trusted.", 4), (b"security.", 6))
XATTR_WHOLE_NAMES = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
XATTR_UNITS_MAX = 0xFFFF

COMPAT_CHECKSUM, COMPAT_MTIME = 1, 2
INCOMPAT_CHUNKS, INCOMPAT_DEVICES = 4, 8

_CRC_SEED = 0x5045B54A


class InvalidIndex(DataLoss):
    """The bytes are no EROFS index of ours, or a damaged one."""

    def __init__(self, cause: str, name: str = "EROFS index") -> None:
        super().__init__(f"read {name}: {cause}", hint="'onggi repair' writes the layer's index anew")


class NotRepresentable(Unsupported):
    """A layer that EROFS cannot show; it has to be unpacked instead. ``path`` is below the layer's root."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"index layer: /{path.decode('utf-8', 'backslashreplace')}: {reason}")
        self.path = path
        self.reason = reason


def checksum(block: bytes | bytearray | memoryview) -> int:
    """CRC-32C of the superblock's block, from behind its own crc; the kernel's seed, no final inversion."""
    from fastcrc.crc32 import iscsi

    return int(iscsi(bytes(block), _CRC_SEED ^ 0xFFFFFFFF)) ^ 0xFFFFFFFF


def checked_range(block_bits: int) -> tuple[int, int]:
    """Where the checksummed bytes begin and end: up to the end of the block that the superblock is in."""
    size = 1 << block_bits
    start = SUPERBLOCK_OFFSET + 8
    return start, SUPERBLOCK_OFFSET + (size - SUPERBLOCK_OFFSET if size > SUPERBLOCK_OFFSET else size)
