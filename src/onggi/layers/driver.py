"""What the layer store asks of a storage driver.

Glossary
    *layer*      one read-only set of changes; known by its chainID in layerdb and by its
                 cache-id in the driver.
    *stage*      make room for a layer outside the store; nobody can see it there.
    *unpack*     a worker process fills the staged layer from a tar stream; the driver says how (``job``).
    *install*    move the staged layer to its place; still without meaning, since layerdb
                 does not name it yet.
    *commit*     layerdb's rename: the layer exists.

Lifecycle: ``stage`` → worker runs ``job`` → ``flush`` → ``install`` → ``sync`` → commit → … → ``remove``.
A crash before the commit leaves a staging directory that tells what to undo.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from onggi.archive.tar import Member
from onggi.drivers.flaw import Flaw
from onggi.drivers.job import Job
from onggi.drivers.staged import StagedDirectory
from onggi.oci.digest import CacheID, DiffID, LinkID
from onggi.tree.layer_tree import KeptDirectories, LayerTree

__all__ = ["StorageDriver"]


class StorageDriver(Protocol):
    """Where a layer's files live and how a stack of layers is mounted."""

    name: str
    max_depth: int
    job_name: str
    """What its workers do most (worker.py)."""
    derived: frozenset[str]
    """Files of a layer (as flaws name them) that follow from its content; ``derive`` makes them anew."""

    def check_host(self) -> None:
        """Raise when this host, user or file system cannot keep layers of this driver."""

    def prepare(self) -> None:
        """Make the driver's own directories; idempotent."""

    def status(self) -> list[tuple[str, str]]:
        """``DriverStatus`` of ``docker info``."""

    def lacks(self) -> list[tuple[str, str]]:
        """What the driver cannot do here, each with the way out; keeping layers is told by ``check_host``."""

    def stage(self, directory: Path, cache_id: CacheID, link: LinkID, *, committed: bool) -> StagedDirectory:
        """Lay out an empty layer in ``directory``, which must not exist.

        ``committed``: layers stand on it already (it is remade).
        """

    def job(self, staged: StagedDirectory, write_set: Path) -> Job:
        """What a worker does to fill a staged layer; ``write_set`` is the layerdb directory to be.

        The caller closes the job. The worker reports the diffID and the layer's size.
        """

    def empty(self, staged: StagedDirectory) -> None:
        """Forget what a worker made of a staged layer, before a second try."""

    def install(self, staged: StagedDirectory, parent: CacheID | None, *, durable: bool = True) -> None:
        """Move a staged layer into place; a damaged one of the same cache-id is replaced.

        Not ``durable``: nobody will flush it, a power cut may take it.
        """

    def path(self, cache_id: CacheID) -> Path:
        """The layer's directory."""

    def diff_path(self, cache_id: CacheID) -> Path:
        """The directory with the layer's files."""

    def damage(self, cache_id: CacheID, parent: CacheID | None) -> str:
        """What makes a layer unusable, or an empty string."""

    def flaws(
        self, cache_id: CacheID, parent: CacheID | None, children: list[CacheID], *, used: bool
    ) -> list[Flaw]:
        """Everything wrong with the files around a layer; ``used``: a child or a container stands on it."""

    def mend(
        self, cache_id: CacheID, parent: CacheID | None, children: list[CacheID], *, used: bool
    ) -> list[str]:
        """Make those files anew; returns which. The parent must be mended before."""

    def check(
        self, cache_id: CacheID, entry: Path, part: str, diff_id: DiffID | None, *, fast: bool
    ) -> dict[str, object] | None:
        """What to ask a worker so that it checks ``content`` or ``tree`` of a layer; ``entry`` is layerdb's.

        None where the other part's worker does it along the way, or where what it needs is missing,
        which :meth:`flaws` and :meth:`keeps_tar` tell.
        """

    def derive(self, cache_id: CacheID, diff_id: DiffID) -> dict[str, object] | None:
        """What to ask a worker so that it makes the ``derived`` files anew; None: there are none."""

    def keeps_tar(self, cache_id: CacheID) -> bool:
        """True when the archive itself is kept, so that layerdb needs no tar-split of it."""

    def can_be_replaced(self, cache_id: CacheID) -> bool:
        """True when mounts that stand live on, with the old content, while the layer is replaced."""

    def below(self, cache_id: CacheID) -> CacheID | None:
        """The layer that a layer's own files say is right below it, or None."""

    def expected_link(self, cache_id: CacheID, children: list[CacheID]) -> LinkID:
        """The short name a remade layer must have so that its children find it."""

    def cache_ids(self) -> list[CacheID]:
        """Every layer the driver keeps, containers' included."""

    def graph_data(self, cache_id: CacheID) -> dict[str, str]:
        """``GraphDriver.Data`` of ``docker inspect``."""

    def lowers(self, cache_id: CacheID) -> Sequence[Path]:
        """Directories below a layer, uppermost first."""

    def tar(self, cache_id: CacheID, tar_split: Path) -> Iterator[bytes]:
        """The layer's tar stream, byte for byte; ``tar_split`` is layerdb's file. Not yet verified."""

    def tar_size(self, cache_id: CacheID, tar_split: Path) -> int:
        """Bytes of :meth:`tar`, without reading contents. Raises DataLoss."""

    def content_size(self, cache_id: CacheID, tar_split: Path) -> int:
        """The layer's size by Docker's rule, counted. Raises DataLoss, OSError."""

    def members(self, cache_id: CacheID, tar_split: Path) -> Iterator[Member]:
        """The members of the layer's archive in its order, contents unread. Raises DataLoss."""

    def content(self, cache_id: CacheID, tar_split: Path, member: Member) -> Iterator[bytes]:
        """The content of one of ``members`` (no link), checked against the checksum kept of it at the end.

        Raises DataLoss while iterating.
        """

    def tree(self, cache_id: CacheID, kept: KeptDirectories) -> LayerTree:
        """The layer's files as a tree, which the caller closes; needs no mount.

        ``kept`` is what the layers of one stack share. Raises FileNotFoundError, DataLoss.
        """

    def files(self, cache_id: CacheID) -> Path:
        """Where a layer's files are: their directory, or the tar that holds them."""

    def mount(self, cache_id: CacheID, target: Path) -> None:
        """Mount the stack ending in a layer read-only on an existing directory."""

    def opened(self, cache_id: CacheID) -> AbstractContextManager[Sequence[int | Path]]:
        """What overlayfs takes as lower directories for that stack, uppermost first, for one block."""

    def release_mounts(self, used: Callable[[], Collection[CacheID]]) -> None:
        """Let go of what is held for mounts of stacks that do not end in a layer of ``used``.

        It is asked only if something is held.
        """

    def remove(self, cache_id: CacheID) -> None:
        """Delete a layer; what is gone already is no error."""

    def usage(self, cache_id: CacheID) -> int:
        """Bytes of blocks on disk that a layer takes, with all that is its own."""

    def orphan_links(self) -> list[str]:
        """Short names that lead nowhere."""

    def remove_link(self, link: str) -> None:
        """Delete a short name."""

    def flush(self, staged: Sequence[StagedDirectory]) -> None:
        """Make the contents of unpacked layers durable, before any of them gets its name."""

    def sync(self, staged: Sequence[StagedDirectory], write_sets: Sequence[Path]) -> None:
        """Make installed layers durable, names and all, and the files of their ``write_sets``."""
