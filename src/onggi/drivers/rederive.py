"""A worker's job: what follows from a layer's tar is written anew, once the tar is proved.

One pass hashes the tar, builds its tree and sums up its contents; only when the hash is the
diffID do index and checksums replace the old files, whole and flushed. A mount that stands
keeps the index it was made with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

from onggi.archive import layer_sums
from onggi.drivers.erofs_names import INDEX, SUMS, TAR
from onggi.drivers.keep import Scan, tree_index
from onggi.drivers.stream import confine
from onggi.errors import DataLoss

__all__ = ["WrongTar", "rederive", "replace_file", "settle"]

_READ_BYTES = 1024 * 1024


class WrongTar(DataLoss):
    """The tar is not the layer's: nothing may be derived from it."""

    def __init__(self, file: str, diff_id: str) -> None:
        super().__init__(f"derive index: {file} makes {diff_id}", hint="the layer must be fetched again")


def rederive(request: dict[str, object]) -> dict[str, object]:
    """``request`` has the layer's ``directory``, ``diff_id`` and ``uuid`` in hex; gives the layer's size.

    Raises WrongTar, InvalidTar, InvalidLayer, NotRepresentable.
    """
    directory = os.open(str(request["directory"]), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    status = os.fstat(directory)
    tar = os.open(TAR, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    # The files belong to whoever keeps the layers; nothing else is written.
    confine(directory, ("CAP_DAC_OVERRIDE", "CAP_FOWNER"))
    hashed = sha256()
    scan = Scan(_pieces(tar, hashed.update))
    diff_id = f"sha256:{hashed.hexdigest()}"
    if diff_id != request["diff_id"]:
        raise WrongTar(TAR, diff_id)
    index = tree_index(scan.tree, os.fstat(tar).st_size, bytes.fromhex(str(request["uuid"])))
    replace_file(directory, INDEX, index)
    replace_file(directory, SUMS, layer_sums.pack_sums(scan.sums))
    settle(directory, status, (tar,))
    return {"size": scan.tree.sizes()[0]}


def _pieces(fd: int, take: Callable[[bytes], None]) -> Iterator[bytes]:
    position = 0
    while piece := os.pread(fd, _READ_BYTES, position):
        take(piece)
        position += len(piece)
        yield piece


def settle(directory: int, before: os.stat_result, sources: Iterable[int]) -> None:
    """Files were replaced that follow from ``sources``; ``before`` is the directory's status until then."""
    mtime_ns = before.st_mtime_ns
    for fd in sources:
        os.fchmod(fd, 0o400)
        mtime_ns = min(mtime_ns, os.fstat(fd).st_mtime_ns)
    os.fsync(directory)
    # A directory's mtime tells 'verify --fast' whether somebody replaced a file: this was us.
    os.utime(directory, ns=(before.st_atime_ns, mtime_ns))


def replace_file(directory: int, name: str, content: bytes | bytearray) -> None:
    """Write a file beside the old one, flush it, and let it take the name."""
    fresh = f".tmp-{name}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(fresh, flags, 0o400, dir_fd=directory)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(fd, 0o400)
        os.fsync(fd)
    os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
