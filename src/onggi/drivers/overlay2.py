"""Docker's overlay2: one directory a layer, stacked by the kernel's overlay file system.

::

    R/overlay2/
    ├── l/<link>              → ../<cache-id>/diff     short names, so that more layers fit a mount
    └── <cache-id>/           0710
        ├── diff/             0755  the layer's files; whiteouts are char devices 0:0
        ├── link              0644  <link>, 26 characters
        ├── lower             0644  l/<parent's link>[:<parent's lower>]    (not at the base)
        ├── work/             0700                                          (not at the base)
        └── committed         0600  empty: somebody was built on this one

A layer is staged under ``onggi/staging`` and renamed into place whole; Docker builds it in
place. Nothing refers to it before its layerdb entry exists, so a crash leaves garbage that
:meth:`Overlay2.remove` clears (docker-engine §4.5, §4.6).

Looking at layers needs no system calls of ours: ctypes is loaded when something is made, mounted
or asked of the file system.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.drivers import unpacked
from onggi.drivers.staged import StagedDirectory
from onggi.errors import DataLoss, FailedPrecondition, InvalidArgument
from onggi.oci.digest import CacheID, DiffID, LinkID
from onggi.store.atomic import (
    make_directory,
    read_optional,
    remove_tree,
    stage_file,
    write_file,
)
from onggi.store.layerdb import is_cache_id

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from onggi.archive.tar import Member
    from onggi.drivers.flaw import Flaw
    from onggi.drivers.job import Job
    from onggi.tree.layer_tree import KeptDirectories, LayerTree

__all__ = ["DamagedLayer", "NeedsRoot", "Overlay2", "why_not_kept"]

_LINK = re.compile(r"[A-Z2-7]{26}")
# Docker refuses deeper chains when it registers a layer.
MAX_DEPTH = 125
# File systems on which an overlay's upper directory does not work.
_REFUSED_FILESYSTEMS = frozenset({"aufs", "ecryptfs", "nfs", "overlayfs", "zfs"})


class NeedsRoot(FailedPrecondition):
    """overlay2 keeps true owners and devices, which needs root."""

    def __init__(self) -> None:
        super().__init__(
            "storage driver overlay2 needs root",
            hint="run as root, or keep images without: --storage-driver erofs",
        )


class DamagedLayer(DataLoss):
    """A layer's directory lacks what overlay2 needs of it."""

    def __init__(self, cache_id: str, reason: str) -> None:
        super().__init__(
            f"layer directory {cache_id}: {reason}", hint="pull the image again: the layer is made anew"
        )
        self.cache_id = cache_id


def why_not_kept(directory: Path) -> str:
    """The file system of an existing directory, when it takes no overlay2 layers; else empty."""
    from onggi.linux.filesystem import statfs_type

    backing = statfs_type(str(directory))
    return backing if backing in _REFUSED_FILESYSTEMS else ""


