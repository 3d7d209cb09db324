"""Layers that are never unpacked: the tar as it is, and an index by which the kernel mounts it.

::

    R/erofs/
    └── <cache-id>/           0710
        ├── layer.tar         0400  the layer's uncompressed tar, byte for byte
        ├── layer.erofs       0400  its index: names, owners, modes, times, and where contents lie
        ├── layer.sums        0400  a checksum of every content (archive/layer_sums.py)
        └── parent            0600  cache-id of the layer right below       (not at the base)

    A layer kept with ``erofs.block-size=4096`` (aligned.py), in the place of the tar and its sums:
        ├── layer.data        0400  its contents, each on a block of 4 KiB
        └── tar-split.json.gz 0400  what else its tar is made of

    A layer that no index can show, in the place of all but ``parent``:
        └── diff/             0755  the layer's files as overlay2 has them; tar-split is in layerdb

Keeping needs no privilege and no mount: every user can hold images so, true owners and file
capabilities included. Mounting needs root, Linux 6.12 or newer (EROFS backed by a file) and a
file system below that the kernel takes for it, so not tmpfs and not overlayfs.

A layer is staged under ``onggi/staging`` and renamed into place whole, as with overlay2. The
worker has its data written while they come; ``sync`` makes all of it durable, file by file: a
``syncfs`` would wait for the blobs too, which are deleted a moment later.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onggi.drivers import unpacked
from onggi.drivers.erofs_names import DIFF, INDEX, PARENT, SUMS, mounts_directory
from onggi.drivers.erofs_options import ErofsOptions
from onggi.drivers.job import Job
from onggi.drivers.staged import StagedDirectory
from onggi.errors import DataLoss, InvalidArgument
from onggi.oci.digest import CacheID, DiffID, LinkID
from onggi.store.atomic import make_directory, read_optional, remove_tree, stage_file, sync_directory
from onggi.store.layerdb import is_cache_id

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.archive.tar import Member
    from onggi.drivers.aligned import AlignedFile
    from onggi.drivers.flaw import Flaw
    from onggi.drivers.layer_mounts import LayerMounts
    from onggi.drivers.tar_content import TarFile
    from onggi.tree.layer_tree import KeptDirectories, LayerTree

__all__ = ["Erofs", "MAX_DEPTH"]

MAX_DEPTH = 499
"""Layers of one image: overlayfs takes 500 lower directories, one is left for a container's own."""


