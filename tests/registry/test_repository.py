"""Manifests, configs and tags of a repository (docker-engine §2.5, §2.9)."""

from __future__ import annotations

import json
import time

import pytest

from onggi.errors import OnggiError
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.manifest import Schema1
from onggi.oci.reference import Reference
from onggi.registry.errors import (
    AccessDenied,
    BadCredentials,
    BrokenRegistry,
    ConfigMismatch,
    ManifestMismatch,
    ManifestUnknown,
    RateLimited,
    RepositoryUnknown,
    ServerError,
)
from tests.registry.registry import MANIFEST, TokenService, error
from tests.registry.site import Reply

RAW = b'{"schemaVersion": 2}'
OTHER = b'{"schemaVersion": 2, "annotations": {}}'
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
TAG = "/v2/some/image/manifests/v1"


@pytest.fixture
def digest(registry) -> str:
    return registry.add_manifest("some/image", "v1", RAW)


def resolve(world, site, cancel, rest=":v1"):
    reference = Reference.parse(f"{site.host}/some/image{rest}")
    return world.client().repository(reference).resolve(reference, cancel)


def conversation(site) -> list[str]:
    return [f"{request.method} {request.path}" for request in site.requests]


# --- what is asked --------------------------------------------------------------------------


def test_a_tag_is_a_head_and_a_get_by_digest(world, site, digest, cancel):
    resolved = resolve(world, site, cancel)
    assert (resolved.raw, resolved.media_type, resolved.digest) == (RAW, MANIFEST, digest)
    assert resolved.endpoint == site.url
    assert conversation(site) == ["GET /v2/", f"HEAD {TAG}", f"GET /v2/some/image/manifests/{digest}"]


def test_no_tag_is_latest(world, registry, site, cancel):
    registry.add_manifest("some/image", "latest", RAW)
    assert resolve(world, site, cancel, "").raw == RAW
    assert site.asked("/v2/some/image/manifests/latest", "HEAD")


def test_a_digest_is_one_get(world, site, digest, cancel):
    assert resolve(world, site, cancel, f"@{digest}").raw == RAW
    assert conversation(site) == ["GET /v2/", f"GET /v2/some/image/manifests/{digest}"]


def test_a_tag_beside_a_digest_is_not_asked_for(world, site, digest, cancel):
    assert resolve(world, site, cancel, f":other@{digest}").raw == RAW
    assert conversation(site)[1:] == [f"GET /v2/some/image/manifests/{digest}"]


def test_every_kind_of_manifest_is_accepted(world, site, digest, cancel):
    resolve(world, site, cancel)
    accepted = site.requests[-1].headers.get_all("Accept")
    assert len(accepted) > 1
    for kind in (
        MANIFEST,
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ):
        assert kind in accepted


# --- odd registries -------------------------------------------------------------------------


def without_digest(registry):
    def answer(request):
        reply = registry(request)
        reply.headers = {key: reply.headers[key] for key in reply.headers if key != "Docker-Content-Digest"}
        return reply

    return answer


def test_a_head_without_a_digest(world, registry, site, digest, cancel):
    site.answer = without_digest(registry)
    resolved = resolve(world, site, cancel)
    assert (resolved.raw, resolved.digest) == (RAW, digest)
    assert conversation(site)[1:] == [f"HEAD {TAG}", f"GET {TAG}"]


@pytest.mark.parametrize("told", ["", "nonsense", "sha256:short", "../../etc/passwd"])
def test_a_head_with_a_digest_that_is_none(world, registry, site, digest, cancel, told):
    registry.faults.append(
        lambda request: (
            Reply(200, b"", {"Docker-Content-Digest": told, "Content-Type": MANIFEST})
            if request.method == "HEAD"
            else None
        )
    )
    assert resolve(world, site, cancel).digest == digest


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_registry_that_does_not_do_head(world, registry, site, digest, cancel, status):
    registry.faults.append(lambda request: Reply(status) if request.method == "HEAD" else None)
    assert resolve(world, site, cancel).raw == RAW


def test_a_head_that_knows_more_than_the_get_by_digest(world, registry, site, digest, cancel):
    """Docker up to 28.1 asks again by tag; so do we, if the bytes are right."""
    del registry.manifests["some/image", digest]
    assert resolve(world, site, cancel).raw == RAW
    assert conversation(site)[-1] == f"GET {TAG}"


