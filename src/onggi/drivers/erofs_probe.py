"""What a file system of this host can do for layers that are contents and an index. Tried, not guessed.

For mounting, two layers of one file each are written into files without a name, mounted detached, and
put into an overlay by descriptor; the file is read through it. Nothing has a name meanwhile, so nothing
is left behind however it ends; it takes about a millisecond.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from onggi.archive.erofs.format import BLOCK_BITS_TAR
from onggi.archive.erofs.writer import write_index
from onggi.drivers.erofs_mount import CannotMount, DamagedIndex, detached_mount
from onggi.linux.file_flags import has_verity, set_immutable
from onggi.linux.filesystem import statfs_type
from onggi.linux.mount import overlay_detached
from onggi.linux.mount_calls import MountError
from onggi.tree.expected import Node

__all__ = ["knows_verity", "why_not_immutable", "why_not_mountable"]

_CONTENT = b"onggi".ljust(512, b"\0")


def why_not_mountable(directory: Path) -> str:
    """Why layers in (or below) an existing directory cannot be mounted; empty when they can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    try:
        with ExitStack() as stack:
            lowers = [stack.enter_context(_mounted(directory, name)) for name in (b"upper", b"lower")]
            overlay = overlay_detached(lowers)
            stack.callback(os.close, overlay)
            for name in ("upper", "lower"):
                if _content(overlay, name) != _CONTENT:
                    return "a file read through a mount is not what was written"
    except (CannotMount, DamagedIndex) as error:
        return error.message.partition(": ")[2]
    except (MountError, OSError) as error:
        return str(error)
    return ""


def why_not_immutable(directory: Path) -> str:
    """Why files in (or below) an existing directory cannot be made immutable; empty when they can."""
    with ExitStack() as stack:
        try:
            fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, fd)
            set_immutable(fd, True)
            set_immutable(fd, False)
        except PermissionError:
            return "it needs root (CAP_LINUX_IMMUTABLE)"
        except OSError as error:
            return f"{statfs_type(str(directory))} has no such flag ({error.strerror})"
    return ""


def knows_verity(directory: Path) -> bool:
    """Whether fs-verity could be had for files in (or below) an existing directory."""
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        return has_verity(fd)
    finally:
        os.close(fd)


@contextmanager
def _mounted(directory: Path, name: bytes) -> Iterator[int]:
    """A detached mount of a layer with one file."""
    with ExitStack() as stack:
        root = Node(stat.S_IFDIR, None, 0o755)
        file = Node(stat.S_IFREG, None, 0o644)
        file.size = len(_CONTENT)
        assert root.children is not None
        root.children[name] = file
        uuid = name.ljust(16, b"\0")
        index = write_index(root, data_bytes=len(_CONTENT), block_bits=BLOCK_BITS_TAR, uuid=uuid)
        paths = [_nameless(directory, content, stack) for content in (index, _CONTENT)]
        mount = detached_mount(directory, *paths)
        stack.callback(os.close, mount)
        yield mount


def _nameless(directory: Path, content: bytes | bytearray, stack: ExitStack) -> Path:
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)
    os.write(fd, content)
    return Path(f"/proc/self/fd/{fd}")


def _content(directory: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, 2 * len(_CONTENT))
    finally:
        os.close(fd)
