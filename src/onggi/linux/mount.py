"""Mount directories: one at a second place, or a stack of them with overlayfs, however high.

Three ways to tell the kernel the lower directories, best first:

1. ``lowerdir+``, one call a directory, up to 500 (Linux ≥ 6.8).
2. One option string for mount(2): ends at a page, about 120 absolute Docker paths.
3. The same with descriptor numbers for names (``lowerdir=3:4:5``), looked up in
   ``/proc/self/fd``: 500 directories fit, and paths may hold commas and colons. The
   working directory of one short-lived thread is set there, of nobody else. Docker's
   relative names do the same for its own layout, up to 140 directories.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import ExitStack

from onggi.errors import InvalidArgument
from onggi.linux.mount_calls import (
    FSCONFIG_STRING_MAX,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MountError,
    fsconfig_create,
    fsconfig_fd,
    fsconfig_flag,
    fsconfig_string,
    fsmount,
    fsopen,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    unmount,
)

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onggi.linux.mount_calls import Name

    Layer = Name | int

__all__ = [
    "MAX_LOWERS",
    "MountError",
    "bind_mount",
    "overlay_detached",
    "overlay_mount",
    "overlay_writable",
    "unmount",
]

MAX_LOWERS = 500
"""Directories of one overlay: the kernel's OVL_MAX_STACK."""

_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_SPECIAL = b",:\\"


class _NoLowerdirPlus(Exception):
    """The kernel takes lower directories only as one string."""


def bind_mount(source: Name, target: Name, *, read_only: bool = False) -> None:
    """Show the directory ``source`` at ``target`` too; what is mounted below it is not shown."""
    try:
        fd = open_tree(source)
        try:
            if read_only:
                mount_setattr(fd, MOUNT_ATTR_RDONLY)
            move_mount(fd, target)
        finally:
            os.close(fd)
    except MountError as error:
        if error.errno != errno.ENOSYS:
            raise
        mount(source, target, "", MS_BIND)
        if read_only:
            _remount_read_only(target)


def _remount_read_only(target: Name) -> None:
    try:
        mount("", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)
    except MountError:
        unmount(target)
        raise


def overlay_mount(
    target: Name,
    lowers: Sequence[Layer],
    upper: Layer | None = None,
    work: Layer | None = None,
    *,
    options: Sequence[str] = (),
) -> None:
    """Mount ``lowers``, uppermost first, below ``upper`` on the directory ``target``.

    A layer is a path or a descriptor of a directory (which stays the caller's). Without
    ``upper`` the mount is read-only; a single lower is then bind-mounted, since the kernel
    makes no overlay of one directory. ``work`` is an empty directory on the file system of
    ``upper``. ``options`` are overlayfs's own (``index=off``, ``userxattr``).

    Raises:
        InvalidArgument: no lowers, more than 500, or ``upper`` without ``work``.
        MountError: the kernel refuses.
    """
    if not 1 <= len(lowers) <= MAX_LOWERS:
        raise InvalidArgument(
            f"mount overlay: {len(lowers)} lower directories, 1 to {MAX_LOWERS} are possible"
        )
    if (upper is None) != (work is None):
        raise InvalidArgument("mount overlay: upper and work directory belong together")
    layers = {"upperdir": upper, "workdir": work}
    if upper is None and len(lowers) == 1:
        with ExitStack() as stack:
            bind_mount(_as_path(lowers[0], stack), target, read_only=True)
        return
    try:
        _mount_by_steps(target, lowers, layers, options)
    except _NoLowerdirPlus:
        _mount_at_once(target, lowers, layers, options)


def overlay_detached(lowers: Sequence[int]) -> int:
    """A read-only overlay of directories given by descriptors, attached nowhere; the caller closes it.

    Raises MountError, also where the kernel takes no descriptors.
    """
    config = fsopen("overlay")
    try:
        for lower in lowers:
            fsconfig_fd(config, "lowerdir+", lower)
        fsconfig_create(config)
        return fsmount(config, MOUNT_ATTR_RDONLY)
    finally:
        os.close(config)


def overlay_writable(
    lowers: Sequence[Layer], upper: Layer, work: Layer, *, options: Sequence[str] = ()
) -> int:
    """A writable overlay as a descriptor (O_PATH) that is attached nowhere; the caller closes it.

    It serves as a directory for ``openat`` and the like, and for ``move_mount``; closed, it is
    gone, so a process that is killed leaves no mount. Arguments and errors as for
    :func:`overlay_mount`.
    """
    layers: dict[str, Layer | None] = {"upperdir": upper, "workdir": work}
    try:
        return _detached(lowers, layers, options)
    except _NoLowerdirPlus:
        return _in_namespace_of_its_own(lowers, layers, options)


def _in_namespace_of_its_own(
    lowers: Sequence[Layer], layers: dict[str, Layer | None], options: Sequence[str]
) -> int:
    """mount(2) needs a place: one that only a short-lived thread can see, where a copy is taken off it."""

    def work() -> int:
        _unshare(_CLONE_NEWNS, "unshare the mount namespace")
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        _mount_at_once("/proc", lowers, layers, options)
        return open_tree("/proc")

    return _in_thread(work)


