"""Blobs over HTTP: a download meets every way in which a registry can answer a range."""

from __future__ import annotations

import random
import re
import threading
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.content.blobs import BlobStore
from onggi.content.errors import BlobMismatch, BlobTooLong
from onggi.content.ratelimit import RateLimiter
from onggi.content.tuning import Tuning
from onggi.errors import Cancelled, DeadlineExceeded
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.registry.errors import AccessDenied, BlobUnknown, NetworkError, RateLimited, ServerError
from tests.registry.registry import TokenService, error, ranged, token_guard
from tests.registry.site import Reply, Request

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DATA = random.Random(5).randbytes(700_001)
QUICK = Tuning(backoff_s=0)


class Puller:
    """Downloads one blob into a store of its own."""

    def __init__(self, world, host: str, tuning: Tuning = QUICK) -> None:
        self.store = BlobStore(world.directory / "blobs", tuning=tuning)
        self.repository = world.repository(host)
        self.frontiers: list[int] = []
        self.waits: list[int] = []

    def get(self, digest: str, size: int, cancel: CancelToken, limiter: RateLimiter | None = None) -> Path:
        descriptor = Descriptor(LAYER, Digest(digest), size)
        return self.store.download(
            descriptor,
            self.repository.blob(descriptor.digest, size),
            on_progress=self.frontiers.append,
            on_retry=self.waits.append,
            limiter=limiter,
            cancel=cancel,
        )

    def held(self, digest: str) -> bytes:
        return self.store.partial_path(Digest(digest)).read_bytes()


@pytest.fixture
def digest(registry) -> str:
    return registry.add_blob(DATA)


@pytest.fixture
def puller(world, site) -> Puller:
    return Puller(world, site.host)


def blob_requests(site) -> list[Request]:
    return [request for request in site.requests if "/blobs/" in request.path]


def first(number: int, answer):
    """A fault that holds for the first ``number`` requests for a blob."""
    left = [number]

    def fault(request: Request) -> Reply | None:
        if "/blobs/" not in request.path or not left[0]:
            return None
        left[0] -= 1
        return answer(request)

    return fault


def test_one_request_on_one_connection(puller, site, digest, cancel):
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    (request,) = blob_requests(site)
    assert request.headers["Range"] is None
    assert {request.peer for request in site.requests if request.path != "/v2/"} == {request.peer}


def test_connections_are_kept_between_blobs(puller, registry, site, cancel):
    for number in range(5):
        data = DATA[: 1000 + number]
        puller.get(registry.add_blob(data), len(data), cancel)
    assert len({request.peer for request in blob_requests(site)}) == 1
    assert len(site.asked("/v2/")) == 1


def test_a_chunked_body_of_unannounced_length(puller, registry, digest, cancel):
    registry.faults.append(first(1, lambda request: Reply(200, DATA, chunked=True)))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA


def test_a_body_that_ends_with_the_connection(puller, registry, digest, cancel):
    registry.faults.append(first(1, lambda request: Reply(200, DATA, length=None)))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA


@pytest.mark.parametrize("chunked", [True, False])
def test_a_cut_connection_is_resumed(puller, registry, site, digest, cancel, chunked):
    registry.faults.append(first(1, lambda request: Reply(200, DATA, cut_after=300_000, chunked=chunked)))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert blob_requests(site)[1].headers["Range"] == "bytes=300000-"


def test_cut_again_and_again(puller, registry, site, digest, cancel):
    def cut(request):
        reply = ranged(DATA, request)
        reply.cut_after = 70_000
        return reply

    registry.faults.append(first(100, cut))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert [request.first_byte for request in blob_requests(site)] == [
        None,
        *range(70_000, 700_001, 70_000),
    ]


def test_nothing_but_cuts_ends_after_five_attempts(puller, registry, site, digest, cancel):
    registry.faults.append(first(100, lambda request: Reply(200, DATA, cut_after=0)))
    with pytest.raises(NetworkError, match="EOF"):
        puller.get(digest, len(DATA), cancel)
    assert len(blob_requests(site)) == 5


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_registry_in_trouble_is_asked_again(puller, registry, site, digest, cancel, status):
    registry.faults.append(first(3, lambda request: Reply(status, b"oops")))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert len(blob_requests(site)) == 4


def test_and_in_the_end_its_words_are_shown(puller, registry, digest, cancel):
    registry.faults.append(first(100, lambda request: Reply(500, b"oops")))
    with pytest.raises(
        ServerError, match="received unexpected HTTP status: 500 Internal Server Error"
    ) as caught:
        puller.get(digest, len(DATA), cancel)
    assert caught.value.retryable


def test_retry_after_is_honoured(puller, registry, site, digest, cancel):
    limited = error(429, "TOOMANYREQUESTS", "slow down", {"Retry-After": "1"})
    registry.faults.append(first(1, lambda request: limited))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert puller.waits == [1]


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "86400"}, {"Retry-After": "soon"}])
def test_but_only_in_bounds(puller, registry, digest, cancel, headers):
    registry.faults.append(
        first(9, lambda request: error(429, "TOOMANYREQUESTS", "You have reached your limit.", headers))
    )
    with pytest.raises(RateLimited) as caught:
        puller.get(digest, len(DATA), cancel)
    assert str(caught.value) == "toomanyrequests: You have reached your limit."
    assert puller.waits == []


def test_a_missing_blob_is_not_asked_for_again(puller, site, cancel):
    digest = str(Digest.of(b"missing"))
    with pytest.raises(BlobUnknown) as caught:
        puller.get(digest, 7, cancel)
    assert digest in str(caught.value)
    assert len(blob_requests(site)) == 1


def test_a_forbidden_blob(puller, registry, site, digest, cancel):
    registry.faults.append(first(9, lambda request: error(403, "DENIED", "not for you")))
    with pytest.raises(AccessDenied):
        puller.get(digest, len(DATA), cancel)
    assert len(blob_requests(site)) == 1


# --- ranges ---------------------------------------------------------------------------------


def hold(puller, digest: str, data: bytes) -> None:
    path = puller.store.partial_path(Digest(digest))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