def test_a_tag_that_moves_in_between(world, registry, site, digest, cancel):
    """The digest that was announced counts, or an error; never a mixture."""
    del registry.manifests["some/image", digest]

    def moving(request):
        if request.method == "HEAD":
            return Reply(200, b"", {"Docker-Content-Digest": digest, "Content-Type": MANIFEST})
        return None

    registry.faults.append(moving)
    registry.manifests["some/image", "v1"] = (MANIFEST, OTHER)
    with pytest.raises(ManifestMismatch):
        resolve(world, site, cancel)


@pytest.mark.parametrize("rest", [":v1", "@"])
def test_bytes_that_are_not_the_digests(world, registry, site, digest, cancel, rest):
    registry.manifests["some/image", digest] = (MANIFEST, OTHER)
    with pytest.raises(ManifestMismatch) as caught:
        resolve(world, site, cancel, rest + digest if rest == "@" else rest)
    assert str(caught.value) == f"manifest verification failed for digest {digest}"


def test_a_manifest_of_an_index_is_verified_too(world, registry, site, digest, cancel):
    registry.manifests["some/image", digest] = (MANIFEST, OTHER)
    descriptor = Descriptor(MANIFEST, Digest.parse(digest), len(RAW))
    with pytest.raises(ManifestMismatch):
        world.repository(site.host).manifest(descriptor, cancel)


def test_schema_1_is_named_and_not_called_a_forgery(world, registry, site, cancel):
    registry.add_manifest("some/image", "v1", b'{"schemaVersion": 1}', SCHEMA1)
    with pytest.raises(Schema1):
        resolve(world, site, cancel)


@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_manifest_is_not_read(world, registry, site, cancel, announced):
    size = 5 * 1024 * 1024
    length = size if announced else None
    site.answer = lambda request: (
        Reply(200, b" " * size, {"Content-Type": MANIFEST}, length=length)
        if request.method == "GET" and "manifests" in request.path
        else registry(request)
    )
    with pytest.raises(BrokenRegistry, match="longer than 4194304 bytes"):
        resolve(world, site, cancel)


def test_an_endless_manifest_is_not_read(world, registry, site, cancel):
    """Chunk after chunk, never an end: stopped at the limit."""
    endless = Reply(200, b" " * (64 * 1024 * 1024), {"Content-Type": MANIFEST}, chunked=True)
    registry.faults.append(
        lambda request: endless if request.method == "GET" and "manifests" in request.path else None
    )
    with pytest.raises(BrokenRegistry):
        resolve(world, site, cancel)


def test_a_manifest_cut_short_is_asked_for_again(world, registry, site, digest, cancel):
    cuts = iter([3, 3])

    def cutting(request):
        reply = registry(request)
        if request.method == "GET" and "manifests" in request.path:
            reply.cut_after = next(cuts, None)
        return reply

    site.answer = cutting
    assert resolve(world, site, cancel).raw == RAW


# --- errors ---------------------------------------------------------------------------------


def test_an_unknown_tag(world, site, digest, cancel):
    with pytest.raises(ManifestUnknown) as caught:
        resolve(world, site, cancel, ":v2")
    assert str(caught.value) == (
        f"manifest for {site.host}/some/image:v2 not found: manifest unknown: manifest unknown"
    )
    assert caught.value.hint == f"see its tags: onggi remote ls {site.host}/some/image"


def test_an_answer_of_404_that_says_nothing(world, registry, site, cancel):
    registry.faults.append(lambda request: Reply(404, b"<html>") if "some" in request.path else None)
    with pytest.raises(ManifestUnknown):
        resolve(world, site, cancel)


def test_insufficient_scope_means_denied(world, serve, registry, site, cancel):
    tokens = serve(TokenService())
    challenge = f'Bearer realm="{tokens.url}/t",service="s"'
    insufficient = f'{challenge},error="insufficient_scope"'

    def guard(request):
        shown = insufficient if request.authorization else challenge
        return error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": shown})

    registry.faults.append(guard)
    with pytest.raises(AccessDenied) as caught:
        resolve(world, site, cancel)
    assert str(caught.value) == (
        f"pull access denied for {site.host}/some/image, repository does not exist or may require "
        "'docker login': denied: requested access to the resource is denied"
    )
    assert len(tokens.requests) == 1


