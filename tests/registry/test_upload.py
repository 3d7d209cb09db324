"""Uploads through whatever goes wrong: they end right, or with one clear error."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DataLoss
from onggi.oci.digest import Digest
from onggi.oci.reference import Reference
from onggi.registry.destination import Destination
from onggi.registry.errors import (
    AccessDenied,
    BadCredentials,
    BlobRefused,
    BrokenRegistry,
    ForeignAddress,
    ManifestMismatch,
    NetworkError,
    RateLimited,
    RegistryError,
    ServerError,
)
from tests.registry.fixtures import World
from tests.registry.registry import TokenService, basic_guard, error
from tests.registry.site import Reply, Request
from tests.registry.upload_site import Fault, Push, UploadSite

NAME = "some/image"
BIG = random.Random(1).randbytes(3_000_000)


@dataclass
class Bytes:
    """Content in memory; ``known`` tells digest and size beforehand. ``opened`` counts."""

    data: bytes
    known: bool = False
    fail_at: int | None = None
    opened: int = 0
    closed: int = field(default=0)

    @property
    def digest(self) -> Digest | None:
        return Digest.of(self.data) if self.known else None

    @property
    def size(self) -> int | None:
        return len(self.data) if self.known else None

    @contextmanager
    def open(self) -> Iterator[Iterator[bytes]]:
        self.opened += 1
        yield self._pieces()
        self.closed += 1

    def _pieces(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), 100_000):
            if self.fail_at is not None and start >= self.fail_at:
                raise DataLoss("the layer is not what it was")
            yield self.data[start : start + 100_000]


@pytest.fixture
def uploads() -> Iterator[UploadSite]:
    site = UploadSite()
    yield site
    site.stop()


@pytest.fixture
def destination(world: World, uploads: UploadSite) -> Destination:
    return world.client().destination(Reference.parse(f"{uploads.host}/{NAME}"))


def once(wanted: Callable[[Push], bool], fault: Fault) -> Callable[[Push], Fault | None]:
    """The fault for the first request that is wanted."""
    left = [fault]
    return lambda push: left.pop() if left and wanted(push) else None


def method(name: str) -> Callable[[Push], bool]:
    return lambda push: push.method == name and ("uploads" in push.path)


def arrived(uploads: UploadSite, data: bytes) -> bool:
    return uploads.blobs.get((NAME, Digest.of(data))) == data


# --- the three ways ---------------------------------------------------------------------------


def test_a_small_blob_takes_two_requests(destination, uploads, cancel) -> None:
    sent = destination.upload(Bytes(b"small"), cancel)
    assert (sent.digest, sent.size) == (Digest.of(b"small"), 5)
    assert [push.method for push in uploads.requests] == ["GET", "POST", "PUT"]
    assert arrived(uploads, b"small")


def test_an_empty_blob(destination, uploads, cancel) -> None:
    assert destination.upload(Bytes(b""), cancel).size == 0
    assert arrived(uploads, b"")


def test_a_large_blob_is_streamed(destination, uploads, cancel) -> None:
    content = Bytes(BIG)
    destination.upload(content, cancel)
    (patch,) = uploads.asked("PATCH")
    assert patch.headers["Transfer-Encoding"] == "chunked"
    assert patch.received == len(BIG)
    assert arrived(uploads, BIG)
    assert content.opened == content.closed == 1


def test_a_blob_whose_digest_is_known_goes_with_the_put(destination, uploads, cancel) -> None:
    destination.upload(Bytes(BIG, known=True), cancel)
    assert not uploads.asked("PATCH")
    (put,) = uploads.asked("PUT")
    assert put.headers["Content-Length"] == str(len(BIG))
    assert arrived(uploads, BIG)


def test_content_that_fails_says_why(destination, uploads, cancel) -> None:
    for content in (
        Bytes(BIG, fail_at=2_500_000),
        Bytes(BIG, known=True, fail_at=2_500_000),
        Bytes(BIG, fail_at=0),
    ):
        with pytest.raises(DataLoss, match="^the layer is not what it was$"):
            destination.upload(content, cancel)
        assert content.opened == 1


# --- cuts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("cut_after", [1, 1_000_000, 2_999_999])
def test_after_a_cut_only_the_rest_is_sent(destination, uploads, cancel, cut_after, known) -> None:
    uploads.fault = once(method("PUT" if known else "PATCH"), Fault(cut_after=cut_after))
    content = Bytes(BIG, known=known)
    destination.upload(content, cancel)
    assert arrived(uploads, BIG)
    assert content.opened == 2
    assert uploads.sent_bytes == len(BIG)
    assert len(uploads.asked("POST")) == 1


def test_many_cuts_at_random_places(destination, uploads, cancel) -> None:
    chance = random.Random(7)

    def fault(push: Push) -> Fault | None:
        return Fault(cut_after=chance.randrange(200_000, 700_000)) if push.method == "PATCH" else None

    uploads.fault = fault
    destination.upload(Bytes(BIG), cancel)
    assert len(uploads.asked("PATCH")) > 4
    assert arrived(uploads, BIG)


def test_a_registry_that_forgets_uploads_gets_them_anew(destination, uploads, cancel) -> None:
    def forget(push: Push) -> Fault | None:
        if push.method == "GET" and "uploads" in push.path:
            uploads.uploads.clear()
        return cut(push)

    cut = once(method("PATCH"), Fault(cut_after=500_000))
    uploads.fault = forget
    destination.upload(Bytes(BIG), cancel)
    assert len(uploads.asked("POST")) == 2
    assert arrived(uploads, BIG)


def test_a_put_whose_answer_is_lost_sends_nothing_again(destination, uploads, cancel) -> None:
    uploads.fault = once(method("PUT"), Fault(deaf=True))
    destination.upload(Bytes(BIG), cancel)
    assert uploads.sent_bytes == len(BIG)
    assert uploads.requests[-1].method == "HEAD"


def test_cuts_without_end_are_an_error(destination, uploads, cancel) -> None:
    def fault(push: Push) -> Fault | None:
        if push.method == "GET":
            uploads.uploads.clear()
        return Fault(cut_after=1) if push.method == "PATCH" else None

    uploads.fault = fault
    waits: list[int] = []
    with pytest.raises(NetworkError) as caught:
        destination.upload(Bytes(BIG), cancel, on_retry=waits.append)
    assert caught.value.message.startswith(f'Patch "http://{uploads.host}/v2/{NAME}/blobs/uploads/')
    assert len(uploads.asked("PATCH")) == 5
    assert len(waits) == 4


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["POST", "PATCH", "PUT"])
@pytest.mark.parametrize("status", [500, 503])
def test_one_server_error_is_passed_over(destination, uploads, cancel, verb, status) -> None:
    uploads.fault = once(method(verb), Fault(status=status))
    destination.upload(Bytes(BIG), cancel)
    assert arrived(uploads, BIG)


def test_server_errors_without_end(destination, uploads, cancel) -> None:
    uploads.fault = lambda push: Fault(status=502) if push.method == "PUT" else None
    with pytest.raises(ServerError, match="received unexpected HTTP status: 502 Bad Gateway"):
        destination.upload(Bytes(b"x"), cancel)
    assert len(uploads.asked("PUT")) == 5


@pytest.mark.parametrize("verb", ["POST", "PATCH", "PUT"])
def test_a_limit_is_waited_for(destination, uploads, cancel, verb) -> None:
    uploads.fault = once(method(verb), Fault(status=429, headers={"Retry-After": "0"}))
    destination.upload(Bytes(BIG), cancel)
    assert arrived(uploads, BIG)


def test_a_long_limit_is_told(destination, uploads, cancel) -> None:
    uploads.fault = lambda push: (
        Fault(status=429, headers={"Retry-After": "3600"}) if push.method == "PUT" else None
    )
    with pytest.raises(RateLimited) as caught:
        destination.upload(Bytes(b"x"), cancel)
    assert "wait 3600 s" in caught.value.hint


def test_a_range_that_is_refused_is_asked_for(destination, uploads, cancel) -> None:
    uploads.fault = once(method("PATCH"), Fault(status=416))
    destination.upload(Bytes(BIG), cancel)
    assert arrived(uploads, BIG)


def test_a_blob_that_arrives_broken_is_sent_again_then_told(destination, uploads, cancel) -> None:
    broken = Fault(status=400, body=b'{"errors": [{"code": "DIGEST_INVALID", "message": "not these"}]}')
    uploads.fault = once(method("PUT"), broken)
    destination.upload(Bytes(BIG), cancel)
    assert arrived(uploads, BIG)
    uploads.fault = lambda push: broken if push.method == "PUT" else None
    with pytest.raises(BlobRefused) as caught:
        destination.upload(Bytes(b"other"), cancel)
    assert caught.value.message == (
        f"push {uploads.host}/{NAME}: the registry does not take a blob: digest invalid: not these"
    )


def test_no_rights(destination, uploads, cancel) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}'
    uploads.fault = lambda push: Fault(status=403, body=body) if push.method == "POST" else None
    with pytest.raises(AccessDenied, match="^denied: requested access to the resource is denied$"):
        destination.upload(Bytes(b"x"), cancel)


def test_a_registry_without_uploads(destination, uploads, cancel) -> None:
    uploads.fault = lambda push: Fault(status=405) if push.method == "POST" else None
    with pytest.raises(RegistryError, match="405"):
        destination.upload(Bytes(b"x"), cancel)
    uploads.fault = lambda push: Fault(status=202) if push.method == "POST" else None
    with pytest.raises(BrokenRegistry, match="does not say where"):
        destination.upload(Bytes(b"x"), cancel)


def test_a_registry_that_answers_late(world, uploads, cancel) -> None:
    world.set(stall_timeout_s=0.3)
    slow = world.client().destination(Reference.parse(f"{uploads.host}/{NAME}"))
    uploads.fault = lambda push: Fault(delay_s=0.6) if push.method in ("PATCH", "PUT") else None
    slow.upload(Bytes(BIG), cancel)
    assert arrived(uploads, BIG)
    assert len(uploads.asked("PUT")) == 1


def test_cancelled_in_the_middle(destination, uploads) -> None:
    token = CancelToken()
    started = threading.Event()

    def fault(push: Push) -> Fault | None:
        if push.method == "PATCH":
            started.set()
        return Fault(delay_s=5) if push.method == "PATCH" else None

    uploads.fault = fault
    threading.Thread(target=lambda: (started.wait(5), token.cancel()), daemon=True).start()
    with pytest.raises(Cancelled):
        destination.upload(Bytes(BIG), token)


# --- what is there already --------------------------------------------------------------------


def test_looking_and_mounting(destination, uploads, cancel) -> None:
    data = b"held elsewhere"
    digest = Digest.of(data)
    assert destination.known_size(digest, cancel) is None
    uploads.blobs["other/one", digest] = data
    assert destination.mount(digest, "other/one", cancel).size == len(data)
    assert destination.known_size(digest, cancel) == len(data)
    opened = destination.mount(Digest.of(b"nowhere"), "other/one", cancel)
    assert opened.size is None
    destination.upload(Bytes(b"nowhere"), cancel, location=opened.location)
    assert len(uploads.asked("POST")) == 2
    assert arrived(uploads, b"nowhere")


def test_manifests(destination, uploads, cancel) -> None:
    raw = b'{"schemaVersion": 2}'
    assert destination.put_manifest("v1", raw, "application/x", cancel) == Digest.of(raw)
    assert uploads.manifests[NAME, "v1"] == ("application/x", raw)
    uploads.fault = once(lambda push: push.method == "PUT", Fault(status=503))
    destination.put_manifest("v2", raw, "application/x", cancel)
    other = Fault(status=201, headers={"Docker-Content-Digest": Digest.of(b"another")})
    uploads.fault = lambda push: other if push.method == "PUT" else None
    with pytest.raises(ManifestMismatch):
        destination.put_manifest("v3", raw, "application/x", cancel)
    body = (
        b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": 1}]}'
    )
    uploads.fault = lambda push: Fault(status=400, body=body) if push.method == "PUT" else None
    with pytest.raises(RegistryError, match="^manifest blob unknown: blob unknown to registry$"):
        destination.put_manifest("v3", raw, "application/x", cancel)


# --- credentials ------------------------------------------------------------------------------


@pytest.fixture
def guarded(serve, world: World):
    """A registry behind a name and password, which sends uploads to ``elsewhere()``."""

    def start(elsewhere: str, **options: object):
        guard = basic_guard("u", "p")

        def answer(request: Request) -> Reply:
            refused = guard(request)
            if refused is not None:
                return refused
            if request.method == "POST":
                return Reply(202, headers={"Location": elsewhere})
            return Reply(200, b"{}") if request.path == "/v2/" else error(404, "BLOB_UNKNOWN")

        site = serve(answer, **options)
        world.keep(site.host, "u", "p")
        return site, world.client().destination(Reference.parse(f"{site.host}/{NAME}"))

    return start


def test_an_upload_elsewhere_gets_no_credentials(guarded, uploads, cancel) -> None:
    """CVE-2026-50151."""
    uploads.uploads["u"] = bytearray()
    site, destination = guarded(f"http://{uploads.host}/v2/{NAME}/blobs/uploads/u")
    destination.upload(Bytes(b"data"), cancel)
    assert arrived(uploads, b"data")
    assert all(push.headers["Authorization"] is None for push in uploads.requests)
    assert any(request.authorization for request in site.requests)


@pytest.mark.parametrize("status", [401, 403])
def test_an_upload_elsewhere_that_asks_for_credentials(guarded, uploads, cancel, status) -> None:
    uploads.fault = lambda push: Fault(status=status, headers={"WWW-Authenticate": 'Basic realm="x"'})
    site, destination = guarded(f"http://{uploads.host}/v2/{NAME}/blobs/uploads/u")
    with pytest.raises(ForeignAddress) as caught:
        destination.upload(Bytes(b"data"), cancel)
    assert caught.value.message == (
        f'"{site.url}": uploads are sent to "http://{uploads.host}": refused, since it asks for credentials, '
        "which are not for it"
    )
    assert all(push.headers["Authorization"] is None for push in uploads.requests)


def test_a_user_and_password_in_the_address_are_dropped(guarded, uploads, cancel) -> None:
    uploads.uploads["u"] = bytearray()
    _, destination = guarded(f"http://a:b@{uploads.host}/v2/{NAME}/blobs/uploads/u")
    destination.upload(Bytes(b"data"), cancel)
    assert all(push.headers["Authorization"] is None for push in uploads.requests)


def test_redirects_of_an_upload_are_not_followed(destination, uploads, cancel) -> None:
    away = Fault(status=307, headers={"Location": "http://127.0.0.1:1/"})
    uploads.fault = lambda push: away if push.method == "PATCH" else None
    with pytest.raises(ServerError, match="307"):
        destination.upload(Bytes(BIG), cancel)


def test_the_scopes_of_a_push(serve, world: World, cancel) -> None:
    service = TokenService(users={"u": "p"})
    tokens = serve(service)

    def answer(request: Request) -> Reply:
        _, _, token = (request.authorization or "").partition(" ")
        if token not in service.valid:
            challenge = f'Bearer realm="{tokens.url}/token",service="registry.test"'
            return error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        return Reply(202, headers={"Location": "/v2/x/blobs/uploads/1"})

    site = serve(answer)
    world.keep(site.host, "u", "p")
    destination = world.client().destination(Reference.parse(f"{site.host}/{NAME}"))
    destination.begin(cancel)
    destination.mount(Digest.of(b""), "other/one", cancel)
    scopes = [[value for name, value in request.query if name == "scope"] for request in tokens.requests]
    assert scopes == [
        [f"repository:{NAME}:pull,push"],
        ["repository:other/one:pull", f"repository:{NAME}:pull,push"],
    ]


def test_a_token_that_ends_meanwhile_is_renewed(serve, world: World, cancel) -> None:
    service = TokenService(users={"u": "p"})
    tokens = serve(service)
    bodies: list[bytes] = []

    def answer(request: Request) -> Reply:
        _, _, token = (request.authorization or "").partition(" ")
        if token not in service.valid:
            challenge = f'Bearer realm="{tokens.url}/token",service="registry.test"'
            return error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        if request.method == "POST":
            if not bodies:
                service.valid.clear()
                bodies.append(b"")
            return Reply(202, headers={"Location": "/v2/x/blobs/uploads/1"})
        if request.method == "PUT":
            bodies.append(request.body)
            return Reply(201)
        return Reply(404)

    site = serve(answer)
    world.keep(site.host, "u", "p")
    destination = world.client().destination(Reference.parse(f"{site.host}/{NAME}"))
    destination.upload(Bytes(BIG, known=True), cancel)
    assert bodies == [b"", BIG]
    world.keep(site.host, "u", "wrong")
    refused = world.client().destination(Reference.parse(f"{site.host}/{NAME}"))
    with pytest.raises(BadCredentials):
        refused.upload(Bytes(b"x"), cancel)
