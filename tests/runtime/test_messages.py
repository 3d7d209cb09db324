"""Pieces into messages: parts of long lines are numbered, and know which is the last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onggi.runtime.supervisor.messages import LineSplitter, Message, MessageSplitter


def _messages(*chunks: bytes) -> list[Message]:
    lines, messages = LineSplitter(), MessageSplitter()
    pieces = [piece for chunk in chunks for piece in lines.feed(chunk, 7)]
    return [m for piece, at in [*pieces, *lines.end(7)] for m in messages.split("stdout", piece, at)]


def test_whole_lines() -> None:
    assert [(m.line, m.partial_id, m.last) for m in _messages(b"a\n\nb\n")] == [
        (b"a", "", True),
        (b"", "", True),
        (b"b", "", True),
    ]


def test_parts_of_a_long_line() -> None:
    found = _messages(b"x" * 40_000 + b"\nnext\n")
    assert [(len(m.line), m.ordinal, m.last) for m in found] == [
        (16384, 1, False),
        (16384, 2, False),
        (7232, 3, True),
        (4, 0, True),
    ]
    assert len({m.partial_id for m in found[:3]}) == 1 and len(found[0].partial_id) == 64
    exact = _messages(b"x" * 16384, b"\nnext\n")
    assert [(m.line[:4], m.ordinal, m.last) for m in exact] == [
        (b"xxxx", 1, False),
        (b"", 2, True),
        (b"next", 0, True),
    ]


def test_a_last_line_without_its_newline_is_a_part() -> None:
    (message,) = _messages(b"end")
    assert (message.line, message.ordinal, message.last) == (b"end", 1, False)


def test_streams_do_not_mix() -> None:
    splitter = MessageSplitter()
    splitter.split("stdout", b"part", 1)
    (other,) = splitter.split("stderr", b"whole\n", 1)
    (rest,) = splitter.split("stdout", b"rest\n", 1)
    assert (other.partial_id, rest.ordinal) == ("", 2)


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_nothing_is_lost(chunks: list[bytes]) -> None:
    said = b"".join(m.line + (b"\n" if m.last else b"") for m in _messages(*chunks))
    assert said == b"".join(chunks)
