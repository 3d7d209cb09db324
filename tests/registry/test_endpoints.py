"""Which addresses are asked, in which order, and with whose credentials (docker-engine §2.2)."""

from __future__ import annotations

import pytest

from onggi.config import Config
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.reference import Reference
from onggi.registry.endpoints import Endpoint, endpoints, is_insecure
from onggi.registry.errors import ManifestUnknown, NetworkError
from tests.registry.registry import basic, basic_guard, error

RAW = b'{"schemaVersion": 2}'
HUB = "https://registry-1.docker.io"


def urls(config: Config, domain: str, **options) -> list[str]:
    return [endpoint.url for endpoint in endpoints(config, domain, **options)]


# --- the list -------------------------------------------------------------------------------


def test_docker_hub_has_mirrors_first():
    config = Config(registry_mirrors=("https://m1.example/", "http://m2.example/prefix/"))
    assert urls(config, "docker.io") == ["https://m1.example", "http://m2.example/prefix", HUB]
    assert urls(config, "docker.io", mirrors=False) == [HUB]
    assert urls(config, "other.example") == ["https://other.example"]


def test_any_registry_may_have_mirrors_of_its_own():
    config = Config(registries={"a.example": ("https://m.example/",)})
    assert urls(config, "a.example") == ["https://m.example", "https://a.example"]
    assert urls(config, "b.example") == ["https://b.example"]


def test_http_is_tried_last_and_only_where_it_is_insecure():
    config = Config(insecure_registries=("a.example:5000",))
    assert endpoints(config, "a.example:5000") == [
        Endpoint("https://a.example:5000", verify=False),
        Endpoint("http://a.example:5000", verify=False),
    ]
    assert endpoints(config, "a.example") == [Endpoint("https://a.example")]


@pytest.mark.parametrize(
    ("host", "insecure"),
    [
        ("10.1.2.3:5000", True),
        ("10.1.2.3", True),
        ("10.2.0.1:5000", False),
        ("127.0.0.1:5000", True),
        ("127.8.9.10", True),
        ("localhost:5000", True),
        ("[fd00::5]:5000", True),
        ("[fe80::5]:5000", False),
        ("[::1]:5000", True),
        ("listed.example", True),
        ("listed.example:5000", False),
        ("ported.example:5000", True),
        ("ported.example", False),
        ("not-resolvable.invalid", False),
    ],
)
def test_insecure_registries(host, insecure):
    listed = ("10.1.0.0/16", "fd00::/8", "listed.example", "ported.example:5000")
    assert is_insecure(Config(insecure_registries=listed), host) is insecure


def test_docker_20_10_did_not_trust_the_loopback_of_ipv6():
    assert not is_insecure(Config(compat="20.10"), "[::1]:5000")
    assert is_insecure(Config(compat="20.10"), "127.0.0.1:5000")


# --- asking them ----------------------------------------------------------------------------


