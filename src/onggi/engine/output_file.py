"""Archives as files of the host: there whole, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onggi.errors import InvalidArgument
from onggi.store.atomic import sync_directory, translate_os_error
from onggi.transfer.flushing import flushed_meanwhile
from onggi.transfer.save import Output

__all__ = ["InvalidOutputPath", "named_errors", "whole_file"]


class InvalidOutputPath(InvalidArgument):
    """The archive cannot be written there; Docker's words. ``action`` is what was to be done."""

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(f"failed to {action}: {reason}", hint="name a file in a directory that exists")


@contextmanager
def whole_file(path: Path, action: str) -> Iterator[Output]:
    """A new file that appears at ``path`` when it is whole: in place of a file, and of nothing else.

    ``action`` is for errors: what the file is written to do. Raises InvalidOutputPath, DiskFull.
    """
    _check_place(path, action)
    with named_errors(str(path)):
        temporary = path.with_name(f".tmp-{path.name}{os.urandom(4).hex()}")
        with _temporary(temporary) as file:
            with flushed_meanwhile(file) as written:
                yield written
            file.flush()
            os.fsync(file.fileno())
            os.rename(temporary, path)
        sync_directory(path.parent)


# Docker's words (moby atomicwriter); devices and pipes are written by way of standard output.
_REFUSED = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link directly"),
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device file"),
    (stat.S_ISBLK, "a block device file"),
)


def _check_place(path: Path, action: str) -> None:
    if not path.parent.is_dir():
        raise InvalidOutputPath(action, f"invalid output path: stat {path.parent}: no such file or directory")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    for is_kind, words in _REFUSED:
        if is_kind(mode):
            raise InvalidOutputPath(action, f"cannot write to {words}")


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """A full disk under the output is not one under the data root."""
    try:
        yield
    except OSError as error:
        raise translate_os_error(error, name) or error from error


@contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    """A new file that is deleted if the block fails; mode 0600, as Docker's."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
