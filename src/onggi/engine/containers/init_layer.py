"""What every container's init layer holds: the places on which things are mounted.

Made in the container's own view of the image, so an image's ``/etc/hosts`` is hidden, and a
symbolic link that leads elsewhere is replaced, never followed.

Source: moby ``daemon/initlayer/setup_unix.go``.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from onggi.errors import InvalidArgument

__all__ = ["ensure_directory", "fill_init_layer"]

_DIRECTORIES = (b"dev/pts", b"dev/shm", b"proc", b"sys")
_FILES = (b".dockerenv", b"etc/resolv.conf", b"etc/hosts", b"etc/hostname", b"dev/console")
_LINKS = ((b"etc/mtab", b"/proc/mounts"),)
_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o755
_LINK_LIMIT = 40  # the kernel's own


def fill_init_layer(root_fd: int) -> None:
    """Fill the layer whose view is open as ``root_fd``; nobody else may have it. All belongs to root."""
    for path in _DIRECTORIES:
        os.close(_directories(root_fd, path))
    for path in _FILES:
        _make(root_fd, path, None)
    for path, target in _LINKS:
        _make(root_fd, path, target)


def _directories(root_fd: int, path: bytes) -> int:
    """The directory ``path``, every part of it made where it is missing or something else."""
    current = os.open(b".", _OPEN, dir_fd=root_fd)
    try:
        for name in (part for part in path.split(b"/") if part):
            _remove_other(current, name)
            inner = _enter(current, name)
            os.close(current)
            current = inner
    except BaseException:
        os.close(current)
        raise
    return current


def _enter(parent: int, name: bytes) -> int:
    """Open a directory, made first if it is missing; the umask has no say."""
    try:
        os.mkdir(name, _MODE, dir_fd=parent)
    except FileExistsError:
        return os.open(name, _OPEN, dir_fd=parent)
    os.chmod(name, _MODE, dir_fd=parent)
    return os.open(name, _OPEN, dir_fd=parent)


def _remove_other(parent: int, name: bytes) -> None:
    """Unlink what is there and is no directory."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)


def _make(root_fd: int, path: bytes, target: bytes | None) -> None:
    """An empty file, or a link to ``target``; a directory of the image that has the name stays."""
    directory, name = os.path.split(path)
    parent = _directories(root_fd, directory)
    try:
        _remove_other(parent, name)
        with suppress(FileExistsError):
            if target is None:
                _make_file(parent, name)
            else:
                os.symlink(target, name, dir_fd=parent)
    finally:
        os.close(parent)


def _make_file(parent: int, name: bytes) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, _MODE, dir_fd=parent)
    try:
        os.fchmod(fd, _MODE)
    finally:
        os.close(fd)


# --- the working directory ----------------------------------------------------------------------


def ensure_directory(root_fd: int, path: str) -> None:
    """Make a directory of the container, as Docker does with WORKDIR at each start.

    Symbolic links are followed below the root only, also to places that are not there yet.
    Raises InvalidArgument.
    """
    try:
        if "\0" in path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        _ensure(root_fd, os.fsencode(path))
    except OSError as error:
        raise _cannot(path, error) from error


def _ensure(root_fd: int, path: bytes) -> None:
    """Step by step; ``resolved`` is free of links, so its directory is what it says."""
    from onggi.linux.openat2 import open_in_root

    pending, links = _parts(path), 0
    resolved: list[bytes] = []
    while pending:
        part = pending.pop()
        if part == b"..":
            del resolved[-1:]
            continue
        parent = open_in_root(root_fd, b"/".join(resolved), os.O_PATH | os.O_DIRECTORY)
        try:
            target = _step(parent, part)
        finally:
            os.close(parent)
        if target is None:
            resolved.append(part)
            continue
        links += 1
        if links > _LINK_LIMIT:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.startswith(b"/"):
            resolved.clear()
        pending += _parts(target)


def _parts(path: bytes) -> list[bytes]:
    """Components, the last first."""
    return [part for part in path.split(b"/") if part not in (b"", b".")][::-1]


def _step(parent: int, name: bytes) -> bytes | None:
    """Make sure of the directory ``name``; the target when it is a link."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        os.close(_enter(parent, name))
        return None
    if stat.S_ISLNK(mode):
        return os.readlink(name, dir_fd=parent)
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return None


def _cannot(path: str, error: OSError) -> InvalidArgument:
    hint = "choose another one: --workdir"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return InvalidArgument(f"Cannot mkdir: {path} is not a directory", hint=hint)
    return InvalidArgument(
        f"make working directory {path}: {(error.strerror or str(error)).lower()}", hint=hint
    )
