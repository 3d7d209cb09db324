"""Files that are there whole or not at all, after a kill and after a power cut.

The order is always: write beside the target, flush, rename, flush the directory.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from onggi.errors import FailedPrecondition, OnggiError, ResourceExhausted

__all__ = [
    "DiskFull",
    "ReadOnlyRoot",
    "make_directory",
    "read_optional",
    "remove_temporary_files",
    "remove_tree",
    "stage_file",
    "sync_directory",
    "translate_os_error",
    "write_cache",
    "write_file",
]

_READ_BYTES = 64 * 1024


class DiskFull(ResourceExhausted):
    """The file system (or the user's quota) has no room. ``path`` is what was being written."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"write {path}: no space left on device",
            hint="free space on that file system, or point --data-root at a larger one; "
            "what was received so far is kept",
        )
        self.path = path


class ReadOnlyRoot(FailedPrecondition):
    """The data root cannot be written: read-only file system, or no permission."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"write {path}: {reason}",
            hint="choose a writable --data-root, or run as the user who owns it",
        )
        self.path = path


def translate_os_error(error: OSError, path: str) -> OnggiError | None:
    """The error of ours that an ``OSError`` of the store stands for, or None."""
    where = os.fsdecode(error.filename) if error.filename else path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(where)
    if error.errno == errno.EROFS:
        return ReadOnlyRoot(where, "read-only file system")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ReadOnlyRoot(where, "permission denied")
    return None


def make_directory(path: Path, mode: int) -> None:
    """Make one directory with exactly ``mode`` (the umask has no say); keep an existing one as it is."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    os.chmod(path, mode)


def sync_directory(path: Path | str) -> None:
    """Make the names in ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(
    path: Path,
    data: bytes,
    mode: int,
    *,
    durable_name: bool = True,
    first: Callable[[], None] | None = None,
) -> None:
    """Put ``data`` at ``path`` by temporary file, flush and rename, as Docker does.

    After a power cut the file is whole or absent. With ``durable_name=False`` it may be
    absent although this call returned; that saves a flush of the directory. ``first`` flushes
    what the file speaks of: it is called behind the flush of the data, since one commit of the
    file system's journal serves both, and before the file takes effect.
    """

    def settle(fd: int) -> None:
        os.fsync(fd)
        if first is not None:
            first()

    _put(path, data, mode, settle)
    if durable_name:
        sync_directory(path.parent)


def write_cache(path: Path, data: bytes, mode: int) -> None:
    """The same for what may be absent after a power cut, and is then made anew: nothing is flushed.

    The data are written to the disk before they get their name, so that a file system that keeps
    the order of what it is told (ext4, XFS, btrfs) has it whole, if at all.
    """
    # Imported here: looking needs none of it.
    from onggi.linux.filesystem import write_back

    _put(path, data, mode, write_back)


def _put(path: Path, data: bytes, mode: int, settle: Callable[[int], None]) -> None:
    """Write beside ``path``, ``settle`` the data, then take the name."""
    temporary = path.with_name(f".tmp-{path.name}{int.from_bytes(os.urandom(4), 'big')}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:
            _write_all(file.fileno(), data)
            os.fchmod(file.fileno(), mode)
            settle(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def remove_tree(path: Path, *, must_succeed: bool = False) -> None:
    """Delete a directory and all below it, immutable files too; what is gone already is no error."""
    try:
        os.rmdir(path)
        return
    except OSError:
        pass  # it holds something, or is not there
    # Imported here: it brings every archive format along, and looking needs none of it.
    import shutil

    def failed(function: Callable[..., object], name: str, error: BaseException) -> None:
        if isinstance(error, PermissionError) and function is os.unlink and _unlinked_anyway(name):
            return
        if must_succeed:
            raise error

    try:
        if sys.version_info >= (3, 12):
            shutil.rmtree(path, onexc=failed)
        else:
            shutil.rmtree(path, onerror=lambda function, name, info: failed(function, name, info[1]))
    except FileNotFoundError:
        return


def _unlinked_anyway(name: str) -> bool:
    """Delete a file that was made immutable; False where that is not what is in the way."""
    from onggi.linux.file_flags import make_mutable

    try:
        if not stat.S_ISREG(os.lstat(name).st_mode):
            return False
        make_mutable(name)
        os.unlink(name)
    except OSError:
        return False
    return True


def remove_temporary_files(directory: Path) -> None:
    """Delete what a writer left that was killed before its rename; nobody else may write there now."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(".tmp-"):
            (directory / name).unlink(missing_ok=True)


def stage_file(path: Path, data: bytes, mode: int) -> None:
    """Write a new file that nobody looks at yet; the caller flushes before anybody does."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        _write_all(fd, data)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_optional(path: Path | str) -> bytes | None:
    """The bytes of a small file, or None when it does not exist."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return b"".join(iter(lambda: os.read(fd, _READ_BYTES), b""))
    finally:
        os.close(fd)
