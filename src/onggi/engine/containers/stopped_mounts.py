"""The root of a container that does not run, with what would be mounted in it if it did.

Docker mounts volumes and files of the host into a stopped container's root for ``cp``. Here that is
done in a mount namespace that only this process has. Source: moby ``daemon/archive.go``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack

from onggi.engine.containers.init_layer import ensure_directory
from onggi.engine.containers.start_mounts import prepare_mounts
from onggi.engine.core import Core
from onggi.linux.mount_calls import MOUNT_ATTR_RDONLY, mount_setattr, move_mount, open_tree
from onggi.linux.namespaces import copied_mount_namespace
from onggi.linux.openat2 import open_in_root
from onggi.record import record
from onggi.runtime.directories import running_directory
from onggi.store.containers import StoredContainer

__all__ = ["stopped_root"]

_PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NETWORK_FILES = (
    ("HostnamePath", "/etc/hostname"),
    ("HostsPath", "/etc/hosts"),
    ("ResolvConfPath", "/etc/resolv.conf"),
)


@record
class _Source:
    """What is to be seen at ``destination``: a path of the host, or a mount that is attached nowhere yet."""

    path: str
    mount: int | None
    destination: str
    writable: bool


def stopped_root(core: Core, stored: StoredContainer, held: ExitStack) -> int:
    """The root (O_PATH); ``held`` closes it, and ends the mounts with it.

    The caller has the lease that keeps the container from being started. Raises DataLoss, MountError,
    CannotMountVolume, VolumeNotFound.
    """
    place = core.containers.path(stored.id)
    with ExitStack() as passing:
        root = core.writable.mount(core.writable.get(stored.id))
        passing.callback(os.close, root)
        mounts = []
        for source in _sources(core, stored, held):
            tree = source.mount
            if tree is None:
                tree = open_tree(source.path, recursive=True)
                passing.callback(os.close, tree)
            if not source.writable:
                mount_setattr(tree, MOUNT_ATTR_RDONLY)
            mounts.append((tree, source))

        def attach() -> int:
            move_mount(root, place)
            top = os.open(place, _PATH_DIRECTORY)
            try:
                for tree, source in mounts:
                    _attach(top, tree, source)
            except BaseException:
                os.close(top)
                raise
            return top

        namespace, top = copied_mount_namespace(attach)
        held.callback(os.close, namespace)
        held.callback(os.close, top)
        return top


def _sources(core: Core, stored: StoredContainer, held: ExitStack) -> Iterator[_Source]:
    """Those that are there; a directory before what is mounted in it. A part of an image is left out."""
    bundle = running_directory(core.config.exec_root, stored.id)
    prepared = prepare_mounts(core, stored, bundle, held)
    detached = {target: mount for mount, target in prepared.attached}
    points = stored.document.get("MountPoints") or {}
    for destination, point in sorted(points.items()):
        path = prepared.sources.get(destination) or point.get("Source") or ""
        if path in detached or (path and point.get("Type") != "tmpfs" and os.path.exists(path)):
            yield _Source(path, detached.get(path), destination, bool(point.get("RW")))
    for field, destination in _NETWORK_FILES:
        path = stored.document.get(field) or ""
        if path and destination not in points and os.path.exists(path):
            yield _Source(path, None, destination, writable=True)


def _attach(top: int, tree: int, source: _Source) -> None:
    target = _target(top, os.fsencode(source.destination), directory=stat.S_ISDIR(os.fstat(tree).st_mode))
    try:
        move_mount(tree, target)
    finally:
        os.close(target)


def _target(top: int, path: bytes, *, directory: bool) -> int:
    """Where it is mounted, made as the runtime would make it."""
    try:
        return open_in_root(top, path, os.O_PATH)
    except FileNotFoundError:
        pass
    if directory:
        ensure_directory(top, os.fsdecode(path))
        return open_in_root(top, path, os.O_PATH)
    parent, _, name = path.rpartition(b"/")
    ensure_directory(top, os.fsdecode(parent) or "/")
    above = open_in_root(top, parent, _PATH_DIRECTORY)
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o755, dir_fd=above))
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    finally:
        os.close(above)
