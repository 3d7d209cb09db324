"""A worker's job: what follows from a layer's tar is written anew, once the tar is proved.

One pass hashes the tar, builds its tree and sums up its contents; only when the hash is the
diffID do index and checksums replace the old files, whole and flushed. A mount that stands
keeps the index it was made with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

from onggi.archive import layer_sums
from onggi.drivers.erofs_names import INDEX, SUMS, TAR
from onggi.drivers.keep import Scan, tree_index
from onggi.drivers.stream import confine
from onggi.errors import DataLoss
from onggi.linux.file_flags import is_immutable, set_immutable

__all__ = ["CAPABILITIES", "WrongTar", "rederive", "replace_files"]

CAPABILITIES = ("CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_LINUX_IMMUTABLE")
"""The files belong to whoever keeps the layers, and may be immutable; nothing else is written."""

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
    confine(directory, CAPABILITIES)
    hashed = sha256()
    scan = Scan(_pieces(tar, hashed.update))
    diff_id = f"sha256:{hashed.hexdigest()}"
    if diff_id != request["diff_id"]:
        raise WrongTar(TAR, diff_id)
    index = tree_index(scan.tree, os.fstat(tar).st_size, bytes.fromhex(str(request["uuid"])))
    fresh: dict[str, bytes | bytearray] = {INDEX: index, SUMS: layer_sums.pack_sums(scan.sums)}
    replace_files(directory, fresh, (tar,), status)
    return {"size": scan.tree.sizes()[0]}


def _pieces(fd: int, take: Callable[[bytes], None]) -> Iterator[bytes]:
    position = 0
    while piece := os.pread(fd, _READ_BYTES, position):
        take(piece)
        position += len(piece)
        yield piece


def replace_files(
    directory: int,
    fresh: Mapping[str, bytes | bytearray],
    sources: Sequence[int],
    before: os.stat_result,
) -> None:
    """Let files that follow from ``sources`` take the place of the old ones, immutable again if those are.

    ``before`` is the directory's status until then. Killed halfway, a file may be left without that flag.
    """
    protected = any(is_immutable(fd) for fd in sources)
    for fd in sources if protected else ():
        set_immutable(fd, False)
    for name, content in fresh.items():
        _replace(directory, name, content)
    mtime_ns = before.st_mtime_ns
    for fd in sources:
        os.fchmod(fd, 0o400)
        mtime_ns = min(mtime_ns, os.fstat(fd).st_mtime_ns)
    if protected:
        _protect(directory, fresh, sources)
    os.fsync(directory)
    # A directory's mtime tells 'verify --fast' whether somebody replaced a file: this was us.
    os.utime(directory, ns=(before.st_atime_ns, mtime_ns))


def _replace(directory: int, name: str, content: bytes | bytearray) -> None:
    """Write a file beside the old one, flush it, and let it take the name."""
    fresh = f".tmp-{name}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(fresh, flags, 0o400, dir_fd=directory)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(fd, 0o400)
        os.fsync(fd)
    _set_mutable(directory, name)
    os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)


def _set_mutable(directory: int, name: str) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        if is_immutable(fd):
            set_immutable(fd, False)
    finally:
        os.close(fd)


def _protect(directory: int, fresh: Iterable[str], sources: Iterable[int]) -> None:
    for fd in sources:
        set_immutable(fd, True)
    for name in fresh:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        try:
            set_immutable(fd, True)
        finally:
            os.close(fd)
