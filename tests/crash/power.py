"""An ext4 of its own on a loop device, whose power can be cut."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.processes import require

__all__ = ["Disk", "cut_power", "disk"]

# ext4.h: EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32); flag 2 drops what the journal has not written.
_SHUTDOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125
_NO_LOG_FLUSH = 2


def cut_power(mountpoint: Path) -> None:
    """From now on nothing reaches the disk; what was not flushed is lost."""
    fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("=I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)


class Disk:
    """A file system in a file; ``path`` is where it is mounted."""

    def __init__(self, image: Path, path: Path, size_bytes: int) -> None:
        self.path = path
        self._image = image
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        subprocess.run([require("mkfs.ext4"), "-q", "-F", "-m", "0", image], check=True)
        path.mkdir(exist_ok=True)

    def mount(self) -> None:
        """Mount it; a journal that was not finished is replayed."""
        subprocess.run([require("mount"), "-o", "loop", self._image, self.path], check=True)

    def unmount(self) -> None:
        """Unmount it, whatever still uses it; the loop device goes with it."""
        subprocess.run([require("umount"), self.path], check=True)

    def after_power_cut(self) -> None:
        """Switch it on again."""
        self.unmount()
        self.mount()

    @property
    def free_bytes(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_bsize


@contextmanager
def disk(directory: Path, size_bytes: int) -> Iterator[Disk]:
    """A mounted disk for the length of a block; always unmounted and deleted."""
    directory.mkdir(parents=True, exist_ok=True)
    image = directory / "disk.img"
    made = Disk(image, directory / "disk", size_bytes)
    made.mount()
    try:
        yield made
    finally:
        subprocess.run([require("umount"), "-l", made.path], check=False)
        image.unlink()