class Erofs:
    """The erofs directories of one data root."""

    name = "erofs"
    max_depth = MAX_DEPTH
    derived = frozenset((f"erofs/{INDEX}", f"erofs/{SUMS}"))

    def __init__(self, home: Path, exec_root: Path, options: ErofsOptions | None = None) -> None:
        self._home = home
        self._exec_root = exec_root
        self._options = options or ErofsOptions()
        self.job_name = "keep" if self._options.block_bytes == 512 else "align"

    def check_host(self) -> None:
        """Everybody can keep layers so; whether they can be mounted is told when somebody wants to."""

    def prepare(self) -> None:
        """Make the driver's own directory."""
        make_directory(self._home, 0o710)

    def status(self) -> list[tuple[str, str]]:
        """``DriverStatus``: the file system below, how layers are kept, what can be done with them."""
        from onggi.drivers.erofs_host import status

        return status(self._options, self._existing_parent())

    def lacks(self) -> list[tuple[str, str]]:
        """Mounting and immutable files, where this user, kernel or file system has them not."""
        from onggi.drivers.erofs_host import lacks

        return lacks(self._options, self._existing_parent())

    def _existing_parent(self) -> Path:
        path = self._home
        while not path.exists() and path != path.parent:
            path = path.parent
        return path

    # --- making ---------------------------------------------------------------------------

    def stage(self, directory: Path, cache_id: CacheID, link: LinkID, *, committed: bool) -> StagedDirectory:
        """An empty directory, which must not exist."""
        make_directory(directory, 0o710)
        return StagedDirectory(cache_id, link, directory)

    def job(self, staged: StagedDirectory, write_set: Path) -> Job:
        """Keep the tar, or its contents aligned, and write the index; unpack what no index can show."""
        from onggi.drivers.erofs_files import UUID_DIGITS

        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        directory = os.open(staged.directory, flags)
        try:
            entry = os.open(write_set, flags)
        except BaseException:
            os.close(directory)
            raise
        return Job({"job": self.job_name, "uuid": staged.cache_id[:UUID_DIGITS]}, (directory, entry))

    def empty(self, staged: StagedDirectory) -> None:
        """Forget what was kept."""
        remove_tree(staged.directory, must_succeed=True)
        make_directory(staged.directory, 0o710)

    def install(self, staged: StagedDirectory, parent: CacheID | None, *, durable: bool = True) -> None:
        """Move a staged layer into place; not yet durable."""
        if parent is not None:
            stage_file(staged.directory / PARENT, parent.encode("ascii"), 0o600)
        target = self.path(staged.cache_id)
        if not target.exists():
            os.rename(staged.directory, target)
            return
        from onggi.linux.filesystem import renameat2_exchange

        renameat2_exchange(os.fsencode(staged.directory), os.fsencode(target))
        remove_tree(staged.directory, must_succeed=True)

    def flush(self, staged: Sequence[StagedDirectory]) -> None:
        """Protect what is set to be; flush layers that had to be unpacked, or will take another's place.

        What is new can wait for :meth:`sync`: its place has no meaning before layerdb names it.
        """
        if self._options.immutable:
            from onggi.drivers.erofs_host import protect

            protect([each.directory for each in staged])
        if any(each.diff.is_dir() for each in staged):
            self._sync_file_system()
        _sync_files([each.directory for each in staged if self.path(each.cache_id).exists()])

    def sync(self, staged: Sequence[StagedDirectory], write_sets: Sequence[Path]) -> None:
        """Flush installed layers and write sets file by file, then the names."""
        _sync_files([*(self.path(each.cache_id) for each in staged), *write_sets])
        sync_directory(self._home)

    def _sync_file_system(self) -> None:
        from onggi.linux.filesystem import syncfs

        fd = os.open(self._home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)

    # --- looking --------------------------------------------------------------------------

    def path(self, cache_id: CacheID) -> Path:
        """The layer's directory."""
        return self._home / cache_id

    def diff_path(self, cache_id: CacheID) -> Path:
        """Where the files of a layer lie that had to be unpacked."""
        return self._home / cache_id / DIFF

    def _is_unpacked(self, cache_id: CacheID) -> bool:
        return self.diff_path(cache_id).is_dir()

    def _is_aligned(self, cache_id: CacheID) -> bool:
        from onggi.drivers.erofs_files import is_aligned

        return is_aligned(self.path(cache_id))

    def _kept(self, cache_id: CacheID) -> TarFile | AlignedFile:
        """The content of a layer that is not unpacked."""
        if self._is_aligned(cache_id):
            from onggi.drivers.aligned import AlignedFile

            return AlignedFile(self.path(cache_id))
        from onggi.drivers.tar_content import TarFile

        return TarFile(self.path(cache_id))

    def damage(self, cache_id: CacheID, parent: CacheID | None) -> str:
        """What makes a layer unusable, or an empty string."""
        from onggi.drivers.erofs_files import lost_file, read_size

        base = self.path(cache_id)
        if not self._is_unpacked(cache_id):
            if lost := lost_file(base):
                return f"its {lost} is gone"
            if not read_size(base / INDEX):
                return "its index is missing or empty"
        if self.below(cache_id) != parent:
            return "its parent file does not name the layer below"
        return ""

    def flaws(
        self, cache_id: CacheID, parent: CacheID | None, children: list[CacheID], *, used: bool
    ) -> list[Flaw]:
        """Everything wrong with the files around a layer."""
        from onggi.drivers.erofs_files import ErofsFiles

        return list(ErofsFiles(self._home, cache_id, parent).flaws())

    def mend(
        self, cache_id: CacheID, parent: CacheID | None, children: list[CacheID], *, used: bool
    ) -> list[str]:
        """Make those files anew; returns which."""
        from onggi.drivers.erofs_files import ErofsFiles

        return ErofsFiles(self._home, cache_id, parent).mend()

    def check(
        self, cache_id: CacheID, entry: Path, part: str, diff_id: DiffID | None, *, fast: bool
    ) -> dict[str, object] | None:
        """Hash the tar, derive its index anew; an unpacked layer is held against tar-split."""
        if self._is_unpacked(cache_id):
            return unpacked.check_request(self.name, self.diff_path(cache_id), entry, part, fast=fast)
        from onggi.drivers.erofs_files import check_request

        return check_request(self.path(cache_id), entry, part, diff_id, fast=fast)

    def derive(self, cache_id: CacheID, diff_id: DiffID) -> dict[str, object] | None:
        """Index and checksums."""
        if self._is_unpacked(cache_id):
            return None
        from onggi.drivers.erofs_files import derive_request

        return derive_request(self.path(cache_id), diff_id)

    def keeps_tar(self, cache_id: CacheID) -> bool:
        """Unless the layer had to be unpacked."""
        return not self._is_unpacked(cache_id)

    def can_be_replaced(self, cache_id: CacheID) -> bool:
        """A mount holds the tar and the index that it was made of, whatever has their names by now."""
        return not self._is_unpacked(cache_id)

    def content_size(self, cache_id: CacheID, tar_split: Path) -> int:
        """The layer's size by Docker's rule, counted."""
        if self._is_unpacked(cache_id):
            return unpacked.content_size(self.diff_path(cache_id))
        from onggi.tree.expected import ExpectedTree

        tree = ExpectedTree()
        for member in self.members(cache_id, tar_split):
            tree.add(member)
        return tree.sizes()[0]

    def below(self, cache_id: CacheID) -> CacheID | None:
        """The layer that ``parent`` says is right below, or None."""
        text = (read_optional(self.path(cache_id) / PARENT) or b"").decode("ascii", "replace").strip()
        return CacheID(text) if text else None

    def expected_link(self, cache_id: CacheID, children: list[CacheID]) -> LinkID:
        """Layers have no short names here: any will do."""
        return LinkID.random()

    def cache_ids(self) -> list[CacheID]:
        """Every layer directory there is, sorted."""
        try:
            names = os.listdir(self._home)
        except FileNotFoundError:
            return []
        return sorted(CacheID(name) for name in names if not name.startswith("."))

    def graph_data(self, cache_id: CacheID) -> dict[str, str]:
        """``GraphDriver.Data``: the layer's contents and index, and the directories of those below."""
        base = self.path(cache_id)
        if self._is_unpacked(cache_id):
            data = {"UpperDir": str(base / DIFF)}
        else:
            name = "Data" if self._is_aligned(cache_id) else "Tar"
            data = {name: str(self._kept(cache_id).data), "Index": str(base / INDEX)}
        lowers = [str(path) for path in self.lowers(cache_id)]
        return {"LowerDir": ":".join(lowers), **data} if lowers else data

    def lowers(self, cache_id: CacheID) -> list[Path]:
        """Directories of the layers below, uppermost first, by way of the ``parent`` files."""
        found: list[Path] = []
        below = self.below(cache_id)
        while below is not None:
            if len(found) == MAX_DEPTH:
                raise DataLoss(
                    f"layer directory {cache_id}: its parent files go round in a circle",
                    hint="'onggi repair' writes them anew",
                )
            found.append(self.path(below))
            below = self.below(below)
        return found

    def tar(self, cache_id: CacheID, tar_split: Path) -> Iterator[bytes]:
        """The layer's tar stream. Raises (while iterating) DataLoss, OSError."""
        if self._is_unpacked(cache_id):
            return unpacked.tar(self.diff_path(cache_id), tar_split)
        return self._kept(cache_id).pieces()

    def tar_size(self, cache_id: CacheID, tar_split: Path) -> int:
        """Bytes of :meth:`tar`. Raises DataLoss."""
        if self._is_unpacked(cache_id):
            return unpacked.tar_size(tar_split)
        return self._kept(cache_id).size_bytes()

    def members(self, cache_id: CacheID, tar_split: Path) -> Iterator[Member]:
        """The archive's members in its order, contents passed over. Raises (while iterating) DataLoss."""
        if self._is_unpacked(cache_id):
            return unpacked.members(tar_split)
        return self._kept(cache_id).members()

    def content(self, cache_id: CacheID, tar_split: Path, member: Member) -> Iterator[bytes]:
        """A member's content, checked against its checksum. Raises (while iterating) DataLoss."""
        if self._is_unpacked(cache_id):
            return unpacked.content(self.diff_path(cache_id), tar_split, member)
        return self._kept(cache_id).content(member)

    def tree(self, cache_id: CacheID, kept: KeptDirectories) -> LayerTree:
        """The index with its contents, or ``diff/``, opened. Raises FileNotFoundError, InvalidIndex."""
        if self._is_unpacked(cache_id):
            return unpacked.tree(self.diff_path(cache_id), kept)
        from onggi.tree.index_layer import IndexLayer

        return IndexLayer(self.path(cache_id) / INDEX, self._kept(cache_id).data)

    def files(self, cache_id: CacheID) -> Path:
        """``diff/`` of a layer that had to be unpacked, else its tar, or its aligned contents."""
        return self.diff_path(cache_id) if self._is_unpacked(cache_id) else self._kept(cache_id).data

    def mount(self, cache_id: CacheID, target: Path) -> None:
        """Mount the stack that ends in ``cache_id`` read-only on ``target``. Raises CannotMount, DataLoss."""
        from onggi.drivers.erofs_mount import mount_stack

        with self.opened(cache_id) as lowers:
            mount_stack(lowers, target)

    @contextmanager
    def opened(self, cache_id: CacheID) -> Iterator[list[int | Path]]:
        """What overlayfs takes as lower directories for the stack that ends in a layer, uppermost first.

        The descriptors are of mounts; they are closed at the end of the block.
        """
        from onggi.drivers.erofs_mount import stack_mounts

        stack = [self.path(cache_id), *self.lowers(cache_id)]
        with stack_mounts(stack, self._layer_mounts().clones) as lowers:
            yield lowers

    def release_mounts(self, used: Callable[[], Collection[CacheID]]) -> None:
        """Detach the layers that no stack of ``used`` (its uppermost layers) stands on."""
        if not self._has_mounts():
            return

        def with_those_below() -> set[str]:
            keep: set[str] = set(used())
            for cache_id in list(keep):
                keep |= {path.name for path in self.lowers(CacheID(cache_id))}
            return keep

        self._layer_mounts().keep_only(with_those_below)

    def _has_mounts(self) -> bool:
        """Whether any layer is attached; the answer costs no import."""
        try:
            return mounts_directory(self._exec_root, os.stat(self._home)).exists()
        except FileNotFoundError:
            return False

    def _layer_mounts(self) -> LayerMounts:
        from onggi.drivers.layer_mounts import LayerMounts

        return LayerMounts(self._home, self._exec_root)

    # --- removing -------------------------------------------------------------------------

    def remove(self, cache_id: CacheID) -> None:
        """Delete a layer's directory; what is gone already is no error. Mounts of it live on."""
        if not is_cache_id(cache_id.removesuffix("-init")):
            raise InvalidArgument(f"remove layer: {cache_id!r} is no cache-id")
        remove_tree(self.path(cache_id), must_succeed=True)
        if self._has_mounts():
            self._layer_mounts().drop(cache_id)

    def usage(self, cache_id: CacheID) -> int:
        """Bytes of blocks of the layer's directory."""
        from onggi.tree.size import disk_usage

        return disk_usage(self.path(cache_id))

    def orphan_links(self) -> list[str]:
        """There are no short names."""
        return []

    def remove_link(self, link: str) -> None:
        """There are no short names."""


def _sync_files(directories: Sequence[Path]) -> None:
    """Flush the files that lie right in the directories, and their names.

    All data are written before the first file is flushed, so that one commit of the file
    system's journal serves them all.
    """
    from onggi.linux.filesystem import write_back

    paths = [entry.path for directory in directories for entry in os.scandir(directory) if _is_file(entry)]
    for step in (write_back, os.fsync):
        for path in paths:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                step(fd)
            finally:
                os.close(fd)
    for directory in directories:
        sync_directory(directory)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)
