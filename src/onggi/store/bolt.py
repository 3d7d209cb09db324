"""Files of bbolt, the key-value store in which Docker keeps a volume's labels and options.

::

    file   = page { page }                     page size bytes each; pages 0 and 1 are the two metas
    page   = id u64, flags u16, count u16, overflow u32, …   (overflow: further pages it goes on in)
    meta   = magic, version, page size, flags u32 · root bucket · freelist, end, txid u64 · FNV-1a u64
    branch = count × { pos u32, key size u32, child u64 }, keys
    leaf   = count × { flags u32, pos u32, key size u32, value size u32 }, keys and values
    bucket = root u64, sequence u64            the value of a leaf entry with flag 1; root 0: a page follows
    free   = page numbers u64, ascending       (count 0xFFFF: the first number is the count)

All little-endian; ``pos`` counts from its own entry. Of the two metas the valid one with the
higher txid holds. A change writes new pages beside those in use, flushes, then the other meta:
at every moment one of the two is whole. dockerd has the file open with an exclusive lock for
life, so nobody but this module changes it while Onggi does, and it is changed in place: who
holds a lock on the file holds it on this inode.

These files are small (a line for each volume), so they are read and written as a whole.

Source: go.etcd.io/bbolt v1.3 (page.go, node.go, bucket.go, db.go, freelist.go).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from onggi.errors import DataLoss
from onggi.record import mutable_record, record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    Entries = dict[bytes, "bytes | Bucket"]

__all__ = ["Bucket", "CorruptDatabase", "read_database", "write_database"]

_PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
"""Bytes of a page: those of the machine that made the file. The first is what we make."""
_PAGE = struct.Struct("<QHHI")
_META = struct.Struct("<IIIIQQQQQ")
_BUCKET = struct.Struct("<QQ")
_BRANCH = struct.Struct("<IIQ")
_LEAF = struct.Struct("<IIII")
_U64 = struct.Struct("<Q")
_MAGIC, _VERSION = 0xED0CDAED, 2
_IS_BRANCH, _IS_LEAF, _IS_META, _IS_FREELIST = 1, 2, 4, 16
_HOLDS_BUCKET = 1
_MANY = 0xFFFF
_DEPTH_LIMIT = 32
"""Levels of a tree; a file that goes deeper has a loop in it."""


class CorruptDatabase(DataLoss):
    """A bbolt file that cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"read {path}: {reason}",
            hint="it holds the labels of volumes, not their files: moved away, it is made anew without them",
        )


class _Damage(Exception):
    """The same before the file's name is known."""


@mutable_record
class Bucket:
    """Keys to values, and to further buckets."""

    entries: Entries
    sequence: int = 0

    def bucket(self, name: bytes) -> Bucket:
        """The bucket ``name``, made if it is not there."""
        found = self.entries.setdefault(name, Bucket({}))
        if isinstance(found, bytes):
            raise KeyError(name)
        return found


@record
class _Meta:
    page_bytes: int
    root: int
    sequence: int
    freelist: int
    end: int
    txid: int

    def encode(self) -> bytes:
        trees = self.root, self.sequence, self.freelist, self.end, self.txid
        body = _META.pack(_MAGIC, _VERSION, self.page_bytes, 0, *trees)
        page = _PAGE.pack(self.txid % 2, _IS_META, 0, 0) + body + _U64.pack(_checksum(body))
        return page.ljust(self.page_bytes, b"\0")


def _checksum(data: bytes) -> int:
    """64-bit FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return value


# --- reading ------------------------------------------------------------------------------------


def read_database(path: Path) -> Bucket:
    """Everything in the file; an empty or missing file is an empty database. Raises CorruptDatabase."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Bucket({})
    return _read(path, data)[0]


def _read(path: Path, data: bytes) -> tuple[Bucket, _Meta | None, set[int]]:
    """The content, the meta that holds, and the pages in use."""
    if not data:
        return Bucket({}), None, set()
    try:
        meta = _current_meta(data)
        reader = _Reader(data, meta.page_bytes)
        entries = dict(reader.tree(meta.root))
        reader.used(meta.freelist)
    except (_Damage, struct.error) as error:
        raise CorruptDatabase(path, str(error)) from error
    return Bucket(entries, meta.sequence), meta, reader.pages


def _current_meta(data: bytes) -> _Meta:
    metas = [_meta(data, 0, size) for size in _PAGE_SIZES] + [_meta(data, size, size) for size in _PAGE_SIZES]
    valid = [meta for meta in metas if meta is not None]
    if not valid:
        raise _Damage("neither of its two metas is valid")
    return max(valid, key=lambda meta: meta.txid)


