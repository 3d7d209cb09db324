"""Writable layers of containers, on each storage driver.

A container has two directories of the driver: ``<mount-id>-init`` on the image's top layer,
with the places where files are bound into it, and ``<mount-id>`` on that, which takes what it
changes (docker-engine §4.8). Both look like layers that were unpacked.

A stack is mounted detached: a descriptor that nothing sees, to be attached where the container
runs, or closed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from onggi.drivers.overlay2 import Overlay2
from onggi.drivers.staged import StagedDirectory
from onggi.oci.digest import CacheID, LinkID
from onggi.store.atomic import make_directory

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence

    from onggi.drivers.erofs import Erofs

__all__ = ["ErofsWritable", "Overlay2Writable", "open_writable"]

_PARAMETERS = "/sys/module/overlay/parameters"


def open_writable(driver: object) -> Overlay2Writable | ErofsWritable:
    """Writable layers on a storage driver. Raises TypeError for one that has none."""
    if isinstance(driver, Overlay2):
        return Overlay2Writable(driver)
    from onggi.drivers.erofs import Erofs

    if isinstance(driver, Erofs):
        return ErofsWritable(driver)
    raise TypeError(f"no writable layers on {driver!r}")


def _options() -> tuple[str, ...]:
    """An upper directory that says by itself what it changes, whatever the kernel's defaults are.

    Without an index, which would tie it to one stack, as Docker mounts; without names that lead to
    another path below (``redirect_dir``) and files that have their content there (``metacopy``).
    """
    names = ("index", "redirect_dir", "metacopy")
    return tuple(f"{name}=off" for name in names if os.path.exists(f"{_PARAMETERS}/{name}"))


def _mount(
    lowers: Sequence[Path | int], upper: Path, work: Path, options: tuple[str, ...], *, volatile: bool
) -> int:
    from onggi.linux.mount import MountError, overlay_writable

    _forget_volatile(work)
    if volatile:
        try:
            return overlay_writable(lowers, upper, work, options=(*options, "volatile"))
        except MountError as error:
            if error.errno != errno.EINVAL:
                raise  # else the kernel, older than 5.10, does not know the word
    return overlay_writable(lowers, upper, work, options=options)


def _forget_volatile(work: Path) -> None:
    """The mark by which the kernel refuses an upper directory whose volatile mount may have been cut off.

    The containers that have one are removed after a crash, not started again.
    """
    mark = f"{work}/work/incompat"
    try:
        os.unlink(f"{mark}/volatile/dirty")
        os.rmdir(f"{mark}/volatile")
        os.rmdir(mark)
    except OSError:
        return


class Overlay2Writable:
    """Writable layers in Docker's overlay2 layout."""

    def __init__(self, driver: Overlay2) -> None:
        self._driver = driver

    def stage(self, directory: Path, cache_id: CacheID, link: LinkID) -> StagedDirectory:
        """Lay out an empty writable layer."""
        return self._driver.stage(directory, cache_id, link, committed=False)

    def mount(self, cache_id: CacheID, *, volatile: bool = False) -> int:
        """The layer on its stack, detached; the caller closes it. Raises MountError, DataLoss."""
        from onggi.linux.mount_calls import open_tree

        lowers = self._driver.lowers(cache_id)
        diff = self._driver.diff_path(cache_id)
        if not lowers:
            return open_tree(diff)
        work = self._driver.path(cache_id) / "work"
        return _mount(lowers, diff, work, _options(), volatile=volatile)


class ErofsWritable:
    """Writable layers on images that are never unpacked."""

    def __init__(self, driver: Erofs) -> None:
        self._driver = driver

    def stage(self, directory: Path, cache_id: CacheID, link: LinkID) -> StagedDirectory:
        """Lay out an empty writable layer, as of a layer that had to be unpacked."""
        staged = self._driver.stage(directory, cache_id, link, committed=False)
        make_directory(staged.diff, 0o755)
        make_directory(directory / "work", 0o700)
        return staged

    def mount(self, cache_id: CacheID, *, volatile: bool = False) -> int:
        """The layer on its stack, detached; the caller closes it. Raises CannotMount, DataLoss."""
        from onggi.linux.mount_calls import open_tree

        layer = self._driver.path(cache_id)
        below = self._driver.lowers(cache_id)
        if not below:
            return open_tree(layer / "diff")
        # As for images one device number for all of a stack (erofs_mount), but not by force: a stack
        # whose inode numbers the kernel was told to rely on gets an opaque mark on every new directory,
        # and a commit of it would differ from one on overlay2.
        options = (*_options(), "xino=auto")
        with self._driver.opened(CacheID(below[0].name)) as lowers:
            return _mount(lowers, layer / "diff", layer / "work", options, volatile=volatile)
