"""A worker's job: is a layer that is a tar and an index still what was pulled?

Two parts, which run beside each other:

* ``content`` hashes the tar from end to end. Only when that is not the diffID is it read a second
  time, and the checksums of layer.sums name the members that changed.
* ``tree`` derives the index anew from the tar's headers, passing over the contents, and compares
  it with the one that is mounted; where they differ, path by path.

Which of the two is wrong where tar and index differ tells the diffID: with the tar proved, the
index can be written anew (rederive.py), else the headers of the tar have changed.

``fast`` reads neither: the files' sizes, and whether anything was touched since the layer was made.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256

from onggi.archive.erofs.format import InvalidIndex, NotRepresentable
from onggi.archive.erofs.reader import Index
from onggi.archive.layer_sums import BLOCK, ContentSum, InvalidSums, crc32_function, read_sums
from onggi.archive.tar import InvalidTar, Member, TarReader, TruncatedTar
from onggi.archive.tar_format import clamp_path
from onggi.drivers.aligned import data_bytes
from onggi.drivers.erofs_names import INDEX, SUMS, TAR
from onggi.drivers.keep import tree_index
from onggi.drivers.prove_index import Told, fast_flaws, index_flaws, kept_file, readable_index
from onggi.drivers.report import Report, Send
from onggi.drivers.stream import confine
from onggi.tree.errors import InvalidLayer, errno_text
from onggi.tree.expected import ExpectedTree

__all__ = ["prove"]

# Bytes hashed at once, in one buffer that stays in the cores' caches; and of a member read for its checksum.
_BUFFER_BYTES = 512 * 1024
# Bytes read at once where only headers matter: a few small members, not the content of a large one.
_HEADER_BYTES = 16 * 1024


def prove(request: dict[str, object], send: Send) -> dict[str, object]:
    """Do one part; ``request`` has ``part``, the layer's ``directory``, ``diff_id``, ``uuid`` in hex.

    The result has ``flaws`` (file, reason, mendable), and the part's own: ``diff_id`` and
    ``bytes`` of the tar; or ``size``, ``header_size`` and ``derived``: the flaws of what follows
    from the tar, which hold only if the tar does.
    """
    with ExitStack() as stack:
        layer = _Layer(str(request["directory"]), stack)
        confine(layer.directory, ())
        report = Report(send)
        try:
            result = _PARTS[str(request["part"])](layer, request, report)
        except OSError as error:
            result = {"flaws": [(f"erofs/{TAR}", f"cannot be read: {errno_text(error.errno or 0)}", False)]}
        report.flush()
    return {"flaws": [], **result}


class _Layer:
    """The files of one layer, opened; those that follow from the tar may be missing or damaged."""

    def __init__(self, path: str, stack: ExitStack) -> None:
        self.directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, self.directory)
        self.tar = os.open(TAR, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
        stack.callback(os.close, self.tar)
        self.image = kept_file(self.directory, INDEX)
        self._sums = kept_file(self.directory, SUMS)

    def index(self) -> Index | None:
        """The index, where it can be read at all."""
        return readable_index(self.image)

    def sums(self) -> list[ContentSum] | None:
        """The checksums, where they can be read."""
        try:
            return None if self._sums is None else list(read_sums(self._sums))
        except InvalidSums:
            return None

    def members(self) -> Iterator[tuple[Member, int]]:
        """The archive's members and where their contents begin, passed over. Raises InvalidTar."""
        position = 0

        def pieces() -> Iterator[bytes]:
            nonlocal position
            while piece := os.pread(self.tar, _HEADER_BYTES, position):
                position += len(piece)
                yield piece

        def skip(size: int) -> None:
            nonlocal position
            position += size

        reader = TarReader(pieces())
        size = os.fstat(self.tar).st_size
        for member in reader:
            yield member, reader.offset
            reader.skip_content(skip)
            if reader.offset > size:
                raise TruncatedTar(offset=size)


# --- contents ---------------------------------------------------------------------------------


def _content(layer: _Layer, request: dict[str, object], report: Report) -> dict[str, object]:
    diff_id, size = _digest(layer.tar)
    if diff_id != request["diff_id"]:
        _name_contents(layer, report)
    return {"diff_id": diff_id, "bytes": size, "file": f"erofs/{TAR}"}