def _meta(data: bytes, at: int, page_bytes: int) -> _Meta | None:
    """The meta in the page that begins at ``at``, if it is one of a file with such pages."""
    start = at + _PAGE.size
    body = data[start : start + _META.size]
    if len(data) < start + _META.size + _U64.size or _U64.unpack_from(data, start + _META.size)[0] != (
        _checksum(body)
    ):
        return None
    magic, version, size, _, *rest = _META.unpack(body)
    return _Meta(size, *rest) if (magic, version, size) == (_MAGIC, _VERSION, page_bytes) else None


class _Reader:
    """Walks the trees of ``data``; ``pages`` gathers the numbers of those it saw."""

    def __init__(self, data: bytes, page_bytes: int) -> None:
        self._data = data
        self._page_bytes = page_bytes
        self.pages = {0, 1}

    def used(self, number: int) -> tuple[int, int, int]:
        """Note a page and those it goes on in; its kind, its count, where its entries begin."""
        start = number * self._page_bytes
        if number < 2 or start + self._page_bytes > len(self._data):
            raise _Damage(f"page {number} does not exist")
        _, flags, count, overflow = _PAGE.unpack_from(self._data, start)
        if start + (overflow + 1) * self._page_bytes > len(self._data):
            raise _Damage(f"page {number} goes beyond the end")
        self.pages.update(range(number, number + overflow + 1))
        return flags, count, start + _PAGE.size

    def tree(self, number: int, depth: int = 0) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Entries of the tree whose top is page ``number``, in order."""
        if depth > _DEPTH_LIMIT:
            raise _Damage("its tree has no end")
        flags, count, start = self.used(number)
        if flags & _IS_LEAF:
            yield from self._leaf(start, count, depth)
            return
        if not flags & _IS_BRANCH:
            raise _Damage(f"page {number} is of a kind that is not known here")
        for index in range(count):
            child = _BRANCH.unpack_from(self._data, start + index * _BRANCH.size)[2]
            yield from self.tree(child, depth + 1)

    def _leaf(self, start: int, count: int, depth: int) -> Iterator[tuple[bytes, bytes | Bucket]]:
        for index in range(count):
            at = start + index * _LEAF.size
            flags, position, key_size, value_size = _LEAF.unpack_from(self._data, at)
            middle = at + position + key_size
            key, value = self._data[at + position : middle], self._data[middle : middle + value_size]
            if len(key) != key_size or len(value) != value_size:
                raise _Damage("an entry goes beyond the end")
            yield key, self._bucket(middle, value, depth) if flags & _HOLDS_BUCKET else value

    def _bucket(self, at: int, value: bytes, depth: int) -> Bucket:
        root, sequence = _BUCKET.unpack_from(value)
        if root:
            return Bucket(dict(self.tree(root, depth + 1)), sequence)
        _, _, count, _ = _PAGE.unpack_from(value, _BUCKET.size)
        return Bucket(dict(self._leaf(at + _BUCKET.size + _PAGE.size, count, depth + 1)), sequence)


# --- writing ------------------------------------------------------------------------------------


def write_database(path: Path, content: Bucket, *, durable: bool = True) -> None:
    """Make ``content`` all that the file holds; it is there whole or the old one is.

    The caller is the only one who changes the file. ``durable``: also after a power cut.
    Raises CorruptDatabase, OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        data = _whole(fd)
        if not data:
            data = _fresh()
            os.pwrite(fd, data, 0)
        _, meta, pages = _read(path, data)
        assert meta is not None
        _commit(fd, _Writer(pages, meta), content, meta, durable=durable)
    finally:
        os.close(fd)


def _whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _fresh() -> bytes:
    """As bbolt lays a file out: two metas, an empty freelist, an empty leaf."""
    size = _PAGE_SIZES[0]
    metas = [_Meta(size, 3, 0, 2, 4, txid).encode() for txid in (0, 1)]
    rest = [_PAGE.pack(2, _IS_FREELIST, 0, 0), _PAGE.pack(3, _IS_LEAF, 0, 0)]
    return b"".join([*metas, *(page.ljust(size, b"\0") for page in rest)])


def _commit(fd: int, writer: _Writer, content: Bucket, meta: _Meta, *, durable: bool) -> None:
    root = writer.tree(content.entries)
    freelist = writer.freelist()
    for number, data in writer.written.items():
        os.pwrite(fd, data, number * meta.page_bytes)
    # bbolt maps the file, and wants every page below the end to be there.
    if os.fstat(fd).st_size < writer.end * meta.page_bytes:
        os.ftruncate(fd, writer.end * meta.page_bytes)
    if durable:
        os.fsync(fd)
    fresh = _Meta(meta.page_bytes, root, content.sequence, freelist, writer.end, meta.txid + 1)
    os.pwrite(fd, fresh.encode(), fresh.txid % 2 * meta.page_bytes)
    if durable:
        os.fsync(fd)


