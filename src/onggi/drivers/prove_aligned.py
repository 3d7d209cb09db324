"""A worker's job: is a layer whose contents lie on blocks of 4 KiB still what was pulled?

Two parts, which run beside each other:

* ``content`` puts the tar together from tar-split and contents and hashes it; the data file is read
  once, from its start, and where the digest is wrong the CRCs of tar-split name the contents. What
  lies between contents is in no digest, so it must be NUL bytes.
* ``tree`` derives the index anew from the archive's headers, which stand in tar-split whole, and
  compares it with the one that is mounted.

``fast`` reads neither: the files' sizes, and whether anything was touched since the layer was made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256

from onggi.archive.crc64 import crc64
from onggi.archive.erofs.format import BLOCK_BITS_4K, NotRepresentable
from onggi.archive.tar import InvalidTar, TarReader
from onggi.archive.tar_format import clamp_path
from onggi.archive.tarsplit import FileEntry, InvalidTarSplit, Segment, TarSplitReader, read_gzip
from onggi.drivers.aligned import on_block, placed, scan
from onggi.drivers.erofs_names import DATA, INDEX, SPLIT
from onggi.drivers.keep import tree_index
from onggi.drivers.prove_index import Told, fast_flaws, index_flaws, kept_file, readable_index
from onggi.drivers.report import Report, Send
from onggi.drivers.stream import confine
from onggi.drivers.unpacked import hollow
from onggi.tree.errors import InvalidLayer, errno_text

__all__ = ["prove_aligned"]

# Bytes of the data file read and hashed at once: what the cores' caches hold.
_WINDOW_BYTES = 512 * 1024


def prove_aligned(request: dict[str, object], send: Send) -> dict[str, object]:
    """Do one part; request and result are those of prove.py."""
    with ExitStack() as stack:
        layer = _Layer(str(request["directory"]), stack)
        confine(layer.directory, ())
        report = Report(send)
        try:
            result = _PARTS[str(request["part"])](layer, request, report)
        except InvalidTarSplit as error:
            result = {"flaws": [(f"erofs/{SPLIT}", error.message, False)]}
        except OSError as error:
            reason = f"cannot be read: {errno_text(error.errno or 0)}"
            result = {"flaws": [(f"erofs/{DATA}", reason, False)]}
        report.flush()
    return {"flaws": [], **result}


class _Layer:
    """The files of one layer, opened."""

    def __init__(self, path: str, stack: ExitStack) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC
        self.directory = os.open(path, flags | os.O_DIRECTORY)
        stack.callback(os.close, self.directory)
        self.data = os.open(DATA, flags, dir_fd=self.directory)
        stack.callback(os.close, self.data)
        self._split = os.open(SPLIT, flags, dir_fd=self.directory)
        stack.callback(os.close, self._split)
        self.image = kept_file(self.directory, INDEX)

    @contextmanager
    def entries(self) -> Iterator[TarSplitReader]:
        """tar-split from its start. Raises (inside the block) InvalidTarSplit."""
        os.lseek(self._split, 0, os.SEEK_SET)
        with open(self._split, "rb", closefd=False) as file, read_gzip(file) as entries:
            yield entries


# --- contents ---------------------------------------------------------------------------------


class _Window:
    """The data file, read once from its start in large pieces; positions only grow."""

    def __init__(self, fd: int) -> None:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        self._fd = fd
        self._buffer = memoryview(bytearray(_WINDOW_BYTES))
        self._start = self._end = 0

    def pieces(self, position: int, length: int) -> Iterator[memoryview]:
        """``length`` bytes, fewer where the file ends; each piece is valid until the next."""
        while length:
            if position >= self._end:
                self._start = position
                self._end = position + os.preadv(self._fd, [self._buffer], position)
                if position == self._end:
                    return
            begin = position - self._start
            piece = self._buffer[begin : min(begin + length, self._end - self._start)]
            yield piece
            position += len(piece)
            length -= len(piece)


def _content(layer: _Layer, request: dict[str, object], report: Report) -> dict[str, object]:
    hashed = sha256()
    size = end = 0
    wrong: list[tuple[bytes, str, str]] = []
    window = _Window(layer.data)
    with layer.entries() as entries:
        for entry, position in placed(entries):
            if isinstance(entry, Segment):
                hashed.update(entry.payload)
                size += len(entry.payload)
                continue
            crc = done = 0
            for piece in window.pieces(position, entry.size):
                hashed.update(piece)
                crc = crc64(piece, crc)
                done += len(piece)
            size += done
            end = on_block(position + entry.size)
            if done != entry.size:
                wrong.append((entry.name, f"{entry.size} bytes", f"{done} bytes"))
            elif crc != (entry.crc or 0):
                wrong.append((entry.name, "", ""))
            if any(
                bytes(piece).strip(b"\0") for piece in window.pieces(position + done, end - position - done)
            ):
                report.add(entry.name, "padding")
    diff_id = f"sha256:{hashed.hexdigest()}"
    return {
        "diff_id": diff_id,
        "bytes": size,
        "file": f"erofs/{DATA}",
        "flaws": [*_blame(wrong, diff_id == request["diff_id"], report), *_behind(layer, end)],
    }


def _blame(wrong: list[tuple[bytes, str, str]], proved: bool, report: Report) -> Iterator[Told]:
    """With the digest right it is the checksums that are wrong."""
    if proved and wrong:
        yield f"erofs/{SPLIT}", f"has the wrong checksum of {len(wrong)} contents", False
    for name, expected, found in () if proved else wrong:
        report.add(name, "content", expected, found)


def _behind(layer: _Layer, end: int) -> Iterator[Told]:
    size = os.fstat(layer.data).st_size
    if size > end:
        yield f"erofs/{DATA}", f"has {size} bytes, its contents end at {end}", False


# --- the tree ---------------------------------------------------------------------------------


def _tree(layer: _Layer, request: dict[str, object], report: Report) -> dict[str, object]:
    with layer.entries() as entries:
        try:
            scanned = scan(TarReader(hollow(entries)))
            uuid = bytes.fromhex(str(request["uuid"]))
            image = bytes(tree_index(scanned.tree, scanned.end, uuid, block_bits=BLOCK_BITS_4K))
        except InvalidTar as error:
            return {"flaws": [_unreadable(layer, error, report)]}
        except (InvalidLayer, NotRepresentable) as error:
            return {"flaws": [(f"erofs/{SPLIT}", error.message, False)]}
    size, header_size = scanned.tree.sizes()
    derived = list(index_flaws(layer.image, image, SPLIT, report))
    return {"size": size, "header_size": header_size, "derived": derived}


def _unreadable(layer: _Layer, error: InvalidTar, report: Report) -> Told:
    """A header that cannot be read; whose it was, tar-split says behind it."""
    with layer.entries() as entries:
        name = _owner(entries, error.offset)
    if name:
        report.add(clamp_path(name), "header")
    return f"erofs/{SPLIT}", f"the header before byte {error.offset} cannot be read: {error.message}", False


def _owner(entries: Iterable[Segment | FileEntry], offset: int) -> bytes:
    """The member whose content begins at or behind an offset of the archive."""
    position = 0
    for entry in entries:
        if isinstance(entry, FileEntry):
            if position >= offset:
                return entry.name
            position += entry.size
        else:
            position += len(entry.payload)
    return b""


# --- fast -------------------------------------------------------------------------------------


def _fast(layer: _Layer, request: dict[str, object], report: Report) -> dict[str, object]:
    index = readable_index(layer.image)
    return {"flaws": fast_flaws(layer.directory, (DATA, INDEX, SPLIT), index, request)}


_PARTS = {"content": _content, "tree": _tree, "fast": _fast}