def _mount_by_steps(
    target: Name, lowers: Sequence[Layer], layers: dict[str, Layer | None], options: Sequence[str]
) -> None:
    mounted = _detached(lowers, layers, options)
    try:
        move_mount(mounted, target)
    finally:
        os.close(mounted)


def _detached(lowers: Sequence[Layer], layers: dict[str, Layer | None], options: Sequence[str]) -> int:
    with ExitStack() as stack:
        try:
            config = fsopen("overlay")
        except MountError as error:
            if error.errno == errno.ENOSYS:
                raise _NoLowerdirPlus from None
            raise
        stack.callback(os.close, config)
        fsconfig_string(config, "source", "overlay")
        for index, lower in enumerate(lowers):
            try:
                _configure_layer(config, "lowerdir+", lower)
            except MountError as error:
                if index == 0 and error.errno == errno.EINVAL and "nknown parameter" in error.log:
                    raise _NoLowerdirPlus from None
                raise
        for key, layer in layers.items():
            if layer is not None:
                _configure_layer(config, key, layer)
        for option in options:
            _configure_option(config, option)
        fsconfig_create(config)
        return fsmount(config, MOUNT_ATTR_RDONLY if layers["upperdir"] is None else 0)


def _configure_option(config: int, option: str) -> None:
    key, equals, value = option.partition("=")
    if equals:
        fsconfig_string(config, key, value)
    else:
        fsconfig_flag(config, key)


def _configure_layer(config: int, key: str, layer: Layer) -> None:
    """Name a layer by its path where that is short, so that /proc/mounts shows it."""
    if isinstance(layer, int):
        _configure_descriptor(config, key, layer)
    elif len(os.fsencode(layer)) <= FSCONFIG_STRING_MAX:
        fsconfig_string(config, key, layer)
    else:
        with ExitStack() as stack:
            _configure_descriptor(config, key, _as_descriptor(layer, stack))


def _configure_descriptor(config: int, key: str, fd: int) -> None:
    try:
        fsconfig_fd(config, key, fd)
    except MountError as error:
        if error.errno != errno.EINVAL:
            raise
        fsconfig_string(config, key, f"/proc/self/fd/{fd}")  # before descriptors were taken


def _mount_at_once(
    target: Name, lowers: Sequence[Layer], layers: dict[str, Layer | None], options: Sequence[str]
) -> None:
    flags = MS_RDONLY if layers["upperdir"] is None else 0
    with ExitStack() as stack:
        given = [_as_path(lower, stack) for lower in lowers]
        others = {key: _as_path(layer, stack) for key, layer in layers.items() if layer is not None}
        text = _option_string(given, others, options)
        plain = not any(byte in name for name in (*given, *others.values()) for byte in _SPECIAL)
        if plain and len(text) < os.sysconf("SC_PAGE_SIZE"):
            mount("overlay", target, "overlay", flags, text)
            return
        numbers = [b"%d" % _as_descriptor(lower, stack) for lower in lowers]
        others = {
            key: b"%d" % _as_descriptor(layer, stack) for key, layer in layers.items() if layer is not None
        }
        _mount_from_descriptors(
            os.path.abspath(os.fsencode(target)), _option_string(numbers, others, options), flags
        )


def _option_string(lowers: list[bytes], others: dict[str, bytes], options: Sequence[str]) -> bytes:
    parts = [option.encode() for option in options]
    parts.append(b"lowerdir=" + b":".join(lowers))
    parts += [key.encode() + b"=" + value for key, value in others.items()]
    return b",".join(parts)


def _mount_from_descriptors(target: bytes, text: bytes, flags: int) -> None:
    """mount(2) in a thread whose working directory is /proc/self/fd, its own after unshare(CLONE_FS)."""

    def work() -> int:
        _unshare(_CLONE_FS, "unshare the working directory")
        os.chdir("/proc/self/fd")
        mount("overlay", target, "overlay", flags, text)
        return 0

    _in_thread(work)


def _unshare(what: int, action: str) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(ctypes.c_int(what)) < 0:
        raise MountError(action, ctypes.get_errno())


def _in_thread(work: Callable[[], int]) -> int:
    """What it gives, in a thread that may part with what threads share."""
    from threading import Thread

    made: list[int] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:
            failure.append(error)

    thread = Thread(target=run, name="overlay-mount")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return made[0]


def _as_path(layer: Layer, stack: ExitStack) -> bytes:
    """An absolute path of a layer; a descriptor has one under /proc while it is open."""
    if isinstance(layer, int):
        return b"/proc/self/fd/%d" % layer
    return os.path.abspath(os.fsencode(layer))


def _as_descriptor(layer: Layer, stack: ExitStack) -> int:
    if isinstance(layer, int):
        return layer
    try:
        fd = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"open layer {os.fsdecode(layer)}", error.errno or errno.EIO) from None
    stack.callback(os.close, fd)
    return fd
