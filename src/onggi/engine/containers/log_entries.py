"""Entries of log files, decoded: Docker's json-file lines, and the binary form of its driver ``local``.

A decoder takes bytes from somewhere in a file, at the beginning of an entry, and gives the entries
that are whole and the bytes that are left. What is damaged is passed over: a line, or in the binary
form, which has no line ends to begin anew at, the rest of what was given.

Source: supervisor/log.py, supervisor/local_log.py, which write them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping

from onggi.oci.timestamps import parse_ns
from onggi.record import field, record

__all__ = ["Decoder", "LogEntry", "decode_json", "decode_local"]

_SIZE = struct.Struct(">I")
_LONGEST_ENTRY = 16 * 1024 * 1024
"""Bytes; dockerd's writers cut at 16 KiB, so a size beyond is no size."""
_VARINT, _BYTES = 0, 2


@record
class LogEntry:
    """One entry. ``stream`` is stdout or stderr, ``data`` has the newline that the container wrote."""

    stream: str
    data: bytes
    time_ns: int
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


Decoder = Callable[[bytes], tuple[list[LogEntry], bytes]]


def decode_json(data: bytes) -> tuple[list[LogEntry], bytes]:
    """Lines of JSON."""
    *lines, rest = data.split(b"\n")
    return [entry for entry in map(_json_entry, lines) if entry is not None], rest


def _json_entry(line: bytes) -> LogEntry | None:
    try:
        document = json.loads(line)
        time_ns = parse_ns(document["time"])
        data = document["log"].encode("utf-8", "surrogateescape")
        attributes = document.get("attrs") or {}
        return None if time_ns is None else LogEntry(document["stream"], data, time_ns, attributes)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def decode_local(data: bytes) -> tuple[list[LogEntry], bytes]:
    """Sizes and protobuf."""
    entries: list[LogEntry] = []
    start = 0
    while start + _SIZE.size <= len(data):
        size = int(_SIZE.unpack_from(data, start)[0])
        if size > _LONGEST_ENTRY:
            return entries, b""
        end = start + 2 * _SIZE.size + size
        if end > len(data):
            break
        entry = _local_entry(data[start + _SIZE.size : end - _SIZE.size])
        if entry is not None:
            entries.append(entry)
        start = end
    return entries, data[start:]


def _local_entry(body: bytes) -> LogEntry | None:
    stream, line, time_ns, last = b"", b"", 0, True
    attributes: dict[str, str] = {}
    try:
        for number, value in _fields(body):
            if number == 1:
                stream = _bytes(value)
            elif number == 2:
                time_ns = _number(value)
            elif number == 3:
                line = _bytes(value)
            elif number == 5:
                last = bool(dict(_fields(_bytes(value))).get(1))
            elif number == 6:
                name, text = (dict(_fields(_bytes(value))).get(key) or b"" for key in (1, 2))
                attributes[_bytes(name).decode("utf-8", "replace")] = _bytes(text).decode("utf-8", "replace")
    except (ValueError, IndexError):
        return None
    data = line + b"\n" if last else line
    return LogEntry(stream.decode("ascii", "replace"), data, time_ns, attributes)


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes are expected")
    return value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("bytes where a number is expected")
    return value


def _fields(body: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message. Raises ValueError, IndexError."""
    position = 0
    while position < len(body):
        key, position = _varint(body, position)
        value, position = _varint(body, position)
        if key & 7 == _VARINT:
            yield key >> 3, value
        elif key & 7 == _BYTES:
            if position + value > len(body):
                raise ValueError("cut off")
            yield key >> 3, body[position : position + value]
            position += value
        else:
            raise ValueError(f"wire type {key & 7}")


def _varint(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
