"""Read a tar archive from a stream of chunks: members in order, contents without copies.

    reader = TarReader(decompressed(blob))
    for member in reader:
        for piece in reader.read_content():
            ...

What is a member is decided by the rules of Go's ``archive/tar`` (and so of Docker):
USTAR, PAX, GNU, STAR and V7 headers, long names, base-256 numbers, sparse files. A
content that nobody reads is skipped; the bytes behind the end of the archive are read
too, since a layer's digest covers them. An observer sees every byte of the stream once,
in order, split into what is content and what is not: tar-split is such an observer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.archive.tar_format import (
    BLOCK,
    DEVICE_BLOCK,
    DEVICE_CHARACTER,
    DIRECTORY,
    EXTENDED_HEADER,
    FIFO,
    GLOBAL_HEADER,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    GNU_MAGIC,
    HEADER_ONLY,
    LINK,
    REGULAR,
    REGULAR_V7,
    SPARSE_GNU,
    SYMLINK,
    ZERO_BLOCK,
    InvalidTar,
    Member,
    TarTooLarge,
    TruncatedTar,
    parse_header,
    parse_number,
)
from onggi.archive.tar_observer import TarObserver
from onggi.archive.tar_pax import (
    merge_records,
    merge_sparse_records,
    parse_old_sparse_map,
    parse_records,
    parse_sparse_map_0_1,
    parse_sparse_map_1_0,
    sparse_map_1_0_lines,
    sparse_version,
    validate_sparse_map,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "DEVICE_BLOCK",
    "DEVICE_CHARACTER",
    "DIRECTORY",
    "FIFO",
    "GLOBAL_HEADER",
    "LINK",
    "REGULAR",
    "SPARSE_GNU",
    "SYMLINK",
    "InvalidTar",
    "Member",
    "TarObserver",
    "TarReader",
    "TarTooLarge",
    "TruncatedTar",
]

SPECIAL_LIMIT = 1 << 20
"""Bytes of one extension header, long name or sparse map: Go's limit (CVE-2022-2879, CVE-2025-58183).

A larger one is refused with Go's text."""

SPECIALS_LIMIT = 8 << 20
"""Bytes of all extension headers before one member. Go has no such limit and a row of them grows
its memory without end; nobody needs more than one of each kind."""

TAIL_PIECE = 1 << 20
"""Bytes behind the end of the archive that are handed on at once (tar-split's segment limit)."""

_ZEROS = bytes(1 << 16)
_SPECIAL_TYPES = frozenset((EXTENDED_HEADER, GLOBAL_HEADER, GNU_LONG_NAME, GNU_LONG_LINK))


