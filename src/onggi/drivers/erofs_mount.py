"""Mounts of layers that are contents and an index, and of stacks of them.

A layer's mount is detached: ``fsopen``, ``fsmount``, and a descriptor in hand that nothing sees.
Overlayfs takes it as a lower directory by descriptor; only the stack itself is attached. So no
mountpoint can be left behind, and closing the descriptors or unmounting the stack ends them all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from onggi.drivers.erofs_files import data_file
from onggi.drivers.erofs_names import DIFF, INDEX
from onggi.errors import DataLoss, FailedPrecondition
from onggi.linux.filesystem import statfs_type
from onggi.linux.mount import MountError, bind_mount, overlay_mount
from onggi.linux.mount_calls import (
    FSCONFIG_STRING_MAX,
    MOUNT_ATTR_RDONLY,
    fsconfig_create,
    fsconfig_string,
    fsmount,
    fsopen,
    move_mount,
)

__all__ = [
    "OVERLAY_OPTIONS",
    "CannotMount",
    "DamagedIndex",
    "detached_mount",
    "layer_mount",
    "mount_stack",
    "stack_mounts",
]

# Every layer is a file system of its own here. With this overlayfs gives all of a stack one device
# number and no inode number twice, as where the layers are directories of one file system; without
# it `tar --one-file-system` and `du -x` would pass most of an image over.
OVERLAY_OPTIONS = ("xino=on",)

OpenLayers = Callable[[Sequence[Path]], list[int]]


class CannotMount(FailedPrecondition):
    """This kernel, user or file system mounts no layers of this driver; keeping them works."""

    def __init__(self, path: Path, reason: str, hint: str) -> None:
        super().__init__(f"mount layer {path}: {reason}", hint=hint)


class DamagedIndex(DataLoss):
    """The kernel refuses a layer's index."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"mount layer {path}: the kernel refuses its index: {cause}",
            hint="'onggi verify' tells what is wrong, 'onggi repair' writes the index anew",
        )


def layer_mount(layer: Path) -> int:
    """A detached, read-only mount of the layer in a directory; the caller closes it.

    Raises CannotMount, DamagedIndex.
    """
    return detached_mount(layer, layer / INDEX, data_file(layer))


def detached_mount(layer: Path, index: Path, data: Path) -> int:
    """The same for an index and its data wherever they are; ``layer`` is what errors name."""
    try:
        return _detached(index, data)
    except MountError as error:
        raise _explained(layer, error) from error
    except OSError as error:
        raise DamagedIndex(layer, error.strerror or str(error)) from error


def _detached(index: Path, data: Path) -> int:
    with ExitStack() as stack:
        config = fsopen("erofs")
        stack.callback(os.close, config)
        fsconfig_string(config, "source", _short(index, stack))
        if os.stat(data).st_size:
            fsconfig_string(config, "device", _short(data, stack))
        fsconfig_create(config)
        return fsmount(config, MOUNT_ATTR_RDONLY)


def _short(path: Path, stack: ExitStack) -> Path:
    """The same file by a name that fsconfig takes."""
    if len(os.fsencode(path)) <= FSCONFIG_STRING_MAX:
        return path
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return Path(f"/proc/self/fd/{fd}")


def _explained(layer: Path, error: MountError) -> FailedPrecondition | DataLoss:
    number = error.errno
    if number == errno.ENOTBLK:
        where = statfs_type(str(layer))
        hint = "put the data root on ext4, xfs or btrfs, or use --storage-driver overlay2 there"
        return CannotMount(layer, f"the kernel mounts no EROFS image that is a file on {where}", hint)
    if number in (errno.ENODEV, errno.ENOSYS):
        hint = "load the module erofs (Linux 6.12 or newer, CONFIG_EROFS_FS_BACKED_BY_FILE), or use overlay2"
        return CannotMount(layer, "this kernel has no EROFS, or not its new mount calls", hint)
    if number in (errno.EPERM, errno.EACCES):
        hint = "looking works without: onggi image ls, image cat, image cp, layer ls"
        return CannotMount(layer, "mounting needs root", hint)
    return DamagedIndex(layer, error.log or error.message)


@contextmanager
def stack_mounts(layers: Sequence[Path], open_layers: OpenLayers) -> Iterator[list[int | Path]]:
    """What overlayfs takes for each layer's directory: a mount's descriptor, or where it lies unpacked.

    ``open_layers`` gives descriptors of the layers that are not unpacked.
    """
    unpacked = {layer for layer in layers if (layer / DIFF).is_dir()}
    kept = [layer for layer in layers if layer not in unpacked]
    descriptors = open_layers(kept) if kept else []
    try:
        mounts = iter(descriptors)
        yield [layer / DIFF if layer in unpacked else next(mounts) for layer in layers]
    finally:
        for fd in descriptors:
            os.close(fd)


def mount_stack(lowers: Sequence[int | Path], target: Path) -> None:
    """Mount what :func:`stack_mounts` gives read-only on a directory."""
    if len(lowers) > 1:
        overlay_mount(target, lowers, options=OVERLAY_OPTIONS)
    elif isinstance(lowers[0], int):
        move_mount(lowers[0], target)
    else:
        bind_mount(lowers[0], target, read_only=True)
