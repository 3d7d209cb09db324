"""One mount of each layer for the whole host, so that all who use a layer share its page cache.

Two mounts of one index are two file systems to the kernel: each reads and caches the layer for
itself. A clone of a mount is not. So a layer is attached once, in a mount namespace that no
process lives in, and everybody is given clones::

    <exec root>/layers/<data root>/       bound to itself, private, while there is a namespace
    └── namespace                         a bind mount of the mount namespace, which holds
        └── <cache-id>.<inodes>/          the layer, attached; named after the files it was made of

The namespace holds nothing else: a file system in memory, whose directories are the mountpoints.
A layer that was replaced has other inodes and so another place. The files below are in use as
long as a layer is attached, so whoever unmounts a stack lets go of what nobody uses any more
(:meth:`LayerMounts.keep_only`); the last one takes the namespace away.

Where there can be no such namespace, layers are mounted for each stack anew.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from onggi.drivers.erofs_files import data_file
from onggi.drivers.erofs_mount import layer_mount
from onggi.drivers.erofs_names import INDEX, mounts_directory
from onggi.linux.filesystem import is_mountpoint
from onggi.linux.mount_calls import (
    MS_BIND,
    MS_PRIVATE,
    MountError,
    mount,
    move_mount,
    open_tree,
    unmount,
)
from onggi.linux.namespaces import empty_mount_namespace, in_mount_namespace, is_mount_namespace

__all__ = ["LayerMounts"]


class LayerMounts:
    """The attached layers of one data root; ``home`` is the driver's directory.

    Used by many processes at once: a lock on ``home`` spans each look and change.
    """

    def __init__(self, home: Path, exec_root: Path) -> None:
        self._home = home
        self._exec_root = exec_root

    def clones(self, layers: Sequence[Path]) -> list[int]:
        """A detached mount of each layer's directory; the caller closes them.

        Raises CannotMount, DamagedIndex.
        """
        try:
            with self._locked() as directory:
                namespace = self._open(directory) or self._make(directory)
                try:
                    return _clones(namespace, layers)
                except BaseException:
                    self._detach(directory, namespace, lambda _: False)
                    raise
                finally:
                    os.close(namespace)
        except (MountError, OSError):
            # No right to make one, a namespace that forbids it, a read-only /run: it goes without.
            return _all_or_none(layer_mount(layer) for layer in layers)

    def keep_only(self, used: Callable[[], Collection[str]]) -> None:
        """Detach the layers whose cache-ids are not among ``used``, which is asked if there are any."""

        def unwanted() -> Callable[[str], bool]:
            keep = used()
            return lambda cache_id: cache_id not in keep

        self._detach_if(unwanted)

    def drop(self, cache_id: str) -> None:
        """Detach one layer, whose files go."""
        self._detach_if(lambda: lambda other: other == cache_id)

    def _detach_if(self, rule: Callable[[], Callable[[str], bool]]) -> None:
        if not (self._exec_root / "layers").exists() or not self._home.exists():
            return
        with self._locked() as directory:
            namespace = self._open(directory)
            if namespace is not None:
                try:
                    self._detach(directory, namespace, rule())
                finally:
                    os.close(namespace)

    def _detach(self, directory: Path, namespace: int, unwanted: Callable[[str], bool]) -> None:
        """Detach the layers of unwanted cache-ids; with the last one the namespace goes."""
        if not in_mount_namespace(namespace, lambda: _detach(unwanted)):
            self._forget(directory)

    # --- the namespace --------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """Alone with the namespace; gives its directory."""
        fd = os.open(self._home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield mounts_directory(self._exec_root, os.fstat(fd))
        finally:
            os.close(fd)

    def _open(self, directory: Path) -> int | None:
        try:
            fd = os.open(directory / "namespace", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            return None
        if is_mount_namespace(fd):
            return fd
        os.close(fd)  # left by a host that was switched off, or bound in a namespace that we do not see
        return None

    def _make(self, directory: Path) -> int:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A mount namespace cannot be bound where it would spread to other namespaces.
        if not is_mountpoint(os.fsencode(directory)):
            mount(directory, directory, "", MS_BIND)
        try:
            mount("", directory, "", MS_PRIVATE)
            (directory / "namespace").touch(0o600)
            return _bound_namespace(directory)
        except BaseException:
            unmount(directory)
            raise

    def _forget(self, directory: Path) -> None:
        unmount(directory / "namespace")
        (directory / "namespace").unlink()
        unmount(directory)
        directory.rmdir()


def _bound_namespace(directory: Path) -> int:
    """A new namespace, and a bind mount of it.

    The kernel binds only namespaces younger than the one we are in, and tells ages by numbers
    that each CPU takes from a range of its own (Linux 6.18): so each CPU has its turn, and the one
    that made ours gives a greater number for sure.
    """
    for cpu in (None, *sorted(os.sched_getaffinity(0))):
        namespace = empty_mount_namespace(os.fsencode(directory), cpu)
        try:
            mount(f"/proc/self/fd/{namespace}", directory / "namespace", "", MS_BIND)
        except MountError as error:
            os.close(namespace)
            if error.errno != errno.EINVAL:
                raise
        else:
            return namespace
    raise MountError("bind a mount namespace", errno.EINVAL)


def _place(layer: Path) -> str:
    """Where a layer is attached: under the name of its directory and of the very files in it."""
    numbers = (os.stat(path) for path in (layer / INDEX, data_file(layer)))
    return ".".join((layer.name, *(f"{each.st_dev:x}-{each.st_ino:x}" for each in numbers)))


def _clones(namespace: int, layers: Sequence[Path]) -> list[int]:
    places = [_place(layer) for layer in layers]
    missing = in_mount_namespace(namespace, lambda: [place for place in places if not _is_attached(place)])
    fresh: dict[str, int] = {}
    try:
        for layer, place in zip(layers, places, strict=True):
            if place in missing and place not in fresh:
                fresh[place] = layer_mount(layer)

        def attach_and_clone() -> list[int]:
            for place, fd in fresh.items():
                os.makedirs(f"/{place}", 0o700, exist_ok=True)
                move_mount(fd, f"/{place}")
            return _all_or_none(open_tree(f"/{place}") for place in places)

        return in_mount_namespace(namespace, attach_and_clone)
    finally:
        for fd in fresh.values():
            os.close(fd)


def _is_attached(place: str) -> bool:
    try:
        return os.stat(f"/{place}").st_dev != os.stat("/").st_dev
    except FileNotFoundError:
        return False


def _all_or_none(descriptors: Iterator[int]) -> list[int]:
    """All of them open, or none when one cannot be had."""
    found: list[int] = []
    with ExitStack() as stack:
        for fd in descriptors:
            stack.callback(os.close, fd)
            found.append(fd)
        stack.pop_all()
    return found


def _detach(unwanted: Callable[[str], bool]) -> int:
    """Called in the namespace; gives how many are left."""
    left = 0
    for place in os.listdir("/"):
        if not unwanted(place.partition(".")[0]) and _is_attached(place):
            left += 1
            continue
        if _is_attached(place):
            unmount(f"/{place}")
        os.rmdir(f"/{place}")
    return left