class TarReader:
    """Members of one archive, in order, once.

    ``chunks`` are pieces of the uncompressed stream of any sizes; one chunk is held at a
    time. Iterate it once; :meth:`read_content` or :meth:`read_data` belong to the member
    that the iteration gave last. The pieces they give are views of a chunk: immutable,
    and valid as long as they are held.

    Raises (while iterating or reading):
        InvalidTar: the stream is no archive. Whatever ``chunks`` raises passes through.
    """

    def __init__(self, chunks: Iterable[bytes], *, observer: TarObserver | None = None) -> None:
        self._chunks = iter(chunks)
        self._observer = observer
        self._chunk = b""
        self._view = memoryview(b"")
        self._position = 0
        self._passed = 0  # bytes of the chunks before this one
        self._remaining = 0  # physical bytes of the current content not yet read
        self._padding = 0
        self._member: Member | None = None
        self._raw: list[bytes] = []  # bytes since the last content, for the observer
        self._numbers: dict[bytes, int] = {}

    @property
    def offset(self) -> int:
        """Bytes of the stream consumed so far."""
        return self._passed + self._position

    def __iter__(self) -> Iterator[Member]:
        try:
            while (member := self._next()) is not None:
                yield member
            self._read_tail()
        except InvalidTar as error:
            if error.offset < 0:
                error.offset = self.offset
            raise

    # -- contents

    def read_content(self) -> Iterator[bytes | memoryview]:
        """The current member's content in pieces; the holes of a sparse member as NUL bytes."""
        member = self._member
        if member is not None and member.sparse is not None:
            yield from self._read_expanded(member)
            return
        while self._remaining:
            yield self._read_piece(self._remaining)

    def read_data(self) -> Iterator[tuple[int, bytes | memoryview]]:
        """The current member's content as (offset, piece), without the holes of a sparse member.

        A content passes once: what has been read is not given again.
        """
        member = self._member
        fragments = ((0, self._remaining),) if member is None or member.sparse is None else member.sparse
        for offset, length in fragments:
            end = offset + length
            while offset < end and self._remaining:
                piece = self._read_piece(end - offset)
                yield offset, piece
                offset += len(piece)

    def skip_content(self, skip: Callable[[int], None]) -> None:
        """Pass over the current content without reading it; ``skip`` moves the source on by so many bytes.

        Not with an observer, which must see every byte.
        """
        here = min(self._remaining, len(self._chunk) - self._position)
        beyond = self._remaining - here
        self._position += here
        self._remaining = 0
        if beyond:
            skip(beyond)
            self._passed += beyond

    def _read_expanded(self, member: Member) -> Iterator[bytes | memoryview]:
        position = 0
        for offset, piece in self.read_data():
            yield from _zeros(offset - position)
            yield piece
            position = offset + len(piece)
        yield from _zeros(member.size - position)

    def _read_piece(self, limit: int) -> bytes | memoryview:
        """The next at most ``limit`` bytes of content, as many as the chunk at hand has."""
        if self._position == len(self._chunk) and not self._load():
            raise TruncatedTar(offset=self.offset)
        start = self._position
        end = min(start + limit, len(self._chunk))
        piece = self._chunk if end - start == len(self._chunk) else self._view[start:end]
        self._position = end
        self._remaining -= end - start
        if self._observer is not None and self._member is not None:
            if self._member.sparse is None:
                self._observer.content(piece)
            else:
                self._observer.segment(bytes(piece))
        return piece

    def _load(self) -> bool:
        """Make the next non-empty chunk the current one; False at the end of the stream."""
        for chunk in self._chunks:
            if chunk:
                self._passed += len(self._chunk)
                self._chunk = chunk
                self._view = memoryview(chunk)
                self._position = 0
                return True
        return False

    # -- headers

    def _next(self) -> Member | None:
        if self._member is not None:
            self._finish_member(self._member)
        block = self._read_header()
        if block is None:
            return None
        member = parse_header(block, self._numbers)
        if member.type in _SPECIAL_TYPES:
            merged = self._read_specials(member)
            if merged is None:
                return None
            member = merged
        else:
            if member.type == REGULAR_V7:
                _resolve_v7_type(member)
            self._open_content(member)
            if member.type == SPARSE_GNU:
                self._read_old_sparse_map(member, block)
        if self._observer is not None:
            self._flush_segment(self._observer)
            self._observer.begin(member)
        self._member = member
        return member

    def _finish_member(self, member: Member) -> None:
        """Pass over what is left of the content."""
        while self._remaining:
            self._read_piece(self._remaining)
        self._member = None
        if self._observer is not None:
            self._observer.finish(member)

    def _flush_segment(self, observer: TarObserver) -> None:
        raw = self._raw
        if raw:
            observer.segment(raw[0] if len(raw) == 1 else b"".join(raw))
            self._raw = []

    def _read_header(self) -> bytes | None:
        """The next header block, the padding before it skipped; None at the archive's end.

        The end is where the stream ends (in padding, between blocks, or behind one block of
        NULs), or two blocks of NULs.
        """
        padding, self._padding = self._padding, 0
        raw = self._take(padding + BLOCK)
        if len(raw) <= padding:
            return None
        block = raw[padding:] if padding else raw
        if len(block) < BLOCK:
            raise TruncatedTar(offset=self.offset)
        if block[0] or block != ZERO_BLOCK:
            return block
        block = self._take(BLOCK)
        if not block or block == ZERO_BLOCK:
            return None
        raise TruncatedTar(offset=self.offset) if len(block) < BLOCK else InvalidTar(offset=self.offset)

    def _take(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end of the stream, noted as no content."""
        if self._position == len(self._chunk):
            self._load()
        start = self._position
        end = start + size
        if end <= len(self._chunk):
            data = self._chunk[start:end]
            self._position = end
        else:
            data = self._take_across(size)
        if self._observer is not None and data:
            self._raw.append(data)
        return data

    def _take_across(self, size: int) -> bytes:
        parts = []
        while size:
            if self._position == len(self._chunk) and not self._load():
                break
            part = self._chunk[self._position : self._position + size]
            self._position += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _open_content(self, member: Member) -> None:
        """Get ready to read the content that the member's size tells of."""
        if member.type in HEADER_ONLY:
            # Some writers give hard links the size of their target. Go's reader keeps that
            # number, and Docker's tar-split then asks for a content that is not in the
            # archive when it puts the layer together again. There is none, so its size is 0.
            member.size = 0
        elif member.size < 0:
            raise InvalidTar(offset=self.offset)
        self._remaining = member.size
        self._padding = -member.size % BLOCK

    def _read_special(self, header: Member, spent: int) -> bytes:
        """The data of an extension header, its padding skipped."""
        if header.size < 0:
            raise InvalidTar(offset=self.offset)
        if header.size > SPECIAL_LIMIT or spent + header.size > SPECIALS_LIMIT:
            raise TarTooLarge("archive/tar: header field too long", offset=self.offset)
        data = self._take(header.size)
        if len(data) < header.size:
            raise TruncatedTar(offset=self.offset)
        self._padding = -header.size % BLOCK
        return data

    def _read_specials(self, header: Member) -> Member | None:
        """Read extension headers up to the member they belong to, and merge them into it."""
        records: dict[bytes, bytes] = {}
        name = link = b""
        spent = 0
        block = b""
        while header.type in _SPECIAL_TYPES:
            data = self._read_special(header, spent)
            spent += BLOCK + len(data)
            if header.type == GNU_LONG_NAME:
                name = data.split(b"\0", 1)[0]
            elif header.type == GNU_LONG_LINK:
                link = data.split(b"\0", 1)[0]
            else:
                records = parse_records(data)
                if header.type == GLOBAL_HEADER:
                    return _global_member(header, records)
            if (following := self._read_header()) is None:
                return None
            block = following
            header = parse_header(block, self._numbers)
        if header.size < 0 and header.type not in HEADER_ONLY:
            raise InvalidTar(offset=self.offset)
        return self._merge(header, block, records, name, link)

    def _merge(
        self, member: Member, block: bytes, records: dict[bytes, bytes], name: bytes, link: bytes
    ) -> Member:
        merge_records(member, records)
        if name:
            member.name = name
        if link:
            member.linkname = link
        if member.type == REGULAR_V7:
            _resolve_v7_type(member)
        self._open_content(member)
        if member.type == SPARSE_GNU:
            self._read_old_sparse_map(member, block)
        elif version := sparse_version(records):
            self._read_pax_sparse_map(member, records, version)
        return member

    # -- sparse maps

    def _read_old_sparse_map(self, member: Member, block: bytes) -> None:
        """The map of a GNU sparse member; STAR's has the same type and another layout."""
        if block[257:265] != GNU_MAGIC:
            raise InvalidTar(offset=self.offset)
        member.size = parse_number(block[483:495])
        pairs, extended = parse_old_sparse_map(block, 386, 4)
        spent = BLOCK
        while extended:
            spent += BLOCK
            if spent > SPECIAL_LIMIT:
                raise TarTooLarge("archive/tar: sparse map too long", offset=self.offset)
            block = self._take(BLOCK)
            if len(block) < BLOCK:
                raise TruncatedTar(offset=self.offset)
            more, extended = parse_old_sparse_map(block, 0, 21)
            pairs += more
        self._set_sparse(member, tuple(pairs))

    def _read_pax_sparse_map(self, member: Member, records: dict[bytes, bytes], version: bytes) -> None:
        if member.type in HEADER_ONLY:
            raise InvalidTar(offset=self.offset)
        merge_sparse_records(member, records)
        if version == b"0.1":
            self._set_sparse(member, parse_sparse_map_0_1(records))
        else:
            self._set_sparse(member, parse_sparse_map_1_0(self._read_sparse_map_1_0()))

    def _read_sparse_map_1_0(self) -> bytes:
        """The blocks at the start of the content that hold the map."""
        text = b""
        wanted = 1
        found = 0
        while found < wanted:
            if len(text) >= SPECIAL_LIMIT:
                raise TarTooLarge("archive/tar: sparse map too long", offset=self.offset)
            block = self._take(BLOCK) if self._remaining >= BLOCK else b""
            if len(block) < BLOCK:
                raise TruncatedTar(offset=self.offset)
            self._remaining -= BLOCK
            found += block.count(b"\n")
            text += block
            if wanted == 1 and found:
                wanted = sparse_map_1_0_lines(text)
        return text

    def _set_sparse(self, member: Member, pairs: tuple[tuple[int, int], ...]) -> None:
        validate_sparse_map(pairs, member.size)
        data = sum(length for _, length in pairs)
        if data > self._remaining:
            raise InvalidTar("archive/tar: sparse file references non-existent data", offset=self.offset)
        if data < self._remaining:
            raise InvalidTar("archive/tar: sparse file contains unreferenced data", offset=self.offset)
        member.sparse = pairs

    # -- the end

    def _read_tail(self) -> None:
        """Pass what follows the end of the archive, so that the whole stream has been seen."""
        observer = self._observer
        if observer is None:
            while self._load():
                pass
            self._position = len(self._chunk)
            return
        self._flush_segment(observer)
        while piece := self._take_across(TAIL_PIECE):
            observer.segment(piece)
        observer.end()


def _resolve_v7_type(member: Member) -> None:
    """Old archives mark a directory by a slash at the end of its name."""
    member.type = DIRECTORY if member.name[-1:] == b"/" else REGULAR


def _global_member(header: Member, records: dict[bytes, bytes]) -> Member:
    """A global header shows up as a member of its own, with nothing but a name; values are not looked at."""
    return Member(records.get(b"path") or header.name, GLOBAL_HEADER)


def _zeros(size: int) -> Iterator[bytes | memoryview]:
    while size > 0:
        piece = _ZEROS if size >= len(_ZEROS) else memoryview(_ZEROS)[:size]
        yield piece
        size -= len(piece)