def test_unauthorized_without_a_challenge(world, registry, site, cancel):
    registry.faults.append(
        lambda request: error(401, "UNAUTHORIZED", "who are you?") if "some" in request.path else None
    )
    with pytest.raises((AccessDenied, BadCredentials), match="who are you"):
        resolve(world, site, cancel)


def test_a_failure_of_the_server_is_asked_through(world, registry, site, digest, cancel):
    replies = iter([500, 502, 503, 504])

    def failing(request):
        if request.method != "GET" or "manifests" not in request.path:
            return None
        status = next(replies, None)
        return Reply(status) if status else None

    registry.faults.append(failing)
    assert resolve(world, site, cancel).raw == RAW


def test_a_server_that_keeps_failing(world, registry, site, digest, cancel):
    registry.faults.append(lambda request: Reply(500) if request.path != "/v2/" else None)
    with pytest.raises(ServerError) as caught:
        resolve(world, site, cancel)
    assert str(caught.value) == "received unexpected HTTP status: 500 Internal Server Error"
    assert caught.value.retryable
    assert len([request for request in site.requests if request.method == "GET"]) == 6


def test_a_reason_does_not_draw_on_our_terminal(world, registry, site, digest, cancel):
    registry.faults.append(
        lambda request: Reply(599, reason="\x1b[2Jgone\x07") if request.path != "/v2/" else None
    )
    with pytest.raises(ServerError) as caught:
        resolve(world, site, cancel)
    assert str(caught.value).isprintable()


def limited(headers):
    reply = error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.", headers)
    return lambda request: reply if request.path != "/v2/" else None


def test_a_rate_limit_with_a_long_wait_is_told(world, registry, site, digest, cancel):
    registry.faults.append(limited({"Retry-After": "3600"}))
    started = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        resolve(world, site, cancel)
    assert time.monotonic() - started < 2
    assert str(caught.value) == "toomanyrequests: You have reached your pull rate limit."
    assert caught.value.retry_after_s == 3600
    assert "wait 3600 s" in caught.value.hint


def test_a_rate_limit_without_a_wait_is_told(world, registry, site, digest, cancel):
    registry.faults.append(limited({}))
    with pytest.raises(RateLimited) as caught:
        resolve(world, site, cancel)
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize("asked", ["0", "1"])
def test_a_short_wait_is_waited(world, registry, site, digest, cancel, asked):
    registry.faults.append(limited({"Retry-After": asked}))
    answer, count = registry.faults[0], iter(range(100))
    registry.faults[0] = lambda request: answer(request) if next(count) < 4 else None
    assert resolve(world, site, cancel).raw == RAW


# --- configs --------------------------------------------------------------------------------


def config_of(data: bytes, **changes) -> Descriptor:
    fields = {"media_type": "application/vnd.oci.image.config.v1+json", "digest": Digest.of(data)}
    return Descriptor(**{**fields, "size": len(data), **changes})


def test_a_config_is_read_and_verified(world, registry, site, cancel):
    registry.add_blob(b"{}")
    assert world.repository(site.host).read_blob(config_of(b"{}"), 100, cancel) == b"{}"


def test_other_bytes_for_a_config(world, registry, site, cancel):
    registry.blobs[Digest.of(b"{}")] = b"[]"
    with pytest.raises(ConfigMismatch, match="image config verification failed for digest"):
        world.repository(site.host).read_blob(config_of(b"{}"), 100, cancel)


def test_a_config_of_another_size(world, registry, site, cancel):
    registry.add_blob(b"{}")
    with pytest.raises(ConfigMismatch):
        world.repository(site.host).read_blob(config_of(b"{}", size=3), 100, cancel)


def test_a_config_beyond_the_limit_is_not_asked_for(world, site, cancel):
    with pytest.raises(BrokenRegistry):
        world.repository(site.host).read_blob(config_of(b"{}", size=1000), 100, cancel)
    assert site.requests == []


def test_a_config_that_is_longer_than_it_says(world, registry, site, cancel):
    registry.blobs[Digest.of(b"{}")] = b" " * 1000
    with pytest.raises(BrokenRegistry):
        world.repository(site.host).read_blob(config_of(b"{}"), 100, cancel)


