"""Servers that never come to an end, though they never fall silent: pings and tokens have their time."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DeadlineExceeded
from onggi.oci.reference import Reference
from onggi.registry.errors import NetworkError
from onggi.registry.patience import Patience
from tests.registry.registry import TokenService, token_guard
from tests.registry.site import Reply

RAW = b'{"schemaVersion": 2}'
LIMIT_S = 0.5


class _Drip(socketserver.ThreadingTCPServer):
    """Answers with a header that goes on for ever, a byte at a time."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", 0), _Dripping)

    def handle_error(self, request, client_address) -> None:
        """The client leaves: that is what the tests want."""


class _Dripping(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not self.server.stopping.wait(0.05):
            self.request.sendall(b"x")


@pytest.fixture
def drip() -> Iterator[str]:
    """``host:port`` of a dripping server."""
    server = _Drip()
    thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hasty(world):
    """One attempt, and half a second for it."""
    world.set(stall_timeout_s=LIMIT_S)
    world.patience = Patience(attempts=1)
    return world


def resolve(world, host: str, cancel: CancelToken):
    reference = Reference.parse(f"{host}/some/image:v1")
    return world.client().repository(reference).resolve(reference, cancel)


def test_a_ping_whose_headers_never_end(hasty, drip, cancel):
    begun = time.monotonic()
    with pytest.raises(
        NetworkError, match=r'^Get "https?://127.0.0.1:\d+/v2/": context deadline exc'
    ) as caught:
        resolve(hasty, drip, cancel)
    assert time.monotonic() - begun < 20
    assert caught.value.hint.startswith("no whole answer in 0.5 s")


def test_a_token_whose_body_never_ends(hasty, registry, site, serve, cancel):
    dripping = serve(lambda request: Reply(body=b" " * 100_000, bytes_per_s=100))
    registry.faults.append(token_guard(TokenService(users={}), f"{dripping.url}/token"))
    registry.add_manifest("some/image", "v1", RAW)
    with pytest.raises(NetworkError) as caught:
        resolve(hasty, site.host, cancel)
    assert f'Get "{dripping.url}/token": context deadline exceeded' in str(caught.value)


def test_a_deadline_of_the_caller_stays_one(hasty, drip):
    hasty.set(stall_timeout_s=30.0)
    with pytest.raises(DeadlineExceeded):
        resolve(hasty, drip, CancelToken(0.3))


def test_who_cancels_is_not_told_of_time(hasty, drip):
    hasty.set(stall_timeout_s=30.0)
    token = CancelToken()
    timer = threading.Timer(0.2, token.cancel)
    timer.start()
    with pytest.raises(Cancelled, match="^operation cancelled$"):
        resolve(hasty, drip, token)
    timer.join()
