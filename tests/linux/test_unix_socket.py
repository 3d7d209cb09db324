"""Messages with descriptors, either side being the standard library's socket."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from onggi.linux.unix_socket import packet_pair, receive_with, send_with, stream_pair


@pytest.mark.parametrize("pair", [packet_pair, stream_pair, socket.socketpair])
def test_descriptors_come_along_and_are_not_inherited(pair) -> None:
    ours, theirs = pair()
    reading, writing = os.pipe()
    with closing(ours), closing(theirs):
        send_with(ours, b"hello", [reading, writing])
        data, found = receive_with(theirs, 64, 4)
    assert data == b"hello"
    assert len(found) == 2
    assert not any(os.get_inheritable(fd) for fd in found)
    os.write(found[1], b"through")
    assert os.read(reading, 64) == b"through"
    for fd in (reading, writing, *found):
        os.close(fd)


def test_a_message_without_descriptors() -> None:
    ours, theirs = stream_pair()
    with closing(ours), closing(theirs):
        ours.sendall(b"plain")
        assert receive_with(theirs, 64, 4) == (b"plain", [])


def test_the_end_is_an_empty_message() -> None:
    ours, theirs = packet_pair()
    ours.close()
    with closing(theirs):
        assert receive_with(theirs, 64, 4) == (b"", [])


def test_a_message_larger_than_a_buffer_is_at_first() -> None:
    ours, theirs = packet_pair()
    large = b"x" * 120_000
    with closing(ours), closing(theirs):
        send_with(ours, large, [])
        assert receive_with(theirs, len(large), 1)[0] == large