def test_an_insecure_registry_is_asked_by_https_and_then_by_http(world, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    reference = Reference.parse(f"{site.host}/some/image:v1")
    resolved = world.client().repository(reference).resolve(reference, cancel)
    assert resolved.endpoint == site.url
    assert {request.method for request in site.requests} == {"GET", "HEAD"}


@pytest.fixture
def mirror(serve, registry):
    """``registry`` again, as the mirror of names in docker.io and a.example."""
    registry.add_manifest("library/image", "v1", RAW)
    return serve(registry)


def test_a_mirror_is_asked_for_the_original_name(world, mirror, cancel):
    world.set(registry_mirrors=(f"{mirror.url}/",))
    reference = Reference.parse("image:v1")
    resolved = world.client().repository(reference).resolve(reference, cancel)
    assert (resolved.raw, resolved.endpoint) == (RAW, mirror.url)
    assert mirror.requests[1].target == "/v2/library/image/manifests/v1"


def test_a_mirror_has_a_prefix(world, serve, registry, cancel):
    registry.add_manifest("library/image", "v1", RAW)

    def below(request):
        assert request.target.startswith("/prefix/v2/")
        return registry(request.__class__(**{**vars(request), "target": request.target[len("/prefix") :]}))

    mirror = serve(below)
    world.set(registry_mirrors=(f"{mirror.url}/prefix/",))
    reference = Reference.parse("image:v1")
    assert world.client().repository(reference).resolve(reference, cancel).raw == RAW


def test_what_a_mirror_lacks_comes_from_the_registry(world, serve, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    mirror = serve(lambda request: error(404, "MANIFEST_UNKNOWN", "manifest unknown"))
    world.set(registries={site.host: (f"{mirror.url}/",)})
    reference = Reference.parse(f"{site.host}/some/image:v1")
    resolved = world.client().repository(reference).resolve(reference, cancel)
    assert resolved.endpoint == site.url
    assert mirror.asked("/v2/some/image/manifests/v1", "HEAD")


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_whatever_a_mirror_answers_the_registry_is_asked(world, serve, registry, site, cancel, status):
    registry.add_manifest("some/image", "v1", RAW)
    mirror = serve(lambda request: error(status, "UNKNOWN"))
    world.set(registries={site.host: (f"{mirror.url}/",)})
    reference = Reference.parse(f"{site.host}/some/image:v1")
    assert world.client().repository(reference).resolve(reference, cancel).raw == RAW


def test_a_mirror_with_wrong_bytes_does_not_spoil_the_pull(world, serve, registry, site, cancel):
    digest = registry.add_manifest("some/image", "v1", RAW)

    def lying(request):
        reply = registry(request)
        if request.method == "GET" and "/manifests/" in request.path:
            reply.body = b'{"schemaVersion": 3}'
        return reply

    mirror = serve(lying)
    world.set(registries={site.host: (f"{mirror.url}/",)})
    reference = Reference.parse(f"{site.host}/some/image@{digest}")
    resolved = world.client().repository(reference).resolve(reference, cancel)
    assert (resolved.raw, resolved.endpoint) == (RAW, site.url)


def test_a_mirror_that_is_down(world, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    world.set(registries={site.host: ("http://127.0.0.1:1/",)})
    reference = Reference.parse(f"{site.host}/some/image:v1")
    assert world.client().repository(reference).resolve(reference, cancel).raw == RAW


def test_the_registrys_error_is_shown_and_the_mirrors_is_a_hint(world, serve, site, cancel):
    mirror = serve(lambda request: error(500, "UNKNOWN"))
    world.set(registries={site.host: (f"{mirror.url}/",)})
    reference = Reference.parse(f"{site.host}/some/image:v1")
    with pytest.raises(ManifestUnknown) as caught:
        world.client().repository(reference).resolve(reference, cancel)
    assert str(caught.value) == (
        f"manifest for {site.host}/some/image:v1 not found: manifest unknown: manifest unknown"
    )
    assert "500" in caught.value.hint


def test_credentials_go_to_the_host_they_are_for(world, serve, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    site.answer = _guarded(registry, "u", "p")
    mirror = serve(_guarded(registry, "mirror-user", "mirror-password"))
    world.set(registries={site.host: (f"{mirror.url}/",)})
    world.keep(site.host, "u", "p")
    reference = Reference.parse(f"{site.host}/some/image:v1")
    assert world.client().repository(reference).resolve(reference, cancel).endpoint == site.url
    assert basic("u", "p") not in {request.authorization for request in mirror.requests}
    world.keep(mirror.host, "mirror-user", "mirror-password")
    assert world.client().repository(reference).resolve(reference, cancel).endpoint == mirror.url
    assert basic("u", "p") not in {request.authorization for request in mirror.requests}


def _guarded(registry, user, password):
    guard = basic_guard(user, password)
    return lambda request: guard(request) or registry(request)


def test_docker_hubs_credentials_do_not_go_to_its_mirror(world, mirror, cancel):
    world.keep("https://index.docker.io/v1/", "u", "hub-secret")
    mirror.answer = _guarded(mirror.answer, "u", "hub-secret")
    world.set(registry_mirrors=(f"{mirror.url}/",), https_proxy="http://127.0.0.1:1")
    reference = Reference.parse("image:v1")
    with pytest.raises(NetworkError):
        world.client().repository(reference).resolve(reference, cancel)
    assert {request.authorization for request in mirror.requests} == {None}


def test_after_an_answer_the_repository_stays_with_its_endpoint(world, serve, registry, site, cancel):
    digest = registry.add_blob(b"blob")
    registry.add_manifest("some/image", "v1", RAW)
    mirror = serve(registry)
    world.set(registries={site.host: (f"{mirror.url}/",)})
    reference = Reference.parse(f"{site.host}/some/image:v1")
    repository = world.client().repository(reference)
    repository.resolve(reference, cancel)
    descriptor = Descriptor("application/octet-stream", Digest.parse(digest), 4)
    assert repository.read_blob(descriptor, 100, cancel) == b"blob"
    assert site.requests == []


def test_a_blob_that_the_mirror_lost_comes_from_the_registry(world, serve, registry, site, cancel):
    digest = registry.add_blob(b"blob")
    registry.add_manifest("some/image", "v1", RAW)
    mirror = serve(
        lambda request: error(404, "BLOB_UNKNOWN") if "/blobs/" in request.path else registry(request)
    )
    world.set(registries={site.host: (f"{mirror.url}/",)})
    reference = Reference.parse(f"{site.host}/some/image:v1")
    repository = world.client().repository(reference)
    repository.resolve(reference, cancel)
    descriptor = Descriptor("application/octet-stream", Digest.parse(digest), 4)
    assert repository.read_blob(descriptor, 100, cancel) == b"blob"


def test_a_host_that_answered_over_http_is_not_asked_over_https_again(world, registry, site, cancel):
    """The second address is found once, and not anew for every pull of a client."""
    registry.add_manifest("some/image", "v1", RAW)
    client = world.client()
    reference = Reference.parse(f"{site.host}/some/image:v1")
    client.repository(reference).resolve(reference, cancel)
    tried = client._sessions_of(site.host)
    assert [session.answered for session in tried] == [False, True]
    again = client.repository(reference)
    assert again.resolve(reference, cancel).endpoint == site.url
    assert [session.endpoint.url for session in again._order()] == [site.url]
