"""Open a path below a directory descriptor that acts as the root of everything.

``openat2(2)`` with RESOLVE_IN_ROOT resolves like a chroot: ``..`` stops at the root,
absolute links start there, and it does so in the kernel, so nothing can be swapped in
between. Kernels before 5.6 (and seccomp filters that hide the call) get a walker that
opens one component at a time, each relative to the one before.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

__all__ = ["open_in_root"]

_SYS_OPENAT2 = 437  # the same on x86-64, arm64 and 32-bit Arm
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_MISSING = (errno.ENOSYS, errno.EPERM)  # an old kernel; a seccomp filter that knows no openat2
_RETRIES = 32
"""Times a lookup is repeated when a rename elsewhere on the system made it uncertain (EAGAIN)."""

_LINK_LIMIT = 40
"""Symbolic links followed in one lookup: the kernel's own limit."""

_LARGEFILE = getattr(os, "O_LARGEFILE", 0)
"""What the C library's open adds on 32-bit machines for files of 2 GiB and more; openat2 has no such help."""

_MODE_FLAGS = os.O_CREAT | getattr(os, "O_TMPFILE", 0) & ~os.O_DIRECTORY


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


def open_in_root(root_fd: int, path: bytes, flags: int, mode: int = 0) -> int:
    """A new descriptor of ``path``, resolved as if ``root_fd`` were ``/``; the caller owns it.

    O_CLOEXEC is added. The empty path and ``/`` are the root itself.

    Raises:
        OSError: as ``open(2)``; ELOOP for a magic link or too many links.
    """
    if b"\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    exact = flags | os.O_CLOEXEC | (0 if flags & os.O_PATH else _LARGEFILE)
    for _ in range(_RETRIES):
        descriptor = _openat2(root_fd, path or b".", exact, mode)
        if descriptor >= 0:
            return descriptor
        error = ctypes.get_errno()
        if error in _MISSING:
            return walk_in_root(root_fd, path, flags, mode)
        if error not in (errno.EAGAIN, errno.EINTR):
            raise OSError(error, os.strerror(error), path)
    return walk_in_root(root_fd, path, flags, mode)


def _openat2(root_fd: int, path: bytes, flags: int, mode: int) -> int:
    how = _OpenHow(flags, mode if flags & _MODE_FLAGS else 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    result: int = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(root_fd),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return result


def walk_in_root(root_fd: int, path: bytes, flags: int, mode: int = 0) -> int:
    """:func:`open_in_root` without ``openat2``: one O_NOFOLLOW step a component.

    A stack of descriptors stands for the directories from the root down, so ``..`` never
    asks the file system and cannot leave the root. A component that somebody replaces by
    a link between two steps fails (ELOOP) instead of being followed.
    """
    stack = [os.dup(root_fd)]
    links = 0
    pending = _steps(path)
    try:
        while pending:
            part = pending.pop()
            if part == b".":
                continue
            if part == b"..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            follow = bool(pending) or not flags & os.O_NOFOLLOW
            target = _read_link(stack[-1], part) if follow else None
            if target is None:
                if not pending:
                    return os.open(part, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=stack[-1])
                stack.append(_open_directory(stack[-1], part))
                continue
            links += 1
            if links > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target[:1] == b"/":
                while len(stack) > 1:
                    os.close(stack.pop())
            pending += _steps(target)
        return os.open(b".", flags | os.O_CLOEXEC, mode, dir_fd=stack[-1])
    finally:
        for descriptor in stack:
            os.close(descriptor)


def _steps(path: bytes) -> list[bytes]:
    """Components, the last first. A slash at the end is a ``.``: what is before it must be a directory."""
    steps = [part for part in path.split(b"/") if part]
    if path[-1:] == b"/":
        steps.append(b".")
    return steps[::-1]


def _open_directory(parent: int, name: bytes) -> int:
    return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _read_link(parent: int, name: bytes) -> bytes | None:
    """The target of a symbolic link; None for anything else, existing or not."""
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return os.readlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    return None
