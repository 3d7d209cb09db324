"""Who may write a data root, and with which storage driver it was filled.

Never two masters: a live dockerd holds ``volumes/metadata.db`` with an exclusive ``flock``
for life. A mutating verb holds a shared one for its duration: it fails at once under a
live dockerd, and makes a dockerd that starts meanwhile refuse to.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.errors import FailedPrecondition, InvalidArgument
from onggi.store.atomic import ReadOnlyRoot, read_optional, translate_os_error, write_cache
from onggi.store.layout import Layout

# A random UUID (RFC 9562 §5.4) with every read; Python's module for it costs milliseconds.
_RANDOM_UUID = Path("/proc/sys/kernel/random/uuid")

__all__ = ["DataRootOwned", "DriverMismatch", "claim", "engine_id", "open_layout", "populated_drivers"]


class DataRootOwned(FailedPrecondition):
    """A live Docker daemon is the master of this data root."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"write {root}: a running Docker daemon owns this data root",
            hint="reading works; to change it, stop that daemon or choose another --data-root",
            retryable=True,
        )
        self.root = root


class DriverMismatch(InvalidArgument):
    """The data root was filled by another storage driver than the one asked for."""

    def __init__(self, root: Path, present: str, wanted: str) -> None:
        super().__init__(
            f"open {root}: it holds images of storage driver {present}, not {wanted}",
            hint=f"use --storage-driver {present}, or another --data-root",
        )
        self.root = root
        self.present = present


def populated_drivers(root: Path) -> list[str]:
    """Storage drivers whose image database holds at least one image, sorted."""
    try:
        names = sorted(os.listdir(root / "image"))
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise ReadOnlyRoot(str(root), "permission denied") from error
    return [name for name in names if _has_images(root / "image" / name)]


def _has_images(image: Path) -> bool:
    try:
        return bool(os.listdir(image / "imagedb" / "content" / "sha256"))
    except (FileNotFoundError, NotADirectoryError):
        return False


def open_layout(root: Path, wanted: str, supported: tuple[str, ...]) -> Layout:
    """The layout of a root for the driver that fits; makes nothing.

    ``wanted`` empty means: the driver the root was filled with, else the first supported
    one. Raises DriverMismatch rather than hide images behind a switch of drivers.
    """
    if wanted and wanted not in supported:
        raise InvalidArgument(
            f"storage driver {wanted!r} is not supported",
            hint=f"supported here: {', '.join(supported)}",
        )
    present = populated_drivers(root)
    driver = wanted or next((name for name in supported if name in present), supported[0])
    if present and driver not in present:
        raise DriverMismatch(root, present[0], driver)
    return Layout(root, driver)


@contextmanager
def claim(root: Path) -> Iterator[None]:
    """Hold the right to change ``root``. Raises DataRootOwned or ReadOnlyRoot."""
    path = root / "volumes" / "metadata.db"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise translate_os_error(error, str(path)) or error from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataRootOwned(root) from error
        yield
    finally:
        os.close(fd)


def engine_id(root: Path) -> str | None:
    """The UUID in ``engine-id``; None before the first write."""
    data = read_optional(root / "engine-id")
    return None if data is None else data.decode("ascii", "replace").strip()


def create_engine_id(root: Path) -> None:
    """Give a root its identity, once; durable with the first thing that is kept in the root."""
    if engine_id(root) is None:
        write_cache(root / "engine-id", _RANDOM_UUID.read_bytes().strip(), 0o600)
