"""One layer in a process of its own: read the growing blob, inflate, hash, unpack.

Three lanes run side by side: the engine receives the blob into a file and says how far it
is; a thread here inflates and hashes (both release the GIL); this thread parses the tar
and writes the tree, inside a chroot of the layer's directory when it may.

The control socket carries the packets of packets.py. The engine's end closing means: stop,
nobody wants this layer any more.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256

from onggi import errors
from onggi.archive import crc64, tar, tarsplit
from onggi.archive.compression import Compression, decompressed, sniff
from onggi.drivers.packets import NUMBER
from onggi.linux.filesystem import syncfs
from onggi.linux.process import drop_capabilities
from onggi.tree import apply

__all__ = ["preload", "run"]

# Bytes read from the blob at once: large enough that inflate runs without the GIL, small
# enough that a small layer starts early.
_READ_BYTES = 256 * 1024
# Pieces of at most 1 MiB that may wait between the inflating and the writing thread.
_QUEUE_PIECES = 8
# Bytes of tar between two flushes on the way: a fraction of a second of any disk.
_FLUSH_BYTES = 32 * 1024 * 1024
# What unpacking as root needs: owners, modes, devices, file capabilities, trusted.* xattrs.
_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_SYS_ADMIN",
)


class _Abandoned(Exception):
    """The engine has closed the control socket."""


def preload() -> None:
    """Import before the first fork what every worker needs."""
    crc64.crc64(b"")
    for module in ("isal.igzip_lib", "isal.isal_zlib"):
        _import_if_there(module)


def prepare(request: dict[str, object]) -> None:
    """Import, before the fork, what a job needs and pulls do not: the next of its kind finds it there."""
    for module in _MODULES.get(str(request["job"]), ()):
        _import_if_there(module)


def _import_if_there(module: str) -> None:
    try:
        __import__(module)
    except ImportError:
        return


def run(request: dict[str, object], descriptors: list[int]) -> None:
    """Do what ``request`` says and report on the control socket, the first descriptor."""
    gc.disable()
    control = socket.socket(fileno=descriptors[0])
    job = _JOBS[str(request["job"])]
    try:
        result = job(request, control, descriptors[1:])
        control.send(b"R" + json.dumps(result).encode())
    except (_Abandoned, BrokenPipeError, ConnectionResetError):
        return
    except BaseException as error:
        control.send(b"X" + json.dumps(_describe(error)).encode())


def _describe(error: BaseException) -> dict[str, object]:
    kind = next((base.__name__ for base in type(error).__mro__ if base.__name__ in errors.__dict__), "")
    return {
        "kind": kind,
        "message": str(error) or type(error).__name__,
        "hint": getattr(error, "hint", ""),
        "errno": getattr(error, "errno", None) or 0,
    }


def _unpack(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """Overlay2's layer: the tree into directory ``root``, tar-split into file ``split``.

    The staging lease is only kept open: as long as this process lives, nobody clears its directory.
    """
    blob, root, split, _lease = descriptors
    flusher = _Flusher(root)
    follower = _Follower(control, blob, int(str(request["start"])))
    stream = _Stream(follower, on_piece=flusher.note)
    _confine(root)
    with tarsplit.gzip_writer(split) as out:
        # Docker inflates a blob once; a second layer of it is made from the first one's tar.
        inflated = stream.compression is Compression.GZIP and not request["repeated"]
        writer = tarsplit.TarSplitWriter(
            out,
            trailing_empty_segment=bool(request["trailing_empty_segment"]),
            window=tarsplit.GO_INFLATE_WINDOW if inflated else 0,
        )
        applied = apply.apply_layer(tar.TarReader(stream, observer=writer), root)
    stream.finish()
    flusher.check()
    return {"diff_id": stream.diff_id, "size": applied.size_bytes, "members": applied.members}


def _hash_only(
    request: dict[str, object], control: socket.socket, descriptors: list[int]
) -> dict[str, object]:
    """No files: which diffID has this blob? Asked when the layer itself is there already."""
    stream = _Stream(_Follower(control, descriptors[0]))
    for _ in stream:
        pass
    stream.finish()
    return {"diff_id": stream.diff_id, "size": 0, "members": 0}


def _check(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """Is a layer's directory still what it was made of? See check.py."""
    from onggi.drivers.check import check

    return check(request, control.send)


