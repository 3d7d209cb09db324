"""Leases: one lock file per object, shared by those who use it, exclusive for who makes or removes it.

Open-file-description locks (``F_OFD_SETLK``) are used: like ``flock`` they belong to a
descriptor, so they work between threads and pass to a child with the descriptor; unlike
``flock`` a lock is turned from exclusive to shared atomically, so nobody can slip in
between making a layer and using it.

Lock order, which makes deadlocks impossible: chains by :func:`lease_order`, so that nobody waits
for a chain while holding a higher one; then repositories.json and the journals. Who brings or
reads an image leases it shared, before its chains or after; who removes one leases it
exclusively, and from there on waits for no chain: what is in use is left alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from onggi.cancel import CancelToken
from onggi.oci.digest import ChainID, Digest
from onggi.store.atomic import make_directory

__all__ = ["Lease", "LockDirectory", "lease_order", "want_lock"]

# struct flock with 64-bit offsets: l_type, l_whence, l_start, l_len, l_pid (0 for OFD locks).
_FLOCK = struct.Struct("@hhqqi0q")
# Seconds between two tries for a held lock: short at first, since most leases are brief.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.002, 0.1


def _set(fd: int, kind: int, *, wait: bool = False) -> bool:
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    try:
        fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


class Lease:
    """A held lock; owns its descriptor. Also a context manager that releases it."""

    def __init__(self, fd: int, path: Path, *, exclusive: bool) -> None:
        self._fd = fd
        self.path = path
        self.exclusive = exclusive

    def fileno(self) -> int:
        """The descriptor: whoever inherits a copy keeps the lock alive."""
        return self._fd

    def share(self) -> None:
        """Turn an exclusive lease into a shared one, atomically."""
        _set(self._fd, fcntl.F_RDLCK)
        self.exclusive = False

    def release(self, *, remove: bool = False) -> None:
        """Let go; ``remove`` also deletes the lock file of an object that is gone."""
        if self._fd < 0:
            return
        if remove and self.exclusive:
            os.unlink(self.path)
        os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class LockDirectory:
    """The lock files of a data root, one per ``<kind>-<id>``, made on first use."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> Path:
        """Where a lock's file is, for a process that takes it by itself."""
        return self._directory / name

    def acquire(self, name: str, *, exclusive: bool, cancel: CancelToken | None = None) -> Lease:
        """Wait for the lease. Raises Cancelled or DeadlineExceeded by ``cancel``."""
        wait_s = _FIRST_WAIT_S
        while (lease := self._take(name, exclusive, wait=cancel is None)) is None:
            if cancel is not None:
                cancel.check()
                cancel.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _LONGEST_WAIT_S)
        return lease

    def try_acquire(self, name: str, *, exclusive: bool) -> Lease | None:
        """The lease, or None when somebody holds one that excludes it."""
        return self._take(name, exclusive, wait=False)

    def _take(self, name: str, exclusive: bool, *, wait: bool) -> Lease | None:
        path = self._directory / name
        while True:
            fd = self._open(path)
            try:
                taken = _set(fd, fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK, wait=wait)
            except BaseException:
                os.close(fd)
                raise
            if taken and _is_still_there(fd, path):
                return Lease(fd, path, exclusive=exclusive)
            os.close(fd)
            if not taken:
                return None

    def is_held(self, name: str) -> bool:
        """True when somebody holds the lease, shared or not; makes no file."""
        try:
            fd = os.open(self._directory / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _set(fd, fcntl.F_WRLCK)
        finally:
            os.close(fd)

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            make_directory(self._directory, 0o700)
            return os.open(path, flags, 0o600)


def want_lock(digest: Digest) -> str:
    """Shared by every pull that needs a received blob; who has it alone may delete the blob."""
    return f"want-{digest.hex}"


def lease_order(images: Iterable[Sequence[ChainID]]) -> list[ChainID]:
    """The chains of several images (each base first), each once, as everybody must lease them: by height."""
    heights = {chain: height for chains in images for height, chain in enumerate(chains)}
    return sorted(heights, key=lambda chain: (heights[chain], chain))


def _is_still_there(fd: int, path: Path) -> bool:
    """False when the file was removed by its last holder between our open and our lock."""
    try:
        return os.stat(path).st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False
