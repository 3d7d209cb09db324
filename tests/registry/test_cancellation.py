"""A cancelled or late verb ends at once, wherever it waits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DeadlineExceeded
from onggi.oci.reference import Reference
from tests.registry.certificates import Issuer
from tests.registry.site import Reply


def resolve(world, host: str, cancel: CancelToken):
    reference = Reference.parse(f"{host}/some/image:v1")
    return world.client().repository(reference).resolve(reference, cancel)


@pytest.fixture
def patient(world):
    """Without the token a request would wait for a minute."""
    world.set(stall_timeout_s=60.0)
    return world


@pytest.fixture
def mute() -> Iterator[str]:
    """Accepts connections and never says a word: no TLS handshake ends, no header comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def cancelled_soon() -> CancelToken:
    cancel = CancelToken()
    threading.Timer(0.15, cancel.cancel).start()
    return cancel


@pytest.mark.parametrize(
    ("token", "kind"),
    [(cancelled_soon, Cancelled), (lambda: CancelToken(timeout_s=0.15), DeadlineExceeded)],
)
def test_in_the_middle_of_a_handshake(patient, mute, token, kind):
    with pytest.raises(kind):
        resolve(patient, mute, token())


@pytest.mark.parametrize(
    ("token", "kind"),
    [(cancelled_soon, Cancelled), (lambda: CancelToken(timeout_s=0.3), DeadlineExceeded)],
)
@pytest.mark.parametrize("tls", [False, True])
def test_while_no_header_comes(patient, serve, tmp_path, token, kind, tls):
    done = threading.Event()

    def silent(request):
        if request.path == "/v2/":
            return Reply(200, b"{}")
        done.wait(20)
        return Reply(500)

    site = serve(silent, tls=Issuer(tmp_path / "ca").server("127.0.0.1") if tls else None)
    try:
        with pytest.raises(kind):
            resolve(patient, site.host, token())
    finally:
        done.set()


@pytest.mark.parametrize("tls", [False, True])
def test_in_the_middle_of_a_body(patient, registry, serve, tmp_path, tls):
    digest = registry.add_manifest("some/image", "v1", bytes(100_000))

    def hold(request):
        return Reply(200, bytes(100_000), hold=50_000) if request.path.endswith(digest) else None

    registry.faults.append(hold)
    site = serve(registry, tls=Issuer(tmp_path / "ca").server("127.0.0.1") if tls else None)
    with pytest.raises(Cancelled):
        resolve(patient, site.host, cancelled_soon())


def test_while_it_waits_to_ask_again(patient, registry, site):
    registry.faults.append(
        lambda request: Reply(429, headers={"Retry-After": "15"}) if request.path != "/v2/" else None
    )
    with pytest.raises(Cancelled):
        resolve(patient, site.host, cancelled_soon())


def test_before_it_began(patient, registry, site):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        resolve(patient, site.host, cancel)
    assert site.requests == []


def test_others_go_on(patient, registry, site, cancel):
    """The client stays usable, and so do its connections for everybody else."""
    raw = b'{"schemaVersion": 2}'
    digest = registry.add_manifest("some/image", "v1", raw)
    release = threading.Event()

    def slow_once(request):
        if request.path.endswith(digest) and not release.is_set():
            release.wait(0.5)
            return Reply(200, raw, hold=5)
        return None

    registry.faults.append(slow_once)
    client = patient.client()
    reference = Reference.parse(f"{site.host}/some/image:v1")
    with pytest.raises(Cancelled):
        client.repository(reference).resolve(reference, cancelled_soon())
    release.set()
    assert client.repository(reference).resolve(reference, cancel).raw == raw


def test_nothing_is_left_behind(patient, registry, site):
    """A token that outlives many requests keeps no reference to any of them."""
    registry.add_manifest("some/image", "v1", b'{"schemaVersion": 2}')
    cancel = CancelToken()
    for _ in range(5):
        resolve(patient, site.host, cancel)
    assert cancel._callbacks == []