_WRONG_RANGES = [
    {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"},
    {"Content-Range": f"bytes 100-{len(DATA) - 1}/{len(DATA)}"},
    {"Content-Range": "bytes 300000-299999/700001"},
    {"Content-Range": "pages 1-2/3"},
    {"Content-Range": "bytes */700001"},
    {},
]


@pytest.mark.parametrize("headers", _WRONG_RANGES)
def test_a_range_answered_wrongly_is_given_up_and_nothing_is_lost(
    puller, registry, site, digest, cancel, headers
):
    hold(puller, digest, DATA[:300_000])
    registry.faults.append(
        lambda request: Reply(206, DATA[300_000:], headers) if request.headers["Range"] else None
    )
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert [request.first_byte for request in blob_requests(site)] == [300_000, None]


def test_a_range_that_is_ignored(puller, registry, site, digest, cancel):
    hold(puller, digest, DATA[:300_000])
    registry.faults.append(first(1, lambda request: Reply(200, DATA)))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert len(blob_requests(site)) == 1
    assert puller.frontiers == sorted(puller.frontiers)


def test_a_range_that_is_not_satisfiable(puller, registry, site, digest, cancel):
    hold(puller, digest, DATA[:300_000])
    registry.faults.append(lambda request: Reply(416, b"") if request.headers["Range"] else None)
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert [request.first_byte for request in blob_requests(site)] == [300_000, None]


def test_a_range_of_unknown_total(puller, registry, digest, cancel):
    hold(puller, digest, DATA[:300_000])
    headers = {"Content-Range": f"bytes 300000-{len(DATA) - 1}/*"}
    registry.faults.append(first(1, lambda request: Reply(206, DATA[300_000:], headers)))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA


def test_a_registry_that_limits_its_ranges(puller, registry, site, digest, cancel):
    hold(puller, digest, DATA[:300_000])

    def limited(request):
        start = request.first_byte
        end = min(start + 100_000, len(DATA))
        return Reply(206, DATA[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}"})

    registry.faults.append(first(9, limited))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert [request.first_byte for request in blob_requests(site)] == [*range(300_000, 700_001, 100_000)]
    assert puller.waits == []


# --- length and bytes -----------------------------------------------------------------------


def test_a_longer_blob_is_refused_by_its_announcement(puller, registry, site, cancel):
    digest = registry.add_blob(DATA)
    with pytest.raises(BlobTooLong):
        puller.get(digest, len(DATA) - 1, cancel)
    assert puller.frontiers == []
    assert len(blob_requests(site)) == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_a_longer_body_is_refused_by_its_bytes(puller, registry, digest, cancel, chunked):
    registry.faults.append(first(9, lambda request: Reply(200, DATA + b"!", chunked=chunked, length=None)))
    with pytest.raises(BlobTooLong):
        puller.get(digest, len(DATA), cancel)


def test_wrong_bytes(puller, registry, digest, cancel):
    registry.blobs[digest] = DATA[:-1] + b"\0"
    with pytest.raises(BlobMismatch, match=f"filesystem layer verification failed for digest {digest}"):
        puller.get(digest, len(DATA), cancel)
    assert puller.held(digest) == b""


def test_wrong_bytes_held_are_replaced(puller, site, digest, cancel):
    hold(puller, digest, bytes(300_000))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert [request.first_byte for request in blob_requests(site)] == [300_000, None]


def test_a_page_of_a_captive_portal_brings_nothing(puller, registry, digest, cancel):
    registry.faults.append(first(2, lambda request: Reply(200, b"<html>please log in</html>")))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA


def test_bytes_are_taken_as_they_travel(puller, registry, digest, cancel):
    registry.faults.append(first(1, lambda request: Reply(200, DATA, {"Content-Encoding": "gzip"})))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA


# --- mirrors --------------------------------------------------------------------------------


@pytest.fixture
def mirrored(world, serve, site, registry):
    """A mirror that answers as ``mirror.answer`` says, before ``site``."""
    mirror = serve(registry)
    world.set(registries={site.host: (f"{mirror.url}/",)})
    return mirror


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: Reply(404, b""),
        lambda request: Reply(500, b""),
        lambda request: Reply(401, b""),
        lambda request: error(429, "TOOMANYREQUESTS", headers={"Retry-After": "3600"}),
        lambda request: Reply(200, DATA + b"longer"),
    ],
)
def test_what_a_mirror_cannot_serve_comes_from_the_registry(world, mirrored, site, digest, cancel, answer):
    mirrored.answer = lambda request: Reply(200, b"{}") if request.path == "/v2/" else answer(request)
    puller = Puller(world, site.host)
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert len(blob_requests(mirrored)) >= 1
    assert len(blob_requests(site)) == 1
    assert puller.waits == []


def test_wrong_bytes_of_a_mirror_are_asked_of_the_registry(world, mirrored, site, digest, cancel):
    mirrored.answer = lambda request: Reply(200, b"{}" if request.path == "/v2/" else bytes(len(DATA)))
    puller = Puller(world, site.host)
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert (len(blob_requests(mirrored)), len(blob_requests(site))) == (1, 1)


def test_a_mirror_with_wrong_bytes_and_cuts(world, mirrored, site, digest, cancel):
    """Parts of both: the mirror is to blame, and not asked again."""

    def wrong_and_cut(request):
        if request.path == "/v2/":
            return Reply(200, b"{}")
        return Reply(200, bytes(len(DATA)), cut_after=200_000) if request.first_byte is None else Reply(503)

    mirrored.answer = wrong_and_cut
    puller = Puller(world, site.host)
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA


