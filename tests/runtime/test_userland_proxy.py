"""What comes by IPv6 is carried to an IPv4 server, and its answers back: real sockets on the loopback."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.runtime.supervisor.userland_proxy import named

_PATIENCE_S = 20
_CARRIER = """
import socket, sys
from onggi.runtime.supervisor.loop import Loop
from onggi.runtime.supervisor.userland_proxy import serve
loop = Loop()
serve(loop, socket.socket(fileno=int(sys.argv[1])), ("127.0.0.1", int(sys.argv[2])))
loop.run()
"""


@contextmanager
def _carrying(kind: int) -> Iterator[tuple[socket.socket, tuple[str, int], int]]:
    """A server's socket inside, the address outside, and the process between them."""
    with socket.socket(socket.AF_INET, kind) as inside, socket.socket(socket.AF_INET6, kind) as held:
        inside.bind(("127.0.0.1", 0))
        held.bind(("::1", 0))
        inside.settimeout(_PATIENCE_S)
        for server in (inside, held) if kind == socket.SOCK_STREAM else ():
            server.listen()
        words = [sys.executable, "-c", _CARRIER, str(held.fileno()), str(inside.getsockname()[1])]
        carrier = subprocess.Popen(words, pass_fds=[held.fileno()])
        address = held.getsockname()[:2]
        assert named(held) == ("tcp" if kind == socket.SOCK_STREAM else "udp", *address)
        try:
            yield inside, address, carrier.pid
        finally:
            carrier.kill()
            carrier.wait()


def _all(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(1 << 16):
        found += data
    return found


def test_a_stream_ends_on_one_side_first() -> None:
    """A megabyte and its end one way; then as much the other way, which is still open."""
    big = os.urandom(1 << 20)
    with (
        _carrying(socket.SOCK_STREAM) as (inside, address, _),
        socket.create_connection(address, timeout=_PATIENCE_S) as client,
    ):
        served, _ = inside.accept()
        served.settimeout(_PATIENCE_S)
        _send(client, big)
        assert _all(served) == big
        _send(served, big)
        assert _all(client) == big


def _send(connection: socket.socket, data: bytes) -> None:
    """All of it and the end, beside the reader here."""

    def run() -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=run).start()


def test_nobody_listens_inside() -> None:
    """The connection ends, the carrier goes on, and rests."""
    with _carrying(socket.SOCK_STREAM) as (inside, address, pid):
        port = inside.getsockname()[1]
        inside.close()
        for _ in range(3):
            with socket.create_connection(address, timeout=_PATIENCE_S) as client:
                try:
                    assert client.recv(1) == b""
                except ConnectionResetError:
                    pass
        with socket.create_server(("127.0.0.1", port)) as again:
            again.settimeout(_PATIENCE_S)
            with socket.create_connection(address, timeout=_PATIENCE_S) as client:
                served, _ = again.accept()
                client.shutdown(socket.SHUT_WR)
                assert served.recv(1) == b""
                before = _ticks(pid)
                select.select([client], [], [], 0.3)  # one side has ended, the other says nothing
                assert _ticks(pid) - before <= 5
                served.sendall(b"late")
                assert client.recv(9) == b"late"


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_datagrams_find_their_sender() -> None:
    with _carrying(socket.SOCK_DGRAM) as (inside, address, _):
        clients = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(3)]
        for number, client in enumerate(clients):
            client.settimeout(_PATIENCE_S)
            client.connect(address)
            client.send(b"ask %d" % number)
        for _ in clients:
            data, source = inside.recvfrom(100)
            inside.sendto(data.replace(b"ask", b"answer"), source)
        for number, client in enumerate(clients):
            with client:
                assert client.recv(100) == b"answer %d" % number


_COUNTER = """
import socket
from onggi.runtime.supervisor.loop import Loop
from onggi.runtime.supervisor.userland_proxy import serve
loop = Loop()
held, inside, sender = (socket.socket(family, socket.SOCK_DGRAM) for family in (10, 2, 10))
held.bind(("::1", 0)); inside.bind(("127.0.0.1", 0)); inside.settimeout(20)
serve(loop, held, inside.getsockname())
for number in range(200):
    sender.sendto(b"x", held.getsockname())
    loop.after(0, loop.stop)
    loop.run()
    loop._stopped = False
    inside.recv(1)
print(len(loop._timers))
"""


def test_a_sender_has_one_timer_however_much_it_sends() -> None:
    done = subprocess.run([sys.executable, "-c", _COUNTER], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"1\n"
