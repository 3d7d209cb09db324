"""What both forms of a layer with an index share when they are proved: the index itself, and times."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from onggi.archive.erofs.format import InvalidIndex
from onggi.archive.erofs.reader import Index
from onggi.drivers.erofs_names import INDEX
from onggi.drivers.report import Report
from onggi.tree.change import time_text
from onggi.tree.compare_indexes import changed_paths

__all__ = ["Told", "fast_flaws", "index_flaws", "kept_file", "readable_index"]

Told = tuple[str, str, bool]
"""A flaw as a worker tells it: file, reason, mendable."""


def kept_file(directory: int, name: str) -> bytes | None:
    """What a file of the layer holds, or None."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    with open(fd, "rb", buffering=0) as file:
        return file.read()


def readable_index(kept: bytes | None) -> Index | None:
    """The index that is there, where it can be read at all."""
    try:
        return None if kept is None else Index(kept)
    except InvalidIndex:
        return None


def index_flaws(kept: bytes | None, image: bytes, source: str, report: Report) -> Iterator[Told]:
    """That the index is not the one that ``source`` makes; every path that it shows otherwise is reported."""
    index = readable_index(kept)
    if index is None or kept == image:
        return  # what is no index at all is told by the driver's flaws
    named = b""
    count = 0
    try:
        for path, change in changed_paths(index, Index(image)):
            report.add(path, *change)
            named, count = named or path, count + 1
        reason = f"is not the one that {source} makes"
    except InvalidIndex as error:
        reason = f"is damaged: {error.message.partition(': ')[2]}"
    if count:
        where = named.decode("utf-8", "backslashreplace") or "/"
        reason += f" ({where}{f' and {count - 1} more' if count > 1 else ''})"
    yield f"erofs/{INDEX}", reason, True


def fast_flaws(
    directory: int, names: Sequence[str], index: Index | None, request: dict[str, object]
) -> list[Told]:
    """Sizes and ctimes: a layer's files are written before its directory and layerdb's entry are named.

    The first of ``names`` is the file with the contents.
    """
    flaws: list[Told] = []
    data = f"erofs/{names[0]}"
    size = os.stat(names[0], dir_fd=directory).st_size
    if index is not None and -(-size >> index.block_bits) != index.data_blocks:
        expected = index.data_blocks << index.block_bits
        flaws.append((data, f"has {size} bytes, its index was made for {expected}", False))
    made_ns, entry_ns = int(str(request["made_ns"])), int(str(request["entry_ns"]))
    for name in names:
        flaws += _touched(directory, name, made_ns)
    if not flaws and os.fstat(directory).st_mtime_ns > entry_ns:
        flaws.append((data, "its directory was changed after the layer was made", False))
    return flaws


def _touched(directory: int, name: str, made_ns: int) -> Iterator[Told]:
    try:
        ctime_ns = os.stat(name, dir_fd=directory).st_ctime_ns
    except FileNotFoundError:
        return
    if ctime_ns > made_ns:
        yield f"erofs/{name}", f"was touched after the layer was made ({time_text(ctime_ns)})", False