def test_a_mirror_that_dies_half_way(world, mirrored, site, digest, cancel):
    def die(request):
        if request.path == "/v2/":
            return Reply(200, b"{}")
        if request.first_byte is None:
            return Reply(200, DATA, cut_after=300_000)
        return Reply(503, b"")

    mirrored.answer = die
    puller = Puller(world, site.host)
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert [request.first_byte for request in blob_requests(site)] == [300_000]


# --- redirects, tokens ----------------------------------------------------------------------


def test_blobs_elsewhere_get_no_credentials(world, serve, registry, site, digest, cancel):
    tokens = TokenService(users={"u": "p"})
    token_site = serve(tokens)
    registry.faults.append(token_guard(tokens, f"{token_site.url}/token"))
    store = serve(lambda request: ranged(DATA, request))
    registry.faults.append(
        first(9, lambda request: Reply(307, b"", {"Location": f"{store.url}/blob?X-Signature=s3cret"}))
    )
    world.keep(site.host, "u", "p")
    puller = Puller(world, site.host)
    hold(puller, digest, DATA[:1000])
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    (request,) = store.requests
    assert request.authorization is None
    assert request.headers["Range"] == "bytes=1000-"


def test_the_signature_of_a_redirect_is_not_shown(puller, registry, digest, cancel):
    registry.faults.append(
        first(99, lambda request: Reply(307, b"", {"Location": "http://127.0.0.1:1/blob?X-Signature=s3cret"}))
    )
    with pytest.raises(NetworkError) as caught:
        puller.get(digest, len(DATA), cancel)
    assert "s3cret" not in str(caught.value) + caught.value.hint
    assert "http://127.0.0.1:1/blob" in str(caught.value)


def test_what_a_blob_store_says_is_not_shown_and_a_new_address_is_asked_for(
    serve, puller, registry, site, digest, cancel
):
    """S3's errors repeat the signature of the address; addresses expire."""
    answers = [Reply(403, b"<Error><SignatureProvided>s3cret</SignatureProvided></Error>")]
    store = serve(lambda request: answers.pop() if answers else ranged(DATA, request))
    registry.faults.append(first(99, lambda request: Reply(307, b"", {"Location": f"{store.url}/blob"})))
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert len(store.requests) == 2
    answers[:] = [Reply(403, b"s3cret")] * 9
    puller.store.discard(Digest(digest))
    with pytest.raises(ServerError, match="403 Forbidden") as caught:
        puller.get(digest, len(DATA), cancel)
    assert "s3cret" not in str(caught.value) + caught.value.hint


def test_a_token_that_expires_between_two_answers(world, serve, registry, site, digest, cancel):
    tokens = TokenService()
    token_site = serve(tokens)
    registry.faults.append(token_guard(tokens, f"{token_site.url}/token"))

    def cut_and_expire(request):
        tokens.valid.clear()
        return Reply(200, DATA, cut_after=300_000)

    registry.faults.append(first(1, cut_and_expire))
    puller = Puller(world, site.host)
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert tokens.issued == 2
    assert blob_requests(site)[-1].headers["Range"] == "bytes=300000-"


# --- slow, silent, cancelled ----------------------------------------------------------------


def test_a_silent_connection_is_given_up_and_the_blob_resumed(world, registry, site, digest, cancel):
    world.set(stall_timeout_s=0.3)
    registry.faults.append(first(1, lambda request: Reply(200, DATA, hold=300_000)))
    puller = Puller(world, site.host)
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert [request.first_byte for request in blob_requests(site)] == [None, 300_000]