_JOBS: dict[str, Callable[[dict[str, object], socket.socket, list[int]], dict[str, object]]] = {
    "unpack": _unpack,
    "hash": _hash_only,
    "check": _check,
}


_MODULES = {"check": ("onggi.drivers.check", "onggi.tree.compare", "onggi.tree.expected", "isal.igzip")}


def _confine(root: int) -> None:
    """Let this process see the layer's directory and nothing else, with the rights it needs.

    The directory descriptors of ``tree`` already keep every member inside; this is the
    second wall. No module may be imported behind it: the import path would be resolved in
    a tree that a stranger wrote.
    """
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.meta_path.clear()
    os.umask(0)
    if os.geteuid() == 0:
        os.fchdir(root)
        try:
            os.chroot(".")
        except PermissionError:
            pass
        drop_capabilities(_CAPABILITIES)


class _Follower:
    """Reads a blob that is still growing; iterates pieces of at most ``_READ_BYTES``.

    It begins at ``start`` of its file; all positions are counted from there.
    """

    def __init__(self, control: socket.socket, blob: int, start: int = 0) -> None:
        self._control = control
        self._blob = blob
        self._start = start
        self._available = 0
        self._complete = False
        self._position = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            while self._position == self._available:
                if self._complete:
                    return
                self._listen()
            length = min(_READ_BYTES, self._available - self._position)
            piece = os.pread(self._blob, length, self._start + self._position)
            if not piece:
                raise _Abandoned
            self._position += len(piece)
            self._report()
            yield piece

    def _listen(self) -> None:
        packet = self._control.recv(16)
        if not packet:
            raise _Abandoned
        letter, self._available = NUMBER.unpack(packet)
        self._complete = letter == b"E"

    def _report(self) -> None:
        try:
            self._control.send(NUMBER.pack(b"P", self._position), socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass


class _Flusher:
    """Lets the disk work while the layer is unpacked, so that the flush at the commit finds little left.

    Nobody relies on these flushes; but an error that the kernel tells here it tells nobody
    again, so it must not be lost.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._next = _FLUSH_BYTES
        self._wanted = threading.Event()
        self._error: OSError | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def note(self, position: int) -> None:
        """So many bytes of the tar have been handed on."""
        if position >= self._next:
            self._next = position + _FLUSH_BYTES
            self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            try:
                syncfs(self._root)
            except OSError as error:
                self._error = error
                return

    def check(self) -> None:
        """Raise what a flush ran into."""
        if self._error is not None:
            raise self._error


class _Stream:
    """The uncompressed tar as pieces; inflated and hashed one thread ahead of the reader."""

    def __init__(self, source: _Follower, on_piece: Callable[[int], None] = lambda position: None) -> None:
        self._on_piece = on_piece
        pieces = iter(source)
        first = next(pieces, b"")
        self.compression = sniff(first)
        if self.compression is Compression.ZSTD:
            for module in ("zstandard", "onggi.archive.zstd_frames"):
                _import_if_there(module)
        self._pieces = decompressed(_chain(first, pieces))
        self._hash = sha256()
        self._queue: deque[bytes | BaseException | None] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._inflate, daemon=True)
        self._thread.start()

    def _inflate(self) -> None:
        end: BaseException | None = None
        try:
            for piece in self._pieces:
                self._hash.update(piece)
                self._put(piece)
        except BaseException as error:
            end = error
        self._put(end)

    def _put(self, item: bytes | BaseException | None) -> None:
        with self._changed:
            while len(self._queue) >= _QUEUE_PIECES:
                self._changed.wait()
            self._queue.append(item)
            self._changed.notify()

    def __iter__(self) -> Iterator[bytes]:
        position = 0
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                item = self._queue.popleft()
                self._changed.notify()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item
            position += len(item)
            self._on_piece(position)

    def finish(self) -> None:
        """Wait for the inflating thread; call after the last piece."""
        self._thread.join()

    @property
    def diff_id(self) -> str:
        """sha256 of every byte of the stream; whole only after :meth:`finish`."""
        return f"sha256:{self._hash.hexdigest()}"


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest
