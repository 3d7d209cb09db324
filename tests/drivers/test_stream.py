"""A layer's stream in a worker: hashed, taken and read side by side, and an engine that is told how far."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import socket
from collections.abc import Iterator

import pytest

from onggi.archive.compression import Compression, CorruptStream
from onggi.drivers.packets import NUMBER, Abandoned
from onggi.drivers.stream import Follower, Stream

TAR = os.urandom(1 << 20) * 20
BLOB = gzip.compress(TAR, 1)


class Engine:
    """The other end of a worker's control socket, and the blob's file."""

    def __init__(self, path, blob: bytes) -> None:
        path.write_bytes(blob)
        self.size = len(blob)
        self.blob = os.open(path, os.O_RDONLY)
        self.control, self.worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def tell(self, letter: bytes, size: int) -> None:
        self.control.send(NUMBER.pack(letter, size))

    def reports(self) -> list[int]:
        """Every position the worker has told so far."""
        self.control.setblocking(False)
        found = []
        try:
            while packet := self.control.recv(64):
                found.append(NUMBER.unpack(packet)[1])
        except BlockingIOError:
            pass
        return found

    def follower(self) -> Follower:
        return Follower(self.worker, self.blob)

    def close(self) -> None:
        os.close(self.blob)
        self.control.close()
        self.worker.close()


@pytest.fixture
def engine(tmp_path) -> Iterator[Engine]:
    made = Engine(tmp_path / "blob", BLOB)
    yield made
    made.close()


def test_readers_and_takers_get_the_same(engine):
    engine.tell(b"E", engine.size)
    taken, ended = [], []
    stream = Stream(engine.follower(), take=taken.append, at_end=lambda: ended.append(len(taken)))
    read = list(stream)
    stream.finish()
    assert stream.compression is Compression.GZIP
    assert b"".join(read) == b"".join(taken) == TAR
    assert stream.size_bytes == len(TAR)
    assert stream.diff_id == f"sha256:{hashlib.sha256(TAR).hexdigest()}"
    assert ended == [len(taken)]


def test_the_size_is_known_to_who_has_met_the_end(engine):
    """Though those who hash and take may be behind."""
    engine.tell(b"E", engine.size)
    stream = Stream(engine.follower())
    assert sum(map(len, stream)) == stream.size_bytes == len(TAR)
    stream.finish()


@pytest.mark.parametrize("at", [0, 3])
def test_what_cannot_be_taken_ends_the_stream(engine, at):
    """A full disk is told at once, not after the rest of the layer has been inflated for nothing."""
    engine.tell(b"E", engine.size)
    taken = []

    def take(piece: bytes) -> None:
        if len(taken) == at:
            raise OSError(errno.ENOSPC, "full")
        taken.append(piece)

    stream = Stream(engine.follower(), take=take)
    read = []
    with pytest.raises(OSError, match="full"):
        for piece in stream:
            read.append(piece)
    assert sum(map(len, read)) < len(TAR)
    with pytest.raises(OSError, match="full"):
        stream.finish()


def test_what_happens_at_the_end_is_told_at_the_end(engine):
    engine.tell(b"E", engine.size)

    def fail() -> None:
        raise OSError(errno.EIO, "broken")

    stream = Stream(engine.follower(), at_end=fail)
    assert sum(map(len, stream)) == len(TAR)
    with pytest.raises(OSError, match="broken"):
        stream.finish()


def test_a_damaged_stream(tmp_path):
    engine = Engine(tmp_path / "blob", BLOB[: len(BLOB) // 2] + b"\xff" * 4096)
    engine.tell(b"E", engine.size)
    stream = Stream(engine.follower(), take=lambda piece: None)
    with pytest.raises(CorruptStream):
        for _ in stream:
            pass
    with pytest.raises(CorruptStream):
        stream.finish()
    engine.close()


def test_an_engine_that_has_gone(engine):
    engine.tell(b"N", engine.size // 2)
    stream = Stream(engine.follower())
    pieces = iter(stream)
    next(pieces)
    engine.control.close()
    with pytest.raises((Abandoned, BrokenPipeError, ConnectionResetError)):
        for _ in pieces:
            pass


def test_reports_are_few_and_the_last_one_is_right(engine):
    follower = engine.follower()
    engine.tell(b"N", engine.size)
    engine.tell(b"E", engine.size)
    pieces = sum(1 for _ in follower)
    reports = engine.reports()
    assert reports[-1] == engine.size
    assert len(reports) < pieces
    assert reports == sorted(reports)
