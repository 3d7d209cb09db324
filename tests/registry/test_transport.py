"""Requests: redirects without secrets, errors in Go's words, and how they are broken off."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DeadlineExceeded, OnggiError
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.reference import Reference
from onggi.registry.errors import BrokenRegistry, NetworkError
from tests.registry.registry import basic, basic_guard
from tests.registry.site import Reply

BLOB = b"a blob, or what stands for one"
RAW = b'{"schemaVersion": 2}'


@pytest.fixture
def guarded(world, registry, site):
    """The registry asks for a password, which we have."""
    registry.faults.append(basic_guard("u", "p"))
    registry.add_blob(BLOB)
    world.keep(site.host, "u", "p")
    return site


def read(world, site, cancel) -> bytes:
    digest = Digest.of(BLOB)
    descriptor = Descriptor("application/octet-stream", digest, len(BLOB))
    return world.repository(site.host).read_blob(descriptor, 1 << 20, cancel)


def resolve(world, host, cancel):
    reference = Reference.parse(f"{host}/some/image:v1")
    return world.client().repository(reference).resolve(reference, cancel)


def redirect_blobs(registry, location, status=307):
    registry.faults.append(
        lambda request: Reply(status, b"", {"Location": location}) if "/blobs/" in request.path else None
    )


# --- redirects ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_blob_at_another_host_is_fetched_without_credentials(
    world, serve, registry, guarded, cancel, status
):
    store = serve(lambda request: Reply(200, BLOB))
    redirect_blobs(registry, f"{store.url}/bucket/blob?signature=s", status)
    assert read(world, guarded, cancel) == BLOB
    (request,) = store.requests
    assert request.target == "/bucket/blob?signature=s"
    assert request.authorization is None
    assert request.headers["Cookie"] is None
    assert guarded.requests[-1].authorization == basic("u", "p")


def test_credentials_do_not_come_back_after_a_detour(world, serve, registry, guarded, cancel):
    """Other host, then the first one again: whoever redirects there chose the address."""
    registry.faults.insert(0, lambda request: Reply(200, BLOB) if request.path == "/elsewhere" else None)
    detour = serve(lambda request: Reply(307, b"", {"Location": f"{guarded.url}/elsewhere"}))
    redirect_blobs(registry, f"{detour.url}/")
    assert read(world, guarded, cancel) == BLOB
    assert guarded.asked("/elsewhere")[0].authorization is None


def test_the_same_host_gets_them_again(world, registry, guarded, cancel):
    digest = Digest.of(BLOB)
    moved = f"/v2/moved/blobs/{digest}"
    registry.faults.append(
        lambda request: Reply(307, b"", {"Location": moved}) if "/some/image/blobs/" in request.path else None
    )
    assert read(world, guarded, cancel) == BLOB
    assert guarded.asked(moved)[0].authorization == basic("u", "p")


def test_circles_end(world, registry, guarded, cancel):
    redirect_blobs(registry, f"/v2/some/image/blobs/{Digest.of(BLOB)}")
    with pytest.raises(BrokenRegistry, match="stopped after 10 redirects"):
        read(world, guarded, cancel)
    assert len(guarded.asked(f"/v2/some/image/blobs/{Digest.of(BLOB)}")) == 11


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://x.example/", "http://[::1/x", "http://h:99999/x"]
)
def test_only_http_is_followed(world, registry, guarded, cancel, location):
    redirect_blobs(registry, location)
    with pytest.raises(BrokenRegistry):
        read(world, guarded, cancel)


@pytest.mark.parametrize(
    "location", ["ftp://\x1b[2J/", "http://h\x1b[2J/", "/\x1b[2J", "http://\xff.invalid/", "/\xe9"]
)
def test_odd_characters_in_a_location(world, registry, guarded, cancel, location):
    redirect_blobs(registry, location)
    with pytest.raises(OnggiError) as caught:
        read(world, guarded, cancel)
    assert str(caught.value).isprintable()


def test_an_error_does_not_show_the_signature(world, serve, registry, guarded, cancel):
    store = serve(lambda request: Reply(200, BLOB, cut_after=4))
    redirect_blobs(registry, f"{store.url}/blob?X-Signature=secret-signature")
    with pytest.raises(OnggiError) as caught:
        read(world, guarded, cancel)
    assert "secret-signature" not in str(caught.value) + caught.value.hint


# --- no connection --------------------------------------------------------------------------


def test_connection_refused(world, cancel):
    with pytest.raises(NetworkError) as caught:
        resolve(world, "127.0.0.1:1", cancel)
    assert str(caught.value) == (
        'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'
    )
    assert "is the registry running there?" in caught.value.hint


def test_a_name_that_does_not_exist(world, cancel):
    with pytest.raises(NetworkError) as caught:
        resolve(world, "registry.invalid", cancel)
    # A machine without a resolver cannot know that the name does not exist.
    assert str(caught.value) in (
        'Get "https://registry.invalid/v2/": dial tcp: lookup registry.invalid: no such host',
        'Get "https://registry.invalid/v2/": dial tcp: lookup registry.invalid: '
        "Temporary failure in name resolution",
    )


def test_a_server_that_hangs_up(world, cancel):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def hang_up():
            listener.settimeout(0.1)
            while not stop.is_set():
                try:
                    listener.accept()[0].close()
                except TimeoutError:
                    pass

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            with pytest.raises(OnggiError, match=r"EOF|reset by peer"):
                resolve(world, f"127.0.0.1:{listener.getsockname()[1]}", cancel)
        finally:
            stop.set()
            thread.join()


# --- breaking off ---------------------------------------------------------------------------


@pytest.fixture
def silent():
    """The port of a server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def cancelled_after(seconds: float) -> CancelToken:
    token = CancelToken()
    timer = threading.Timer(seconds, token.cancel)
    timer.daemon = True
    timer.start()
    return token


