"""Layers of an archive that still arrives, unpacked before anybody knows what they are.

What an archive has is told by ``manifest.json`` or ``index.json``, and these stand at its end; a
stream must be put aside whole before the first image of it is known. Whatever looks like a layer
on its way there is given to a worker at once, under a name that stands for nothing::

    stream      ▕ config ▏▕▔▔▔ layer ▔▔▔▏▕▔ layer ▔▏▕ manifest.json ▏
    unpacking             ▕▔▔▔ layer ▔▔▔▔▔▏
                                         ▕▔ layer ▔▔▏               │ what was right is taken over,
                                                                    │ the rest is thrown away

Nothing depends on a guess: a layer is taken over only where the plan names its very bytes, and its
diffID is compared as ever; whatever fails here is done again in the usual way, which tells why.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress

from onggi.archive.compression import Compression, sniff
from onggi.archive.tar import REGULAR, InvalidTar, Member, TarReader
from onggi.archive.tar_format import BLOCK, clamp_path, parse_header
from onggi.drivers.workers import Workers
from onggi.errors import OnggiError
from onggi.layers.staging import StagedLayer, Unpacked, Unpacking
from onggi.layers.store import LayerStore
from onggi.linux.filesystem import forget_bytes
from onggi.oci.digest import ChainID, random_id
from onggi.store.atomic import DiskFull
from onggi.store.imagedb import ImageDB
from onggi.transfer.archive_files import MAX_MEMBERS
from onggi.transfer.v1_image import v1_images

__all__ = ["EarlyLayer", "EarlyLayers"]

# What writers of archives call a layer: Docker up to 24 and from 25 on (as OCI does), podman, and
# go-containerregistry. The digits are those of a v1 image, of the bytes, and of the diffID.
_NAME = re.compile(
    rb"(?:(?P<v1>[0-9a-f]{64})/|.*/)layer\.tar"
    rb"|blobs/sha256/(?P<blob>[0-9a-f]{64})|(?P<diff>[0-9a-f]{64})\.tar(?:\.gz)?"
)
# Bytes; a smaller one is unpacked in no time once it is known.
_LEAST = 128 * 1024
# Layers of one archive: more than one image has. What a hostile archive could make of more is
# processes in a row.
_MOST = 128


class EarlyLayer:
    """One layer at work in a thread of its own; ``size`` bytes from ``start`` of the file ``spool``."""

    def __init__(
        self,
        layers: LayerStore,
        workers: Workers,
        spool: int,
        start: int,
        size: int,
        forget: Callable[[int, int], None],
    ) -> None:
        self.start = start
        self.full = False
        self.wanted_once = False
        self._layers = layers
        self._workers = workers
        self._spool = spool
        self._forget = forget
        self._size = size
        self._lock = threading.Lock()
        self._arrived = 0
        self._unwanted = False
        self._unpacking: Unpacking | None = None
        self._staged: StagedLayer | None = None
        self._unpacked: Unpacked | None = None
        self._thread = threading.Thread(target=self._run, name="onggi-early", daemon=True)
        self.on_progress: Callable[[int], None] = lambda consumed_bytes: None

    def begin(self, slots: threading.BoundedSemaphore) -> None:
        """Start as soon as there is a slot."""
        self._slots = slots
        self._thread.start()

    def arrived(self, position: int) -> None:
        """So many bytes are in the file."""
        with self._lock:
            self._arrived = min(position - self.start, self._size)
            self._feed()

    def _feed(self) -> None:
        if self._unpacking is None:
            return
        if self._arrived == self._size:
            self._unpacking.end(self._size)
        else:
            self._unpacking.feed(self._arrived)

    def _run(self) -> None:
        try:
            with self._slots:
                self._unpacked = self._unpack()
        except (OnggiError, OSError) as error:
            self.full = isinstance(error, DiskFull)
        finally:
            if self._unpacked is None and self._staged is not None:
                self._staged.discard()
                self._staged = None

    def _unpack(self) -> Unpacked | None:
        if self._unwanted:
            return None
        # Its chain is not known; a name that nobody has keeps it out of everybody's way.
        self._staged = self._layers.stage(ChainID(f"sha256:{random_id()}"), 1)
        # The archive's own bytes would be flushed along, and they are given up soon.
        unpacking = self._staged.unpack(
            self._workers, self._spool, self._progress, start=self.start, flush=False
        )
        try:
            with self._lock:
                self._unpacking = unpacking
                self._feed()
                if self._unwanted:
                    unpacking.abandon()
            return unpacking.result()
        finally:
            with self._lock:
                self._unpacking = None
            unpacking.close()

    def _progress(self, consumed_bytes: int) -> None:
        self.on_progress(consumed_bytes)

    def has_begun(self) -> bool:
        """True unless it still waits for a slot, or has failed."""
        return self._staged is not None

    def result(self) -> tuple[StagedLayer, Unpacked] | None:
        """Wait for the worker; the layer is the first caller's then. None: it failed, or is another's."""
        self._thread.join()
        with self._lock:
            staged, self._staged = self._staged, None
        return (staged, self._unpacked) if staged is not None and self._unpacked is not None else None

    def give_up_bytes(self) -> None:
        """They will not be read again: whatever of them is not on the disk yet need not get there."""
        if self.wanted_once:
            self._forget(self.start, self._size)

    def abandon(self) -> None:
        """Stop the worker."""
        with self._lock:
            self._unwanted = True
            if self._unpacking is not None:
                self._unpacking.abandon()

    def discard(self) -> None:
        """Throw away what nobody has taken over; waits until it is gone."""
        self.abandon()
        self._thread.join()
        if self._staged is not None:
            self._staged.discard()
            self._staged = None


class EarlyLayers:
    """Those of one archive, for the length of a ``with`` block; an ``Onlooker`` (archive_files)."""

    def __init__(self, layers: LayerStore, images: ImageDB, workers: Workers) -> None:
        self._layers = layers
        self._images = images
        self._workers = workers
        self._spool = self._writable = -1
        self._slots = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._all: dict[int, EarlyLayer] = {}
        self._here: Collection[str] | None = None
        self._no_more = False

    def __enter__(self) -> EarlyLayers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.keep(())
        for fd in (self._spool, self._writable):
            if fd >= 0:
                os.close(fd)

    def find(self, start: int) -> EarlyLayer | None:
        """The layer whose bytes begin there in the file."""
        return self._all.get(start)

    def keep(self, starts: Sequence[int]) -> None:
        """Throw away all others, and those that have not begun; from here on there are no more.

        One that ``starts`` has twice is wanted as two layers.
        """
        self._no_more = True
        gone = [early for early in self._all.values() if early.start not in starts or not early.has_begun()]
        for early in gone:
            early.abandon()
        for early in gone:
            early.discard()
            del self._all[early.start]
        for early in self._all.values():
            early.wanted_once = starts.count(early.start) == 1

    def make_room(self) -> bool:
        """See ``Onlooker``."""
        had = bool(self._all)
        self.keep(())
        return had

    # --- while it arrives -----------------------------------------------------------------

    def look(self, spool: int, pieces: Iterator[bytes]) -> None:
        """See ``Onlooker``."""
        # Workers get no way to write to it.
        self._writable = os.dup(spool)
        self._spool = os.open(f"/proc/self/fd/{spool}", os.O_RDONLY | os.O_CLOEXEC)
        noted = _Noted(pieces)
        reader = TarReader(noted)
        # What is wrong with the archive is told by whoever reads it in earnest.
        with suppress(InvalidTar):
            for number, member in enumerate(reader):
                if number == MAX_MEMBERS or self._is_full():
                    return
                start, size = reader.offset, member.size
                if self._is_layer(member, reader):
                    early = EarlyLayer(self._layers, self._workers, self._spool, start, size, self._forget)
                    self._all[start] = noted.layer = early
                    early.arrived(noted.position)
                    early.begin(self._slots)

    def _forget(self, start: int, size: int) -> None:
        forget_bytes(self._writable, start, size)

    def _is_full(self) -> bool:
        self._no_more |= any(early.full for early in self._all.values())
        return self._no_more or len(self._all) == _MOST

    def _is_layer(self, member: Member, reader: TarReader) -> bool:
        if member.type != REGULAR or member.sparse is not None or member.size < _LEAST:
            return False
        match = _NAME.fullmatch(clamp_path(member.name))
        if match is None or self._is_here(match):
            return False
        return _begins_like_a_layer(_first_block(reader))

    def _is_here(self, name: re.Match[bytes]) -> bool:
        digits = name["v1"] or name["blob"] or name["diff"]
        if self._here is None:
            self._here = self._known_layers()
        return digits is not None and digits.decode() in self._here

    def _known_layers(self) -> Collection[str]:
        """DiffIDs of layers that are here, and v1 ids that Docker would save them under."""
        found: set[str] = set()
        with suppress(OnggiError):
            usable = [record for record in self._layers.db.records() if self._layers.usable(record.chain_id)]
            found.update(record.diff_id.hex for record in usable)
            chains = {record.chain_id for record in usable}
            for _, config in self._images.images():
                # Only Dockers of those days write them.
                v1 = zip(v1_images(config, "20.10"), config.chain_ids, strict=True)
                found.update(image.id for image, chain in v1 if chain in chains)
        return found


class _Noted:
    """Pieces on their way to the tar reader; the layer in which they lie hears of them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.position = 0
        self.layer: EarlyLayer | None = None
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.position += len(piece)
            if self.layer is not None:
                self.layer.arrived(self.position)
            yield piece


def _first_block(reader: TarReader) -> bytes:
    """At least so much of the content; it is passed over."""
    first = b""
    for piece in reader.read_content():
        first += bytes(piece[:BLOCK])
        if len(first) >= BLOCK:
            break
    return first[:BLOCK]


def _begins_like_a_layer(block: bytes) -> bool:
    """A tar's header, or a compressed stream; a config or manifest is JSON."""
    if sniff(block) is not Compression.NONE:
        return True
    try:
        parse_header(block, {})
    except InvalidTar:
        return False
    return True
