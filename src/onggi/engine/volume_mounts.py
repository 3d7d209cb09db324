"""Volumes whose files are on something else (``-o type=…,device=…``): mounted while they are used.

A volume is mounted on its ``_data``, where everybody on the host sees it as with Docker, and once
for all who use it. Who uses it holds ``volume-mount-<name>``, shared: a container's supervisor for
as long as it lives, who fills it for that moment. Who gets it alone knows that nobody uses the
volume, and unmounts what a killed one left.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping

from onggi.engine.core import Core
from onggi.errors import FailedPrecondition, Unavailable
from onggi.linux.filesystem import is_mountpoint
from onggi.store.locks import Lease
from onggi.store.volumes import StoredVolume

__all__ = ["CannotMountVolume", "VolumeMounts", "volume_lock"]

_PATIENCE_S = 30.0
_ADDRESS = re.compile(r"(?:^|,)addr=([^,]+)")
_PASSWORD = re.compile(r"(^|,)(password|pass)=[^,]*")


class CannotMountVolume(FailedPrecondition):
    """The kernel does not mount what the volume's options say; the cause is its OSError."""

    def __init__(self, path: str, call: str, reason: str) -> None:
        super().__init__(
            f"error while mounting volume '{path}': failed to mount local volume: {call}: {reason}",
            hint="'onggi volume inspect' shows its options",
        )


def volume_lock(name: str) -> str:
    """Held, shared, by who uses a volume that is mounted for it."""
    return f"volume-mount-{name}"


class VolumeMounts:
    """Mounts of one data root's volumes."""

    def __init__(self, core: Core) -> None:
        self._locks = core.locks

    def hold(self, volume: StoredVolume) -> Lease:
        """Have it mounted, as long as the lease (or a copy of its descriptor) is held.

        Release the lease, then :meth:`let_go`. Raises CannotMountVolume.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            lease = self._locks.try_acquire(volume_lock(volume.name), exclusive=True)
            if lease is not None:
                return self._mounted(volume, lease)
            lease = self._locks.try_acquire(volume_lock(volume.name), exclusive=False)
            if lease is not None and is_mountpoint(str(volume.path)):
                return lease
            if lease is not None:
                lease.release()
            time.sleep(0.01)  # somebody mounts it, or lets it go
        raise Unavailable(f"mount volume {volume.name}: it was unmounted while containers use it")

    def _mounted(self, volume: StoredVolume, lease: Lease) -> Lease:
        try:
            self._unmount(volume)
            _mount(str(volume.path), volume.options or {})
        except BaseException:
            lease.release()
            raise
        lease.share()
        return lease

    def let_go(self, volume: StoredVolume) -> None:
        """Unmount it, unless somebody uses it."""
        if not volume.is_mounted_when_used:
            return
        lease = self._locks.try_acquire(volume_lock(volume.name), exclusive=True)
        if lease is None:
            return
        with lease:
            self._unmount(volume)
            lease.release(remove=True)

    def _unmount(self, volume: StoredVolume) -> None:
        from onggi.linux.mount import unmount

        while is_mountpoint(str(volume.path)):
            unmount(str(volume.path))


def _mount(target: str, options: Mapping[str, str]) -> None:
    from onggi.linux.mount_calls import MountError
    from onggi.linux.mount_options import mount_with, parse_mount_options

    device, kind = options.get("device", ""), options.get("type", "")
    text = options.get("o", "")
    if kind in ("nfs", "cifs"):
        text = _with_address(text)
    wanted = parse_mount_options(text)
    try:
        mount_with(device, target, kind, wanted)
    except MountError as error:
        call = f"mount {device}:{target}"
        call += f", flags: {wanted.flags:#x}" if wanted.flags else ""
        data = _PASSWORD.sub(r"\1\2=********", wanted.data)
        call += f", data: {data}" if data else ""
        cause = OSError(error.errno, os.strerror(error.errno))
        raise CannotMountVolume(target, call, os.strerror(error.errno).lower()) from cause


def _with_address(text: str) -> str:
    """The kernel knows numbers only: ``addr=host`` by what its name means."""
    match = _ADDRESS.search(text)
    if match is None:
        return text
    try:
        address = socket.getaddrinfo(match[1], None)[0][4][0]
    except OSError as error:
        raise Unavailable(f"look up {match[1]}: {error.strerror}") from error
    return text.replace(f"addr={match[1]}", f"addr={address}", 1)