def _digest(fd: int) -> tuple[str, int]:
    """sha256 and length of a file, read once from its start."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    hashed = sha256()
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    position = 0
    while length := os.preadv(fd, [buffer], position):
        hashed.update(buffer[:length])
        position += length
    return f"sha256:{hashed.hexdigest()}", position


def _name_contents(layer: _Layer, report: Report) -> None:
    """Report every content that is not the one that was summed up."""
    sums = layer.sums()
    if sums is None:
        return
    names: dict[int, bytes] | None = None
    crc32 = crc32_function()
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    for each in sums:
        crc = done = 0
        while done < each.length:
            wanted = min(each.length - done, _BUFFER_BYTES)
            length = os.preadv(layer.tar, [buffer[:wanted]], each.position + done)
            if not length:
                break
            crc = crc32(buffer[:length], crc)
            done += length
        if crc != each.crc or done != each.length:
            names = names if names is not None else _names(layer)
            name = names.get(each.position, b"")
            found = ("", "") if done == each.length else (f"{each.length} bytes", f"{done} bytes")
            report.add(name or b"(content at byte %d)" % each.position, "content", *found)


def _names(layer: _Layer) -> dict[int, bytes]:
    """The path of every content by its position: the index knows, of several names the archive's own."""
    index = layer.index()
    positions = {} if index is None else _positions(index)
    names = {position: path for path, position in reversed(positions.items())}
    try:
        for member, position in layer.members():
            path = clamp_path(member.name)
            if position not in names or positions.get(path) == position:
                names[position] = path
    except InvalidTar:
        pass  # the tree part tells
    return names


def _positions(index: Index) -> dict[bytes, int]:
    """Where the content of every path begins that has one."""
    positions: dict[bytes, int] = {}
    try:
        for path, node in index.walk():
            if node.size and node.type == stat.S_IFREG:
                for _, _, position in index.fragments(node)[:1]:
                    positions[path] = position
    except InvalidIndex:
        pass  # the tree part tells
    return positions


# --- the tree ---------------------------------------------------------------------------------


def _tree(layer: _Layer, request: dict[str, object], report: Report) -> dict[str, object]:
    tree = ExpectedTree()
    contents: list[tuple[int, int]] = []
    try:
        for member, position in layer.members():
            tree.add(member, position)
            if member.size:
                contents.append((position, data_bytes(member)))
        tree.finish()
        image = tree_index(tree, os.fstat(layer.tar).st_size, bytes.fromhex(str(request["uuid"])))
    except InvalidTar as error:
        return {"flaws": [_unreadable(layer, error, report)]}
    except (InvalidLayer, NotRepresentable) as error:
        return {"flaws": [(f"erofs/{TAR}", error.message, False)]}
    size, header_size = tree.sizes()
    derived = [*index_flaws(layer.image, bytes(image), TAR, report), *_sums_flaws(layer, contents)]
    return {"size": size, "header_size": header_size, "derived": derived}


def _sums_flaws(layer: _Layer, contents: list[tuple[int, int]]) -> Iterator[Told]:
    sums = layer.sums()
    if sums is not None and [(each.position, each.length) for each in sums] != contents:
        yield f"erofs/{SUMS}", f"does not list the contents of {TAR}", True


def _unreadable(layer: _Layer, error: InvalidTar, report: Report) -> Told:
    """A header that cannot be read; whose it was, the index knows by the content behind it or by its name."""
    if isinstance(error, TruncatedTar):
        return f"erofs/{TAR}", f"ends early, at byte {os.fstat(layer.tar).st_size}", False
    start = max(0, error.offset - BLOCK)
    index = layer.index()
    path = b""
    if index is not None:
        raw = clamp_path(os.pread(layer.tar, 100, start).split(b"\0", 1)[0])
        behind = (path for path, position in _positions(index).items() if position == start + BLOCK)
        path = next(behind, b"") or (raw if _is_in(index, raw) else b"")
    if path:
        report.add(path, "header")
    return f"erofs/{TAR}", f"its header at byte {start} cannot be read: {error.message}", False


def _is_in(index: Index, path: bytes) -> bool:
    try:
        return bool(path) and index.lookup(path) is not None
    except InvalidIndex:
        return False


# --- fast -------------------------------------------------------------------------------------


def _fast(layer: _Layer, request: dict[str, object], report: Report) -> dict[str, object]:
    return {"flaws": fast_flaws(layer.directory, (TAR, INDEX, SUMS), layer.index(), request)}


_PARTS = {"content": _content, "tree": _tree, "fast": _fast}