def test_cancel_wakes_a_silent_connection(world, registry, site, digest):
    world.set(stall_timeout_s=60.0)
    registry.faults.append(first(1, lambda request: Reply(200, DATA, hold=300_000)))
    puller = Puller(world, site.host)
    cancel = CancelToken()
    puller.frontiers = _Trigger(300_000, cancel)
    with pytest.raises(Cancelled):
        puller.get(digest, len(DATA), cancel)
    assert puller.held(digest) == DATA[:300_000]


class _Trigger(list):
    """Cancels a little after the frontier has come to a place."""

    def __init__(self, at: int, cancel: CancelToken) -> None:
        self._at, self._cancel = at, cancel

    def append(self, frontier: int) -> None:
        super().append(frontier)
        if frontier >= self._at:
            threading.Timer(0.05, self._cancel.cancel).start()


def test_a_deadline_ends_a_silent_connection(world, registry, site, digest):
    world.set(stall_timeout_s=60.0)
    registry.faults.append(first(1, lambda request: Reply(200, DATA, hold=300_000)))
    with pytest.raises(DeadlineExceeded):
        Puller(world, site.host).get(digest, len(DATA), CancelToken(timeout_s=0.5))


def test_a_slow_registry_is_asked_by_several(world, registry, site, cancel):
    data = random.Random(6).randbytes(8_000_000)
    digest = registry.add_blob(data)

    def slowly(request):
        if "/blobs/" not in request.path:
            return None
        reply = ranged(data, request)
        reply.bytes_per_s = 6_000_000
        return reply

    registry.faults.append(slowly)
    tuning = Tuning(backoff_s=0, trial_s=0.1, parallel_min_bytes=2_000_000, least_span_bytes=600_000)
    puller = Puller(world, site.host, tuning)
    assert puller.get(digest, len(data), cancel).read_bytes() == data
    assert len(blob_requests(site)) >= 4
    assert len({request.peer for request in blob_requests(site)}) >= 4
    assert puller.frontiers == sorted(puller.frontiers)
    ranges = [request.headers["Range"] for request in blob_requests(site)]
    assert ranges[0] is None
    assert all(re.fullmatch(r"bytes=\d+-\d*", text) for text in ranges[1:])


def test_a_slow_registry_without_ranges_sends_the_blob_once(world, registry, site, cancel):
    data = random.Random(7).randbytes(4_000_000)
    digest = registry.add_blob(data)
    registry.faults.append(
        first(99, lambda request: Reply(200, data, bytes_per_s=None if request.headers["Range"] else 4e6))
    )
    tuning = Tuning(backoff_s=0, trial_s=0.1, parallel_min_bytes=1_000_000, least_span_bytes=600_000)
    puller = Puller(world, site.host, tuning)
    assert puller.get(digest, len(data), cancel).read_bytes() == data
    assert len([request for request in blob_requests(site) if not request.headers["Range"]]) == 1


def test_a_limited_download_comes_whole(puller, digest, cancel):
    limiter = RateLimiter(3_000_000)
    assert puller.get(digest, len(DATA), cancel, limiter).read_bytes() == DATA


# --- several at once ------------------------------------------------------------------------


def test_many_blobs_at_once_over_one_client_with_one_fault_each(puller, registry, site, cancel):
    """Eight threads; every first answer is cut somewhere, and no blob takes another one's bytes."""
    blobs = {registry.add_blob(data): data for data in (DATA[: 300_000 + 40_000 * n] for n in range(8))}
    cut = set()

    def once(request):
        name = request.path.rpartition("/")[2]
        if name not in blobs or name in cut:
            return None
        cut.add(name)
        return Reply(200, blobs[name], cut_after=len(blobs[name]) // 2)

    registry.faults.append(once)
    found: dict[str, bytes] = {}

    def get(digest: str) -> None:
        found[digest] = puller.get(digest, len(blobs[digest]), cancel).read_bytes()

    threads = [threading.Thread(target=get, args=(digest,)) for digest in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == blobs
    assert len(blob_requests(site)) == 2 * len(blobs)
    assert len(site.asked("/v2/")) == 1