# --- tags -----------------------------------------------------------------------------------


def paged(names: list[str], link: str, size: int = 2):
    """A list of tags in pages; ``link`` is how a page refers to the next, ``{rest}`` its query."""

    def answer(request):
        if not request.path.endswith("/tags/list"):
            return None
        last = dict(request.query).get("last", "")
        rest = [name for name in names if name > last]
        headers = {}
        if len(rest) > size:
            headers["Link"] = link.format(rest=f"last={rest[size - 1]}&n={size}")
        return Reply(200, json.dumps({"name": "x", "tags": rest[:size]}).encode(), headers)

    return answer


NAMES = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    "link",
    [
        '</v2/some/image/tags/list?{rest}>; rel="next"',
        "</v2/some/image/tags/list?{rest}>; rel=next",
        '<list?{rest}>; rel="next"',
        '<http://127.0.0.1:1/v2/some/image/tags/list?{rest}>; rel="next"',
    ],
)
def test_all_pages_of_tags_in_the_registrys_order(world, registry, site, cancel, link):
    registry.faults.append(paged(NAMES, link))
    assert list(world.repository(site.host).tags(cancel)) == NAMES


def test_pages_elsewhere_are_not_followed(world, serve, registry, site, cancel):
    """The page is asked for at the registry itself: credentials go nowhere else."""
    thief = serve(lambda request: Reply(200, b'{"tags": ["stolen"]}'))
    link = f'<{thief.url}/v2/some/image/tags/list?{{rest}}>; rel="next"'
    registry.faults.append(paged(NAMES, link))
    assert list(world.repository(site.host).tags(cancel)) == NAMES
    assert thief.requests == []


def test_a_link_that_leads_back_ends(world, registry, site, cancel):
    reply = Reply(200, b'{"tags": ["a"]}', {"Link": '</v2/some/image/tags/list>; rel="next"'})
    registry.faults.append(lambda request: reply if "tags" in request.path else None)
    assert len(list(world.repository(site.host).tags(cancel))) <= 2


@pytest.mark.parametrize(
    "link", ["<http://[::1/v2/x>", "<http://h:99999/v2/x>", "<>", "nonsense", "<\x1b/v2/>"]
)
def test_a_link_that_is_none(world, registry, site, cancel, link):
    reply = Reply(200, b'{"tags": ["a"]}', {"Link": f'{link}; rel="next"'})
    registry.faults.append(lambda request: reply if request.path.endswith("some/image/tags/list") else None)
    tags = world.repository(site.host).tags(cancel)
    assert next(tags) == "a"
    with pytest.raises((StopIteration, OnggiError)):
        next(tags)


@pytest.mark.parametrize("body", [b'{"name": "x", "tags": null}', b'{"name": "x"}', b'{"tags": []}'])
def test_no_tags(world, registry, site, cancel, body):
    registry.faults.append(lambda request: Reply(200, body) if "tags" in request.path else None)
    assert list(world.repository(site.host).tags(cancel)) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"tags": 7}', b"[" * 100_000])
def test_a_list_of_tags_that_is_none(world, registry, site, cancel, body):
    registry.faults.append(lambda request: Reply(200, body) if "tags" in request.path else None)
    with pytest.raises(BrokenRegistry, match="list of tags cannot be read"):
        list(world.repository(site.host).tags(cancel))


def test_what_cannot_be_a_tag_is_passed_over(world, registry, site, cancel):
    registry.tags["some/image"] = ["v1", "\x1b[2J", "../up", "", 7, None, "x" * 129, "v2"]
    assert list(world.repository(site.host).tags(cancel)) == ["v1", "v2"]


def test_an_unknown_repository(world, site, cancel):
    with pytest.raises(RepositoryUnknown) as caught:
        list(world.repository(site.host).tags(cancel))
    assert str(caught.value).startswith(f"repository {site.host}/some/image not found: name unknown")


def test_the_next_page_is_asked_for_when_it_is_wanted(world, registry, site, cancel):
    registry.faults.append(paged(NAMES, '</v2/some/image/tags/list?{rest}>; rel="next"'))
    tags = world.repository(site.host).tags(cancel)
    assert [next(tags), next(tags)] == ["a", "b"]
    assert len(site.asked("/v2/some/image/tags/list")) == 1
