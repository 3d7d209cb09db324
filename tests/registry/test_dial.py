"""Connecting: the first address that answers, errors in Go's words, and a prompt end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DeadlineExceeded
from onggi.registry import dial as module
from onggi.registry.dial import dial
from onggi.registry.errors import Unreachable
from tests.peers.processes import free_port


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose backlog is full: it takes no connection and refuses none."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    fillers = []
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(server.getsockname())
        fillers.append(filler)
    yield server.getsockname()[1]
    for open_socket in (*fillers, server):
        open_socket.close()


def resolve_to(monkeypatch, *addresses: tuple[str, int]) -> None:
    found = [
        (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
        for host, port in addresses
    ]
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *arguments, **options: found)


def test_a_connected_socket(listener):
    with dial("127.0.0.1", listener, 5.0, CancelToken()) as sock:
        assert sock.getpeername() == ("127.0.0.1", listener)
        assert sock.gettimeout() == 5.0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not sock.get_inheritable()


def test_refused():
    port = free_port()
    with pytest.raises(Unreachable) as caught:
        dial("127.0.0.1", port, 5.0, CancelToken())
    assert str(caught.value) == f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert caught.value.hint


def test_no_such_host():
    with pytest.raises(Unreachable, match=r"dial tcp: lookup no\.such\.host\.invalid: ") as caught:
        dial("no.such.host.invalid", 443, 5.0, CancelToken())
    assert caught.value.hint


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b"])
def test_a_name_that_is_none(host):
    with pytest.raises(Unreachable, match="no such host"):
        dial(host, 443, 5.0, CancelToken())


def test_the_next_address_is_tried_when_one_refuses(listener, monkeypatch):
    resolve_to(monkeypatch, ("127.0.0.1", free_port()), ("127.0.0.2", free_port()), ("127.0.0.1", listener))
    with dial("many.example", 0, 5.0, CancelToken()) as sock:
        assert sock.getpeername()[1] == listener


def test_an_address_that_is_silent_does_not_keep_the_next_one_waiting(listener, silent, monkeypatch):
    resolve_to(monkeypatch, ("127.0.0.1", silent), ("127.0.0.1", listener))
    with dial("two.example", 0, 30.0, CancelToken(timeout_s=10)) as sock:
        assert sock.getpeername()[1] == listener


def test_the_last_error_is_shown_when_all_refuse(monkeypatch):
    ports = free_port(), free_port()
    resolve_to(monkeypatch, *(("127.0.0.1", port) for port in ports))
    with pytest.raises(Unreachable, match=f"127.0.0.1:{ports[1]}: connect: connection refused"):
        dial("two.example", 0, 5.0, CancelToken())


def test_families_take_turns():
    six, four = (socket.AF_INET6,), (socket.AF_INET,)
    found = [(*six, n) for n in range(3)] + [(*four, n) for n in range(2)]
    mixed = module._interleaved(found)
    assert [entry[0] for entry in mixed] == [*six, *four, *six, *four, *six]
    assert module._interleaved([]) == []


def test_a_silent_address_ends_with_the_timeout(silent):
    with pytest.raises(Unreachable, match=f"dial tcp 127.0.0.1:{silent}: i/o timeout"):
        dial("127.0.0.1", silent, 0.3, CancelToken())


def test_cancel_ends_it(silent):
    cancel = CancelToken()
    threading.Timer(0.1, cancel.cancel).start()
    with pytest.raises(Cancelled):
        dial("127.0.0.1", silent, 60.0, cancel)


def test_a_deadline_ends_it(silent):
    with pytest.raises(DeadlineExceeded):
        dial("127.0.0.1", silent, 60.0, CancelToken(timeout_s=0.2))


def test_addresses_of_a_family_this_host_has_not(listener, monkeypatch):
    """An unreachable family fails at once and costs nothing."""
    resolve_to(monkeypatch, ("2001:db8::1", 443), ("127.0.0.1", listener))
    with dial("dual.example", 0, 5.0, CancelToken(timeout_s=10)) as sock:
        assert sock.getpeername()[1] == listener
