"""An ext4 of its own on a loop device, whose power can be cut.

What a cut leaves depends on when the journal was last written, which a timer of five
seconds decides as much as the program does. So there are two cuts at every point:

* the journal was not written since the program last flushed: every newer name is lost;
* the journal was written this very moment: every name is there, but data that were never
  flushed are not, so that a file renamed too early is empty.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.processes import require

__all__ = ["Disk", "PowerCut", "disk"]

# ext4.h: EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32). Flag 1 writes the journal, not the data behind
# it; flag 2 writes nothing.
_SHUTDOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125
_LOG_FLUSH, _NO_LOG_FLUSH = 1, 2


@dataclass(frozen=True, slots=True)
class PowerCut:
    """A cut of the ext4 mounted on ``mountpoint``; ``journal`` says whether its journal is written first."""

    mountpoint: str
    journal: bool

    def happen(self) -> None:
        """From now on nothing reaches the disk; what was not flushed is lost."""
        fd = os.open(self.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("=I", _LOG_FLUSH if self.journal else _NO_LOG_FLUSH))
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
        in_use = subprocess.check_output([require("losetup"), "-j", self._image], text=True)
        assert not in_use, f"somebody else has it mounted too, so it was not switched off: {in_use}"
        self.mount()

    def require_power_switch(self) -> None:
        """Cut the power once, on trial; skips where the kernel does not let us."""
        try:
            PowerCut(str(self.path), journal=True).happen()
        except PermissionError:
            pytest.skip("EXT4_IOC_SHUTDOWN is not permitted here")
        self.after_power_cut()

    def sync(self) -> None:
        """Everything so far is on the disk."""
        subprocess.run(["sync", "-f", self.path], check=True)

    @contextmanager
    def with_free(self, free_bytes: int) -> Iterator[None]:
        """Fill it up to ``free_bytes`` for the length of a block."""
        filler = self.path / "filler"
        status = os.statvfs(self.path)
        with open(filler, "wb") as file:
            _allocate(file.fileno(), status.f_bavail * status.f_bsize - free_bytes)
        try:
            yield
        finally:
            filler.unlink()


def _allocate(fd: int, size_bytes: int) -> None:
    """As much of ``size_bytes`` as fits: the map of a fragmented file needs blocks too."""
    while size_bytes > 0:
        try:
            os.posix_fallocate(fd, 0, size_bytes)
            return
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            size_bytes -= 64 * 1024


@contextmanager
def disk(directory: Path, size_bytes: int) -> Iterator[Disk]:
    """A mounted disk for the length of a block; always unmounted and deleted."""
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("loop devices are not available here")
    directory.mkdir(parents=True, exist_ok=True)
    image = directory / "disk.img"
    made = Disk(image, directory / "disk", size_bytes)
    made.mount()
    try:
        yield made
    finally:
        subprocess.run([require("umount"), "-l", made.path], check=False)
        image.unlink()