def seconds_until(error, action) -> float:
    started = time.monotonic()
    with pytest.raises(error):
        action()
    return time.monotonic() - started


def test_cancelling_while_waiting_for_an_answer(world, silent):
    world.set(stall_timeout_s=30.0)
    token = cancelled_after(0.2)
    assert seconds_until(Cancelled, lambda: resolve(world, f"127.0.0.1:{silent}", token)) < 1.5


@pytest.mark.parametrize("length", [-1, None])
def test_cancelling_in_the_middle_of_a_body(world, registry, site, length):
    """``None``: the connection is the body's, and http.client has let go of it already."""
    world.set(stall_timeout_s=30.0)
    registry.faults.append(
        lambda request: Reply(200, BLOB, hold=5, length=length) if "/blobs/" in request.path else None
    )
    token = cancelled_after(0.3)
    assert seconds_until(Cancelled, lambda: read(world, site, token)) < 1.5


def test_the_deadline_counts_too(world, silent):
    world.set(stall_timeout_s=30.0)
    token = CancelToken(timeout_s=0.3)
    assert seconds_until(DeadlineExceeded, lambda: resolve(world, f"127.0.0.1:{silent}", token)) < 1.5


def test_silence_ends_with_the_stall_timeout(world, silent, cancel):
    world.set(stall_timeout_s=0.3)
    with pytest.raises(NetworkError, match="(?i)timeout"):
        resolve(world, f"127.0.0.1:{silent}", cancel)


# --- connections ----------------------------------------------------------------------------


def test_connections_are_kept(world, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    registry.add_blob(BLOB)
    reference = Reference.parse(f"{site.host}/some/image:v1")
    repository = world.client().repository(reference)
    for _ in range(3):
        repository.resolve(reference, cancel)
    assert len({request.peer for request in site.requests}) == 1


def test_a_connection_that_the_server_closed_meanwhile(world, registry, site, serve, cancel):
    """The next request goes over a new one, without an error and without a pause."""
    digest = registry.add_manifest("some/image", "v1", RAW)
    reference = Reference.parse(f"{site.host}/some/image@{digest}")
    repository = world.client().repository(reference)
    site.answer = lambda request: _closing(registry(request))
    started = time.monotonic()
    for _ in range(4):
        assert repository.resolve(reference, cancel).raw == RAW
    assert time.monotonic() - started < 2


def _closing(reply):
    """Announces a kept connection, and does not keep it."""
    reply.cut_after = len(reply.body)
    return reply


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, BLOB),
        Reply(200, BLOB, length=None),
        Reply(200, BLOB, cut_after=3),
        Reply(200, BLOB, hold=3),
        Reply(404, b"x" * 200_000),
        Reply(500),
    ],
)
def test_no_descriptor_stays_open(world, registry, site, reply):
    world.set(stall_timeout_s=0.2)
    registry.faults.append(lambda request: reply if "/blobs/" in request.path else None)
    client = world.client()
    repository = client.repository(Reference.parse(f"{site.host}/some/image"))
    descriptor = Descriptor("application/octet-stream", Digest.of(BLOB), len(BLOB))
    before = _sockets_to(site.port)
    try:
        repository.read_blob(descriptor, 1 << 20, CancelToken(timeout_s=1))
    except OnggiError:
        pass
    client.close()
    assert _sockets_to(site.port) == before


def _sockets_to(port: int) -> int:
    """Connections of this process to a server; its own ends do not count."""
    inodes = {
        os.readlink(f"/proc/self/fd/{fd}").removeprefix("socket:[").removesuffix("]")
        for fd in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{fd}")
    }
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[2].endswith(f":{port:04X}") and row[9] in inodes for row in rows)


def test_requests_name_the_engine_and_nothing_of_its_user(world, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    resolve(world, site.host, cancel)
    for request in site.requests:
        assert request.headers["User-Agent"].startswith("onggi/")
        assert socket.gethostname() not in request.headers["User-Agent"]
        assert request.headers["Accept-Encoding"] == "identity"