class Overlay2:
    """The overlay2 directories of one data root."""

    name = "overlay2"
    max_depth = MAX_DEPTH
    job_name = "unpack"
    derived: frozenset[str] = frozenset()

    def __init__(self, home: Path) -> None:
        self._home = home

    def check_host(self) -> None:
        """Raise when this process or file system cannot keep overlay2 layers."""
        if os.geteuid() != 0:
            raise NeedsRoot
        backing = why_not_kept(self._existing_parent())
        if backing:
            raise FailedPrecondition(
                f"storage driver overlay2 is not supported over {backing} ({self._home})",
                hint="put the data root on ext4 or xfs: --data-root",
            )

    def _existing_parent(self) -> Path:
        path = self._home
        while not path.exists() and path != path.parent:
            path = path.parent
        return path

    def prepare(self) -> None:
        """Make the driver's own directories."""
        make_directory(self._home, 0o710)
        make_directory(self._home / "l", 0o700)

    def status(self) -> list[tuple[str, str]]:
        """Docker's ``DriverStatus`` pairs."""
        from onggi.linux.filesystem import statfs_type

        return [
            ("Backing Filesystem", statfs_type(str(self._existing_parent()))),
            ("Supports d_type", "true"),
            ("Native Overlay Diff", "true" if not _redirect_dir() else "false"),
        ]

    def lacks(self) -> list[tuple[str, str]]:
        """Who can keep layers can mount them."""
        return []

    # --- making ---------------------------------------------------------------------------

    def stage(self, directory: Path, cache_id: CacheID, link: LinkID, *, committed: bool) -> StagedDirectory:
        """Lay out an empty layer in ``directory`` (which must not exist)."""
        make_directory(directory, 0o710)
        make_directory(directory / "diff", 0o755)
        if committed:
            _write(directory / "committed", "", 0o600)
        _write(directory / "link", link, 0o644)
        return StagedDirectory(cache_id, link, directory)

    def job(self, staged: StagedDirectory, write_set: Path) -> Job:
        """Unpack into ``diff/``."""
        return unpacked.unpack_job(staged, write_set)

    def empty(self, staged: StagedDirectory) -> None:
        """Forget what was unpacked."""
        unpacked.empty(staged)

    def install(self, staged: StagedDirectory, parent: CacheID | None, *, durable: bool = True) -> None:
        """Move a staged layer into place and mark its parent ``committed``; not yet durable.

        Not ``durable``: it never will be.
        """
        if parent is not None:
            lower = self._lower_for_child(parent).encode("ascii")
            if durable:
                write_file(staged.directory / "lower", lower, 0o644, durable_name=False)
            else:
                stage_file(staged.directory / "lower", lower, 0o644)
            make_directory(staged.directory / "work", 0o700)
            self._mark_committed(parent)
        target = self.path(staged.cache_id)
        if target.exists():
            self._replace(target, staged.directory)
        else:
            os.rename(staged.directory, target)
        self._make_link(staged.link, staged.cache_id)

    def _replace(self, target: Path, fresh: Path) -> None:
        """Swap a damaged directory of the same cache-id for a fresh one."""
        from onggi.linux.filesystem import renameat2_exchange

        if (target / "committed").exists() and not (fresh / "committed").exists():
            # Containers stand on it too, and they are not layers.
            _write(fresh / "committed", "", 0o600)
        renameat2_exchange(os.fsencode(fresh), os.fsencode(target))
        remove_tree(fresh, must_succeed=True)

    def _lower_for_child(self, parent: CacheID) -> str:
        lower = f"l/{self.link(parent)}"
        above = self._lower(parent)
        return f"{lower}:{above}" if above else lower

    def _mark_committed(self, cache_id: CacheID) -> None:
        marker = self.path(cache_id) / "committed"
        if not marker.exists():
            _write(marker, "", 0o600)

    def _make_link(self, link: LinkID, cache_id: CacheID) -> None:
        path = self._home / "l" / link
        target = f"../{cache_id}/diff"
        try:
            os.symlink(target, path)
        except FileExistsError:
            if os.readlink(path) != target:
                os.unlink(path)
                os.symlink(target, path)

    # --- looking --------------------------------------------------------------------------

    def path(self, cache_id: CacheID) -> Path:
        """The layer's directory."""
        return self._home / cache_id

    def diff_path(self, cache_id: CacheID) -> Path:
        """The directory with the layer's files."""
        return self._home / cache_id / "diff"

    def link(self, cache_id: CacheID) -> LinkID:
        """The short name of a layer. Raises DamagedLayer."""
        text = (read_optional(self.path(cache_id) / "link") or b"").decode("ascii", "replace").strip()
        if not _LINK.fullmatch(text):
            raise DamagedLayer(cache_id, "its link file is missing or empty")
        return LinkID(text)

    def _lower(self, cache_id: CacheID) -> str:
        return (read_optional(self.path(cache_id) / "lower") or b"").decode("ascii", "replace").strip()

    def damage(self, cache_id: CacheID, parent: CacheID | None) -> str:
        """What makes a layer unusable, or an empty string."""
        if not self.diff_path(cache_id).is_dir():
            return "its directory is gone"
        try:
            target = os.readlink(self._home / "l" / self.link(cache_id))
            expected = "" if parent is None else self._lower_for_child(parent)
        except DamagedLayer as error:
            return error.message
        except OSError:
            return "its short name under l/ is missing"
        if target != f"../{cache_id}/diff":
            return "its short name under l/ leads elsewhere"
        if self._lower(cache_id) != expected:
            return "its lower file does not name its parents"
        return ""

    def flaws(
        self, cache_id: CacheID, parent: CacheID | None, children: list[CacheID], *, used: bool
    ) -> list[Flaw]:
        """Everything wrong with the files around a layer; ``used``: a child or a container stands on it."""
        from onggi.drivers.overlay2_files import Overlay2Files

        return list(Overlay2Files(self._home, cache_id, parent, children, used=used).flaws())

    def mend(
        self, cache_id: CacheID, parent: CacheID | None, children: list[CacheID], *, used: bool
    ) -> list[str]:
        """Make those files anew; returns which. The parent must be mended before."""
        from onggi.drivers.overlay2_files import Overlay2Files

        return Overlay2Files(self._home, cache_id, parent, children, used=used).mend()

    def check(
        self, cache_id: CacheID, entry: Path, part: str, diff_id: DiffID | None, *, fast: bool
    ) -> dict[str, object] | None:
        """Hold the files against tar-split."""
        return unpacked.check_request(self.name, self.diff_path(cache_id), entry, part, fast=fast)

    def derive(self, cache_id: CacheID, diff_id: DiffID) -> dict[str, object] | None:
        """Nothing follows from a layer's content."""
        return None

    def keeps_tar(self, cache_id: CacheID) -> bool:
        """The files are kept, and tar-split."""
        return False

    def can_be_replaced(self, cache_id: CacheID) -> bool:
        """An overlay looks for its files by their names."""
        return False

    def content_size(self, cache_id: CacheID, tar_split: Path) -> int:
        """The layer's size by Docker's rule, counted."""
        return unpacked.content_size(self.diff_path(cache_id))

    def below(self, cache_id: CacheID) -> CacheID | None:
        """The layer that ``lower`` says is right below, or None."""
        name = self._lower(cache_id).split(":")[0]
        if not name:
            return None
        try:
            return CacheID(self._resolve(cache_id, name).parent.name)
        except DamagedLayer:
            return None

    def expected_link(self, cache_id: CacheID, children: list[CacheID]) -> LinkID:
        """The short name that existing children of a damaged layer use for it, else its old or a new one."""
        for child in children:
            name = self._lower(child).split(":")[0].removeprefix("l/")
            if _LINK.fullmatch(name):
                return LinkID(name)
        from onggi.drivers.overlay2_files import Overlay2Files

        return Overlay2Files(self._home, cache_id, None, [], used=False).link() or LinkID.random()

    def cache_ids(self) -> list[CacheID]:
        """Every layer directory there is, containers' included; sorted."""
        try:
            names = os.listdir(self._home)
        except FileNotFoundError:
            return []
        return sorted(CacheID(name) for name in names if name != "l" and not name.startswith("."))

    def graph_data(self, cache_id: CacheID) -> dict[str, str]:
        """Docker's ``GraphDriver.Data``: absolute directories, uppermost lower first."""
        base = self.path(cache_id)
        data = {
            "MergedDir": str(base / "merged"),
            "UpperDir": str(base / "diff"),
            "WorkDir": str(base / "work"),
        }
        lowers = [str(path) for path in self.lowers(cache_id)]
        return {"LowerDir": ":".join(lowers), **data} if lowers else data

    def lowers(self, cache_id: CacheID) -> list[Path]:
        """Directories below a layer, uppermost first, by way of its ``lower`` file."""
        names = [name for name in self._lower(cache_id).split(":") if name]
        return [self._resolve(cache_id, name) for name in names]

    def _resolve(self, cache_id: CacheID, name: str) -> Path:
        try:
            return Path(os.path.normpath(self._home / "l" / os.readlink(self._home / name)))
        except OSError as error:
            raise DamagedLayer(cache_id, f"its lower {name} is missing") from error

    def tar(self, cache_id: CacheID, tar_split: Path) -> Iterator[bytes]:
        """The tar stream that the layer was made from, put together from its files.

        Raises (while iterating): InvalidTarSplit, ContentMismatch, InvalidLayer.
        """
        return unpacked.tar(self.diff_path(cache_id), tar_split)

    def tar_size(self, cache_id: CacheID, tar_split: Path) -> int:
        """Bytes of :meth:`tar`. Raises InvalidTarSplit."""
        return unpacked.tar_size(tar_split)

    def members(self, cache_id: CacheID, tar_split: Path) -> Iterator[Member]:
        """The archive's members in its order. Raises (while iterating): InvalidTarSplit, InvalidTar."""
        return unpacked.members(tar_split)

    def content(self, cache_id: CacheID, tar_split: Path, member: Member) -> Iterator[bytes]:
        """A member's content out of its file. Raises (while iterating) ContentMismatch, InvalidLayer."""
        return unpacked.content(self.diff_path(cache_id), tar_split, member)

    def tree(self, cache_id: CacheID, kept: KeptDirectories) -> LayerTree:
        """``diff/``, opened; the caller closes it. Raises FileNotFoundError."""
        return unpacked.tree(self.diff_path(cache_id), kept)

    def files(self, cache_id: CacheID) -> Path:
        """``diff/``."""
        return self.diff_path(cache_id)

    def mount(self, cache_id: CacheID, target: Path) -> None:
        """Mount the stack that ends in ``cache_id`` read-only on ``target``."""
        from onggi.linux.mount import overlay_mount

        overlay_mount(target, self._stack(cache_id))

    def _stack(self, cache_id: CacheID) -> list[Path]:
        stack = [self.diff_path(cache_id), *self.lowers(cache_id)]
        for path in stack:
            if not path.is_dir():
                raise DamagedLayer(path.parent.name, "its directory is gone")
        return stack

    @contextmanager
    def opened(self, cache_id: CacheID) -> Iterator[list[Path]]:
        """The directories of the stack that ends in a layer, uppermost first."""
        yield self._stack(cache_id)

    def release_mounts(self, used: Callable[[], Collection[CacheID]]) -> None:
        """Nothing is held beside the mounts themselves."""

    # --- removing -------------------------------------------------------------------------

    def remove(self, cache_id: CacheID) -> None:
        """Delete a layer's directory and short name; what is gone already is no error."""
        if not is_cache_id(cache_id.removesuffix("-init")):
            raise InvalidArgument(f"remove layer: {cache_id!r} is no cache-id")
        link = (read_optional(self.path(cache_id) / "link") or b"").decode("ascii", "replace").strip()
        if _LINK.fullmatch(link):
            _unlink(self._home / "l" / link)
        remove_tree(self.path(cache_id), must_succeed=True)

    def usage(self, cache_id: CacheID) -> int:
        """Bytes of blocks of the layer's directory and its short name, without what is mounted there."""
        from onggi.tree.size import disk_usage

        path = self.path(cache_id)
        link = (read_optional(path / "link") or b"").decode("ascii", "replace").strip()
        return disk_usage(path) + (disk_usage(self._home / "l" / link) if _LINK.fullmatch(link) else 0)

    def orphan_links(self) -> list[str]:
        """Short names that lead nowhere."""
        directory = self._home / "l"
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not (directory / name).exists())

    def remove_link(self, link: str) -> None:
        """Delete a short name."""
        _unlink(self._home / "l" / link)

    def flush(self, staged: Sequence[StagedDirectory]) -> None:
        """Flush all that was written so far to this file system."""
        self._sync()

    def sync(self, staged: Sequence[StagedDirectory], write_sets: Sequence[Path]) -> None:
        """The same again, for what was installed since."""
        self._sync()

    def _sync(self) -> None:
        from onggi.linux.filesystem import syncfs

        fd = os.open(self._home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)


def _write(path: Path, text: str, mode: int) -> None:
    stage_file(path, text.encode("ascii"), mode)


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _redirect_dir() -> bool:
    return (read_optional("/sys/module/overlay/parameters/redirect_dir") or b"").strip() == b"Y"
