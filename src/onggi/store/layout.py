"""Where everything lies in a data root.

The tree is Docker's, names, modes and owners included (dockerd 20.10 … 28 with the
graph-driver store); what Docker has no file for lives under ``onggi/``::

    R/                                   0710
    ├── engine-id                        0600  UUID of this engine
    ├── tmp/                             0700
    ├── containers/                      0710
    ├── volumes/                         0701  metadata.db: the lock that tells who is master
    ├── image/<driver>/                  0700  (below: D)
    │   ├── repositories.json            0600  names → image ids
    │   ├── imagedb/content/sha256/<id>  0600  image configs, byte for byte
    │   ├── imagedb/metadata/sha256/<id>/{parent,lastUpdated}
    │   ├── layerdb/sha256/<chain>/{diff,parent,size,cache-id,tar-split.json.gz}
    │   ├── layerdb/mounts/<container>/{mount-id,init-id,parent}
    │   ├── layerdb/tmp/                 0755
    │   └── distribution/{diffid-by-digest,v2metadata-by-diffid}/sha256/<hex>
    ├── <driver>/                        0710  the driver's own (overlay2: <cache-id>/, l/)
    └── onggi/                           0700
        ├── blobs/sha256/<hex>[.partial|.kept] what a pull has received
        ├── manifests/<image id>/<hex>         manifests as they came or went (manifests.py)
        ├── staging/<cache-id>/                layers on their way into the store
        ├── locks/<kind>-<id>                  leases (locks.py)
        ├── mounts/                            images mounted by hand
        ├── last-use/<hex>                     when images and layers were used (last_use.py)
        ├── pins/<image id>                    images that no prune takes (pins.py)
        ├── tags/                              what names meant (tag_journal.py)
        ├── trash/                             what is being deleted (trash.py)
        ├── networks/<id>.json                 networks of containers (network/store.py)
        ├── endpoints/<container>              their addresses and ports (network/store.py)
        └── events/                            the journal (journal.py)
"""

from __future__ import annotations

import os
from pathlib import Path

from onggi.record import record
from onggi.store.atomic import make_directory, remove_temporary_files

__all__ = ["Layout", "sweep_temporary_files"]


@record
class Layout:
    """Paths of one data root for one storage driver; computing them touches no disk."""

    root: Path
    driver: str

    @property
    def image(self) -> Path:
        """``R/image/<driver>``, called D in the drawing."""
        return self.root / "image" / self.driver

    @property
    def driver_home(self) -> Path:
        """The directory that belongs to the storage driver alone."""
        return self.root / self.driver

    @property
    def repositories(self) -> Path:
        """``repositories.json``: names → image ids."""
        return self.image / "repositories.json"

    @property
    def imagedb(self) -> Path:
        """Image configs (``content/``) and what is known about them (``metadata/``)."""
        return self.image / "imagedb"

    @property
    def layerdb(self) -> Path:
        """Layers by chainID."""
        return self.image / "layerdb"

    @property
    def distribution(self) -> Path:
        """Blob digest ⇄ diffID, learnt from pulls and pushes."""
        return self.image / "distribution"

    @property
    def own(self) -> Path:
        """What Docker has no file for."""
        return self.root / "onggi"

    @property
    def blobs(self) -> Path:
        """Received blobs, whole and partial."""
        return self.own / "blobs"

    @property
    def manifests(self) -> Path:
        """Manifests by image."""
        return self.own / "manifests"

    @property
    def staging(self) -> Path:
        """Layers on their way into the store, one directory per cache-id."""
        return self.own / "staging"

    @property
    def locks(self) -> Path:
        """Leases."""
        return self.own / "locks"

    @property
    def mounts(self) -> Path:
        """Mountpoints and records of images mounted by hand."""
        return self.own / "mounts"

    @property
    def events(self) -> Path:
        """The event journal."""
        return self.own / "events"

    @property
    def tag_journal(self) -> Path:
        """What names meant, and since when."""
        return self.own / "tags"

    @property
    def last_use(self) -> Path:
        """When images and layers were used."""
        return self.own / "last-use"

    @property
    def pins(self) -> Path:
        """Images that no prune takes."""
        return self.own / "pins"

    @property
    def written_flat(self) -> tuple[Path, ...]:
        """Directories of Onggi's own whose files are staged beside them, under temporary names."""
        own = self.own
        names = ("removing", "networks", "endpoints")
        return (own, self.mounts, self.manifests, *(own / name for name in names))

    def endpoint(self, container: str) -> Path:
        """What a container's networks were told, while it has some."""
        return self.own / "endpoints" / container

    @property
    def trash(self) -> Path:
        """What is being deleted."""
        return self.own / "trash"

    def create(self) -> None:
        """Make the tree that a fresh dockerd makes, and Onggi's own part of it; idempotent."""
        os.makedirs(self.root.parent, exist_ok=True)
        for path, mode in self._directories():
            make_directory(path, mode)

    def _directories(self) -> tuple[tuple[Path, int], ...]:
        image = self.image
        return (
            (self.root, 0o710),
            (self.root / "tmp", 0o700),
            (self.root / "containers", 0o710),
            (self.root / "volumes", 0o701),
            (self.driver_home, 0o710),
            (self.root / "image", 0o700),
            (image, 0o700),
            (image / "distribution", 0o700),
            (image / "imagedb", 0o700),
            (image / "imagedb" / "content", 0o700),
            (image / "imagedb" / "content" / "sha256", 0o700),
            (image / "imagedb" / "metadata", 0o700),
            (image / "imagedb" / "metadata" / "sha256", 0o700),
            (image / "layerdb", 0o700),
            (self.own, 0o700),
            (self.own / "blobs", 0o700),
            (self.own / "blobs" / "sha256", 0o700),
            (self.manifests, 0o700),
            (self.staging, 0o700),
            (self.locks, 0o700),
            (self.mounts, 0o711),
            (self.events, 0o700),
        )


def sweep_temporary_files(layout: Layout) -> None:
    """Delete what writers left that were killed between writing and renaming (``.tmp-*``).

    Only for who knows that no writer lives.
    """
    distribution = layout.distribution
    for directory in (
        layout.image,
        layout.imagedb / "content" / "sha256",
        distribution / "diffid-by-digest" / "sha256",
        distribution / "v2metadata-by-diffid" / "sha256",
        layout.root,
        *layout.written_flat,
    ):
        remove_temporary_files(directory)
