"""Blobs over HTTP: a download meets every way in which a registry can answer."""

from __future__ import annotations

import pytest

from onggi.content.errors import BlobMismatch, BlobTooLong
from onggi.oci.digest import Digest
from onggi.registry.errors import AccessDenied, BlobUnknown, NetworkError, RateLimited, ServerError
from tests.registry.puller import DATA, blob_requests, first, hold
from tests.registry.registry import error, ranged
from tests.registry.site import Reply


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