class _Writer:
    """Gives pages that ``used`` ones are not in; ``written`` is what goes to the file, by page number."""

    def __init__(self, used: set[int], meta: _Meta) -> None:
        self._used = used
        self._page_bytes = meta.page_bytes
        self.end = meta.end
        self.written: dict[int, bytes] = {}

    def _place(self, bytes_: int) -> tuple[int, int]:
        """The first of enough free pages in a row, and how many follow it."""
        count = -(-bytes_ // self._page_bytes)
        taken = self._used | self._mine()
        number, run = 2, 0
        for page in range(2, self.end):
            run = 0 if page in taken else run + 1
            if run == count:
                return page - count + 1, count - 1
        number = self.end - run
        self.end = number + count
        return number, count - 1

    def _mine(self) -> set[int]:
        return {
            page
            for number, data in self.written.items()
            for page in range(number, number + len(data) // self._page_bytes)
        }

    def _put(self, flags: int, count: int, body: bytes) -> int:
        number, overflow = self._place(_PAGE.size + len(body))
        page = _PAGE.pack(number, flags, count, overflow) + body
        self.written[number] = page.ljust((overflow + 1) * self._page_bytes, b"\0")
        return number

    def tree(self, entries: Entries) -> int:
        """Write a tree; the number of its top page."""
        items = [self._item(key, value) for key, value in sorted(entries.items())]
        groups = _groups(items, self._page_bytes)
        level = [(group[0][1] if group else b"", self._leaf(group)) for group in groups]
        while len(level) > 1:
            level = [(group[0][0], self._branch(group)) for group in _halves(level, self._page_bytes)]
        return level[0][1]

    def _item(self, key: bytes, value: bytes | Bucket) -> tuple[int, bytes, bytes]:
        if isinstance(value, Bucket):
            return _HOLDS_BUCKET, key, _BUCKET.pack(self.tree(value.entries), value.sequence)
        return 0, key, value

    def _leaf(self, items: list[tuple[int, bytes, bytes]]) -> int:
        heads, bodies, position = [], [], len(items) * _LEAF.size
        for index, (flags, key, value) in enumerate(items):
            heads.append(_LEAF.pack(flags, position - index * _LEAF.size, len(key), len(value)))
            bodies += [key, value]
            position += len(key) + len(value)
        return self._put(_IS_LEAF, len(items), b"".join([*heads, *bodies]))

    def _branch(self, children: list[tuple[bytes, int]]) -> int:
        heads, keys, position = [], [], len(children) * _BRANCH.size
        for index, (key, child) in enumerate(children):
            heads.append(_BRANCH.pack(position - index * _BRANCH.size, len(key), child))
            keys.append(key)
            position += len(key)
        return self._put(_IS_BRANCH, len(children), b"".join([*heads, *keys]))

    def freelist(self) -> int:
        """Write what is free once the old meta no longer counts; the number of its page."""
        room = _PAGE.size + (self.end + 2) * _U64.size
        number, overflow = self._place(room)
        mine = self._mine() | set(range(number, number + overflow + 1))
        free = [page for page in range(2, self.end) if page not in mine]
        count = [len(free)] if len(free) >= _MANY else []
        body = b"".join(_U64.pack(entry) for entry in [*count, *free])
        page = _PAGE.pack(number, _IS_FREELIST, min(len(free), _MANY), overflow) + body
        self.written[number] = page.ljust((overflow + 1) * self._page_bytes, b"\0")
        return number


def _groups(items: list[tuple[int, bytes, bytes]], room: int) -> Iterator[list[tuple[int, bytes, bytes]]]:
    """Runs that fit a page; one that does not has pages of its own. Of nothing: one empty run."""
    group: list[tuple[int, bytes, bytes]] = []
    size = _PAGE.size
    for item in items:
        more = _LEAF.size + len(item[1]) + len(item[2])
        if group and size + more > room:
            yield group
            group, size = [], _PAGE.size
        group.append(item)
        size += more
    yield group


def _halves(level: list[tuple[bytes, int]], room: int) -> Iterator[list[tuple[bytes, int]]]:
    """Runs of children that fit a page, never a single one: a tree must get narrower."""
    group: list[tuple[bytes, int]] = []
    size = _PAGE.size
    for key, child in level:
        more = _BRANCH.size + len(key)
        if len(group) > 1 and size + more > room:
            yield group
            group, size = [], _PAGE.size
        group.append((key, child))
        size += more
    yield group
