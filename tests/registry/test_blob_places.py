"""Blobs at mirrors, behind redirects, and with tokens that expire."""

from __future__ import annotations

import pytest

from onggi.oci.digest import Digest
from onggi.registry.errors import NetworkError, ServerError
from tests.registry.puller import DATA, Puller, blob_requests, first, hold
from tests.registry.registry import TokenService, error, ranged, token_guard
from tests.registry.site import Reply

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
