"""The least that one pull can cost on this machine, from what its pieces cost.

::

    CPU  = N/receive + N/sha256 + U/inflate + U/sha256 + U/write + F × 18 µs
    wall = max(CPU / cores, L/inflate + L/write)

N are the compressed bytes of all layers, U the uncompressed ones, L those of the largest layer, F
the members of the archives, at 18 µs each to be parsed and indexed. The rates are measured here,
each in one thread, inflating on the image's own layers. A driver that makes a file of every member
has 30 to 110 µs of the kernel's time more for each.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.images import blob_path, tagged_manifest
from bench.machine import timed
from onggi.archive.compression import decompressed
from onggi.archive.tar import TarReader

__all__ = ["Floor", "floor_of"]

_PIECE_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024
_SAMPLE_BYTES = 256 * _PIECE_BYTES
_MEMBER_S = 18e-6


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds, and what they were computed from (bytes)."""

    wall_s: float
    cpu_s: float
    compressed: int
    uncompressed: int
    members: int


@dataclass(frozen=True, slots=True)
class _Layer:
    compressed: int
    uncompressed: int
    members: int
    inflate_s: float


def floor_of(storage: Path, name: str, work: Path) -> Floor:
    """Of an image with gzip layers in a docker-registry's ``storage``; ``work`` is on the disk written to."""
    manifest = tagged_manifest(storage, name)
    layers = [_layer(blob_path(storage, layer["digest"])) for layer in manifest["layers"]]
    sha256_s, write_s, receive_s = _sha256_s(), _write_s(work), _receive_s()
    compressed = sum(layer.compressed for layer in layers)
    uncompressed = sum(layer.uncompressed for layer in layers)
    members = sum(layer.members for layer in layers)
    cpu_s = (
        compressed * (receive_s + sha256_s)
        + sum(layer.inflate_s for layer in layers)
        + uncompressed * (sha256_s + write_s)
        + members * _MEMBER_S
    )
    largest = max(layers, key=lambda layer: layer.uncompressed)
    one_after_the_other = largest.inflate_s + largest.uncompressed * write_s
    cores = len(os.sched_getaffinity(0))
    return Floor(max(cpu_s / cores, one_after_the_other), cpu_s, compressed, uncompressed, members)


def _layer(blob: Path) -> _Layer:
    size = 0

    def inflate() -> None:
        nonlocal size
        size = sum(len(piece) for piece in _inflated(blob))

    seconds = min(timed(inflate) for _ in range(2))
    members = sum(1 for _ in TarReader(_inflated(blob)))
    return _Layer(blob.stat().st_size, size, members, seconds)


def _inflated(blob: Path) -> Iterator[bytes]:
    with open(blob, "rb", buffering=0) as file:
        yield from decompressed(iter(lambda: file.read(_READ_BYTES), b""))


# --- seconds a byte -----------------------------------------------------------------------------


def _per_byte(action: Callable[[], object]) -> float:
    return min(timed(action) for _ in range(3)) / _SAMPLE_BYTES


def _sha256_s() -> float:
    piece = os.urandom(_PIECE_BYTES)

    def work() -> None:
        hashed = hashlib.sha256()
        for _ in range(_SAMPLE_BYTES // _PIECE_BYTES):
            hashed.update(piece)

    return _per_byte(work)


def _write_s(directory: Path) -> float:
    piece = os.urandom(_PIECE_BYTES)
    path = directory / "written"

    def work() -> None:
        with open(path, "wb", buffering=0) as file:
            for _ in range(_SAMPLE_BYTES // _PIECE_BYTES):
                file.write(piece)

    try:
        return _per_byte(work)
    finally:
        path.unlink()


def _receive_s() -> float:
    """Of this thread's CPU time: the sender is somebody else."""
    ours, theirs = socket.socketpair()
    piece = bytes(_PIECE_BYTES)

    def send() -> None:
        for _ in range(_SAMPLE_BYTES // _PIECE_BYTES):
            theirs.sendall(piece)
        theirs.close()

    sender = threading.Thread(target=send)
    sender.start()
    buffer = bytearray(_PIECE_BYTES)
    start = time.thread_time()
    while ours.recv_into(buffer):
        pass
    spent = time.thread_time() - start
    sender.join()
    ours.close()
    return spent / _SAMPLE_BYTES
