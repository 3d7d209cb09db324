"""From what a container writes to single messages, as Docker's log drivers know them.

bytes ──▶ LineSplitter ──▶ pieces: whole lines that came together, or a part of a long line
                              └──▶ MessageSplitter ──▶ Message: one line without its newline, or a part

A line longer than 16 KiB becomes several messages of one id, numbered from 1, the last one marked; a
last line without a newline is a part whose last one never comes.

Source: moby ``daemon/logger/copier.go``.
"""

from __future__ import annotations

import os

__all__ = ["LineSplitter", "Message", "MessageSplitter"]

PIECE_BYTES = 16 * 1024


class LineSplitter:
    """Cuts one stream into pieces: whole lines that came together, or a part of a long one."""

    __slots__ = ("_held", "_held_since")

    def __init__(self) -> None:
        self._held = b""
        self._held_since = 0

    def feed(self, data: bytes, now_ns: int) -> list[tuple[bytes, int]]:
        """Pieces that are complete, each with its time; the rest is held back."""
        pieces: list[tuple[bytes, int]] = []
        if self._held:
            line, newline, data = data.partition(b"\n")
            self._add(line, now_ns, pieces)
            if newline:
                self._end_line(now_ns, pieces)
        end = data.rfind(b"\n") + 1
        if end and _has_short_lines(data, end):
            pieces.append((data[:end], now_ns))
        else:
            for line in data[:end].split(b"\n")[:-1]:
                self._add(line, now_ns, pieces)
                self._end_line(now_ns, pieces)
        self._add(data[end:], now_ns, pieces)
        return pieces

    def _add(self, data: bytes, now_ns: int, pieces: list[tuple[bytes, int]]) -> None:
        """Hold ``data`` after what is held; full pieces of a long line go out without a newline."""
        if not data:
            return
        self._held += data
        self._held_since = self._held_since or now_ns
        while len(self._held) >= PIECE_BYTES:
            pieces.append((self._held[:PIECE_BYTES], self._held_since))
            self._held = self._held[PIECE_BYTES:]

    def _end_line(self, now_ns: int, pieces: list[tuple[bytes, int]]) -> None:
        pieces.append((self._held + b"\n", self._held_since or now_ns))
        self._held, self._held_since = b"", 0

    def end(self, now_ns: int) -> list[tuple[bytes, int]]:
        """What is left at the end of the stream."""
        held, since = self._held, self._held_since or now_ns
        self._held, self._held_since = b"", 0
        return [(held, since)] if held else []


def _has_short_lines(data: bytes, end: int) -> bool:
    """True when no line before ``end`` can be as long as a piece: every half piece has a newline."""
    half = PIECE_BYTES // 2
    return all(data.find(b"\n", start, start + half) >= 0 for start in range(0, end, half))


class Message:
    """One line, or with ``partial_id`` the part of one that ``ordinal`` counts; ``last`` ends the line."""

    __slots__ = ("last", "line", "ordinal", "partial_id", "stream", "time_ns")

    def __init__(
        self,
        stream: str,
        line: bytes,
        time_ns: int,
        partial_id: str = "",
        ordinal: int = 0,
        last: bool = True,
    ) -> None:
        self.stream = stream
        self.line = line
        self.time_ns = time_ns
        self.partial_id = partial_id
        self.ordinal = ordinal
        self.last = last


class MessageSplitter:
    """Takes the pieces of all streams; knows which stream is within a long line."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, int]] = {}

    def split(self, stream: str, piece: bytes, time_ns: int) -> list[Message]:
        """The messages of one piece."""
        *lines, rest = piece.split(b"\n")
        messages = []
        for line in lines:
            if stream in self._open:
                partial_id, ordinal = self._open.pop(stream)
                messages.append(Message(stream, line, time_ns, partial_id, ordinal + 1))
            else:
                messages.append(Message(stream, line, time_ns))
        if rest:
            partial_id, ordinal = self._open.get(stream) or (os.urandom(32).hex(), 0)
            self._open[stream] = partial_id, ordinal + 1
            messages.append(Message(stream, rest, time_ns, partial_id, ordinal + 1, last=False))
        return messages
