"""The driver ``local``: what a container writes, in Docker's binary form.

file   = { entry }
entry  = size (4 bytes, big-endian) LogEntry size
LogEntry (protobuf) = { 1: stream, 2: nanoseconds since 1970, 3: line, 4: true for a part of a line,
                        5: { 1: true for the last part, 2: id, 3: number } }

Source: moby ``daemon/logger/local``, ``api/types/plugins/logdriver/entry.proto``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from onggi.runtime.supervisor.messages import Message, MessageSplitter
from onggi.runtime.supervisor.rotation import RotatingFile
from onggi.runtime.supervisor.sink import Log

__all__ = ["LocalFile", "encode_entry"]

_SIZE = struct.Struct(">I")
_STREAM, _TIME, _LINE, _PARTIAL, _PART = 0x0A, 0x10, 0x1A, b"\x20\x01", 0x2A
_PART_LAST, _PART_ID, _PART_NUMBER = b"\x08\x01", 0x12, 0x18


class LocalFile(Log):
    """Appends entries; rotates as told."""

    def __init__(self, path: str, *, max_bytes: int, max_files: int, compress: bool) -> None:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        self._messages = MessageSplitter()
        self._file = RotatingFile(
            path, _cut_torn_entry, max_bytes=max_bytes, max_files=max_files, compress=compress
        )

    def write(self, stream: str, pieces: list[tuple[bytes, int]]) -> None:
        """Append the pieces of one stream; a full disk loses them, never the container."""
        entries = [
            encode_entry(message)
            for piece, time_ns in pieces
            for message in self._messages.split(stream, piece, time_ns)
        ]
        try:
            self._file.append_each(entries)
        except OSError:
            return

    def close(self, done: Callable[[], None] = lambda: None) -> None:
        """No more writes."""
        self._file.close()
        done()


def encode_entry(message: Message) -> bytes:
    """One entry; what is empty or zero is left out, as protobuf does."""
    line = _field(_LINE, message.line) if message.line else b""
    body = _field(_STREAM, message.stream.encode()) + bytes((_TIME,)) + _varint(message.time_ns) + line
    if message.partial_id:
        body += _PARTIAL + _field(_PART, _part(message))
    size = _SIZE.pack(len(body))
    return size + body + size


def _part(message: Message) -> bytes:
    last = _PART_LAST if message.last else b""
    number = bytes((_PART_NUMBER,)) + _varint(message.ordinal)
    return last + _field(_PART_ID, message.partial_id.encode()) + number


def _field(key: int, data: bytes) -> bytes:
    return bytes((key,)) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _cut_torn_entry(fd: int) -> int:
    """Truncate what a crash left of an entry; returns the size."""
    size = os.fstat(fd).st_size
    if size == 0 or _ends_whole(fd, size):
        return size
    end = 0
    while (after := _entry_end(fd, end, size)) is not None:
        end = after
    os.ftruncate(fd, end)
    return end


def _ends_whole(fd: int, size: int) -> bool:
    tail = os.pread(fd, _SIZE.size, size - _SIZE.size) if size >= 2 * _SIZE.size else b""
    if len(tail) < _SIZE.size:
        return False
    start = size - 2 * _SIZE.size - _SIZE.unpack(tail)[0]
    return start >= 0 and os.pread(fd, _SIZE.size, start) == tail


def _entry_end(fd: int, start: int, size: int) -> int | None:
    """Where the entry at ``start`` ends, or None when there is no whole one."""
    head = os.pread(fd, _SIZE.size, start)
    if len(head) < _SIZE.size:
        return None
    end = start + 2 * _SIZE.size + int(_SIZE.unpack(head)[0])
    whole = end <= size and os.pread(fd, _SIZE.size, end - _SIZE.size) == head
    return end if whole else None
