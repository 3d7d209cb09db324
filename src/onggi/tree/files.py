"""Contents of the regular files of a tree, opened by the names that an archive has for them."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import TYPE_CHECKING

from onggi.archive.tar_format import clamp_path
from onggi.tree.directories import Directories
from onggi.tree.errors import InvalidLayer, errno_text, printable

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Files"]

# Descriptors of directories kept open: members of one directory stand together in an archive.
_KEPT_DIRECTORIES = 64
# A fifo put where a file was must not make us wait for its writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Files:
    """Opens files below ``root_fd`` (stays the caller's), links in directories resolved inside it.

    A context manager: its end closes what is kept open.
    """

    def __init__(self, root_fd: int) -> None:
        self._directories = Directories(root_fd, _KEPT_DIRECTORIES)

    def __enter__(self) -> Files:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directories.forget()

    def open(self, name: bytes) -> io.FileIO:
        """The regular file that the member ``name`` was unpacked to, unbuffered; the caller closes it.

        Raises:
            InvalidLayer: it is not there, or is no regular file any more.
        """
        return io.FileIO(self.descriptor(clamp_path(name))[0], "rb")

    def descriptor(self, path: bytes) -> tuple[int, os.stat_result]:
        """The same by the clamped name, as a bare descriptor, which the caller closes, and its status."""
        parent, _, last = path.rpartition(b"/")
        try:
            fd = os.open(last, _READ, dir_fd=self._directories.get(parent).fd)
        except OSError as error:
            raise InvalidLayer(
                f"open {printable(path)}: {errno_text(error.errno or errno.EIO)}", path=path
            ) from None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise InvalidLayer(f"open {printable(path)}: not a regular file", path=path)
        return fd, status
