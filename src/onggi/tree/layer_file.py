"""The content of one file of a layer, wherever its bytes lie: in a file of its own, or in pieces of a tar."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence

from onggi.errors import DataLoss

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["CutOff", "Fragment", "LayerFile"]

_SEND_BYTES = 1 << 20

Fragment = tuple[int, int, int]
"""(offset in the file, length, position of these bytes in what the descriptor reads)."""


class CutOff(DataLoss):
    """The data end before the file does. ``missing_at`` is the offset of the first byte that is not there."""

    def __init__(self, path: bytes, missing_at: int) -> None:
        super().__init__(
            f"read /{path.decode('utf-8', 'backslashreplace')}: its data end at byte {missing_at}",
            hint="'onggi verify' tells what is damaged, 'onggi repair' gets it anew",
        )
        self.missing_at = missing_at


class LayerFile(io.RawIOBase):
    """A file to read and seek in; what no fragment covers is NUL bytes.

    ``fd`` becomes its own and is closed with it. ``fragments`` ascend and do not overlap. ``path``
    is what errors name. Reading raises CutOff, OSError.
    """

    def __init__(self, fd: int, size_bytes: int, fragments: Sequence[Fragment], path: bytes) -> None:
        self._fd = fd
        self._size_bytes = size_bytes
        self._fragments = fragments
        self._path = path
        self._at = 0

    @property
    def size_bytes(self) -> int:
        """Length of the content, holes counted."""
        return self._size_bytes

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As ``io.IOBase.seek``."""
        target = (0, self._at, self._size_bytes)[whence] + offset
        if target < 0:
            raise ValueError(f"negative seek position {target}")
        self._at = target
        return target

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as one fragment or hole goes; 0 only at the end."""
        view = memoryview(buffer).cast("B")[: max(0, self._size_bytes - self._at)]
        if not view:
            return 0
        index = bisect_right(self._fragments, self._at, key=lambda fragment: fragment[0]) - 1
        offset, length, position = self._fragments[index] if index >= 0 else (0, 0, 0)
        inside = self._at - offset
        if inside < length:
            count = self._read(view[: length - inside], position + inside)
        else:
            count = self._hole(view, index + 1)
        self._at += count
        return count

    def _read(self, view: memoryview, position: int) -> int:
        count = os.preadv(self._fd, [view], position)
        if not count:
            raise CutOff(self._path, self._at)
        return count

    def _hole(self, view: memoryview, following: int) -> int:
        if following < len(self._fragments):
            view = view[: self._fragments[following][0] - self._at]
        view[:] = bytes(len(view))
        return len(view)

    def copy_to(self, target_fd: int) -> int:
        """Copy everything to an empty file inside the kernel, holes as holes; gives the size.

        Raises CutOff, OSError.
        """
        for offset, length, position in self._fragments:
            os.lseek(target_fd, offset, os.SEEK_SET)
            while length:
                sent = os.sendfile(target_fd, self._fd, position, min(length, _SEND_BYTES))
                if not sent:
                    raise CutOff(self._path, offset)
                offset, length, position = offset + sent, length - sent, position + sent
        os.ftruncate(target_fd, self._size_bytes)
        return self._size_bytes

    def close(self) -> None:
        """Close the descriptor too; again is no error."""
        if not self.closed:
            os.close(self._fd)
        super().close()
