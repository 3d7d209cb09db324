"""Challenges, tokens and Basic authentication (docker-engine §2.4)."""

from __future__ import annotations

import json

import pytest

from onggi.errors import OnggiError
from onggi.oci.reference import Reference
from onggi.registry.errors import AccessDenied, BadCredentials, BrokenRegistry
from tests.registry.registry import TokenService, basic, basic_guard, error, token_guard
from tests.registry.site import Reply

RAW = b'{"schemaVersion": 2}'


@pytest.fixture
def tokens() -> TokenService:
    return TokenService(users={"u": "p"})


@pytest.fixture
def token_site(serve, tokens):
    return serve(tokens)


@pytest.fixture
def guarded(registry, site, tokens, token_site):
    """The registry asks for bearer tokens."""
    registry.faults.append(token_guard(tokens, f"{token_site.url}/token"))
    registry.add_manifest("some/image", "v1", RAW)
    return site


def resolve(world, site, cancel, tag="v1", name="some/image"):
    reference = Reference.parse(f"{site.host}/{name}:{tag}")
    return world.client().repository(reference).resolve(reference, cancel)


# --- bearer ---------------------------------------------------------------------------------


def test_anonymous_token_has_the_computed_scope_and_a_sorted_query(world, guarded, token_site, cancel):
    assert resolve(world, guarded, cancel).raw == RAW
    (request,) = token_site.requests
    assert request.target == "/token?scope=repository%3Asome%2Fimage%3Apull&service=registry.test"
    assert request.authorization is None


def test_a_named_user_is_shown_to_the_token_server_only(world, guarded, token_site, cancel):
    world.keep(guarded.host, "u", "p")
    resolve(world, guarded, cancel)
    (request,) = token_site.requests
    assert [name for name, _ in request.query] == ["account", "scope", "service"]
    assert dict(request.query)["account"] == "u"
    assert request.authorization == basic("u", "p")
    shown = {request.authorization for request in guarded.requests}
    assert shown == {None, "Bearer token-1"}


def test_one_token_serves_every_request_of_a_scope(world, registry, guarded, token_site, cancel):
    registry.add_manifest("other/image", "v1", RAW)
    client = world.client()
    for name in ("some/image", "some/image", "other/image", "some/image"):
        reference = Reference.parse(f"{guarded.host}/{name}:v1")
        client.repository(reference).resolve(reference, cancel)
    scopes = [dict(request.query)["scope"] for request in token_site.requests]
    assert scopes == ["repository:some/image:pull", "repository:other/image:pull"]


def test_an_access_token_wins_over_a_token(world, guarded, tokens, cancel):
    tokens.key, tokens.extra = "access_token", {"token": "another"}
    assert resolve(world, guarded, cancel).raw == RAW


def test_a_query_in_the_realm_is_kept(world, registry, guarded, tokens, token_site, cancel):
    registry.faults[:] = [token_guard(tokens, f"{token_site.url}/token?tenant=a")]
    resolve(world, guarded, cancel)
    assert token_site.requests[0].query[0] == ("tenant", "a")
    assert token_site.requests[0].path == "/token"


def test_a_token_that_expired_is_renewed_and_the_request_repeated_once(
    world, guarded, tokens, token_site, cancel
):
    repository = world.client().repository(Reference.parse(f"{guarded.host}/some/image"))
    digest = repository.resolve(Reference.parse(f"{guarded.host}/some/image:v1"), cancel).digest
    tokens.valid.clear()
    assert repository.manifest(digest, cancel)[0] == RAW
    assert len(token_site.requests) == 2
    last_two = [request.authorization for request in guarded.requests[-2:]]
    assert last_two == ["Bearer token-1", "Bearer token-2"]


def test_a_registry_that_never_takes_the_token_is_asked_twice_only(
    world, registry, guarded, token_site, cancel
):
    registry.faults.insert(0, lambda request: _refuse_everything(request, token_site))
    with pytest.raises(OnggiError) as caught:
        resolve(world, guarded, cancel)
    assert isinstance(caught.value, AccessDenied | BadCredentials)
    assert len(guarded.asked("/v2/some/image/manifests/v1")) == 2


def _refuse_everything(request, token_site):
    challenge = f'Bearer realm="{token_site.url}/token",service="registry.test"'
    return error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})


def test_a_short_lived_token_lives_a_minute_at_least(world, guarded, tokens, token_site, cancel):
    tokens.lifetime_s = 1
    repository = world.client().repository(Reference.parse(f"{guarded.host}/some/image"))
    for _ in range(3):
        repository.resolve(Reference.parse(f"{guarded.host}/some/image:v1"), cancel)
    assert len(token_site.requests) == 1


def test_an_old_issue_date_counts(world, guarded, tokens, token_site, cancel):
    tokens.extra = {"issued_at": "2020-01-01T00:00:00Z", "expires_in": 300}
    repository = world.client().repository(Reference.parse(f"{guarded.host}/some/image"))
    repository.resolve(Reference.parse(f"{guarded.host}/some/image:v1"), cancel)
    assert len(token_site.requests) <= 2


def test_an_identity_token_is_posted_and_never_asked_with_a_password(
    world, guarded, tokens, token_site, cancel
):
    tokens.identities.add("secret-identity")
    tokens.key = "access_token"
    world.keep(guarded.host, "u", identity_token="secret-identity")
    assert resolve(world, guarded, cancel).raw == RAW
    (request,) = token_site.requests
    assert (request.method, request.target, request.authorization) == ("POST", "/token", None)
    assert request.form == {
        "grant_type": "refresh_token",
        "refresh_token": "secret-identity",
        "service": "registry.test",
        "scope": "repository:some/image:pull",
        "client_id": "docker",
    }


def test_a_registry_token_is_sent_as_it_is(world, guarded, tokens, token_site, cancel):
    site = guarded
    tokens.valid["as-it-is"] = ""
    (world.directory / "docker").mkdir()
    document = {"auths": {site.host: {"registrytoken": "as-it-is"}}}
    (world.directory / "docker" / "config.json").write_text(json.dumps(document))
    resolve(world, site, cancel)
    assert site.requests[-1].authorization == "Bearer as-it-is"
    assert token_site.requests == []


def test_wrong_password_at_the_token_server(world, guarded, cancel):
    world.keep(guarded.host, "u", "wrong-secret")
    with pytest.raises(BadCredentials) as caught:
        resolve(world, guarded, cancel)
    assert str(caught.value) == (
        f'Head "{guarded.url}/v2/some/image/manifests/v1": unauthorized: incorrect username or password'
    )
    assert "onggi login" in caught.value.hint
    assert "wrong-secret" not in repr(caught.value) + caught.value.hint


@pytest.mark.parametrize("body", [b"{}", b'{"token": ""}', b'{"token": 7}', b"[]", b"not json"])
def test_a_token_server_without_a_token(world, guarded, token_site, cancel, body):
    token_site.answer = lambda request: Reply(200, body)
    with pytest.raises(BrokenRegistry, match="authorization server did not include a token in the response"):
        resolve(world, guarded, cancel)


@pytest.mark.parametrize("life", [10**400, -(10**400), 1e300, "3600", None, True, [], -5])
def test_odd_lifetimes(world, guarded, tokens, token_site, cancel, life):
    tokens.extra = {"expires_in": life, "issued_at": life}
    repository = world.repository(guarded.host)
    for _ in range(2):
        assert repository.resolve(Reference.parse(f"{guarded.host}/some/image:v1"), cancel).raw == RAW
    assert len(token_site.requests) == 1


def test_bearer_is_preferred_to_basic(world, registry, site, tokens, token_site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    world.keep(site.host, "u", "p")
    both = f'Basic realm="x"\nBearer realm="{token_site.url}/token",service="registry.test"'

    def guard(request):
        if request.authorization == "Bearer token-1":
            return None
        return error(401, "UNAUTHORIZED", headers={"WWW-Authenticate": both})

    registry.faults.append(guard)
    resolve(world, site, cancel)
    assert len(token_site.requests) == 1


# --- hostile realms -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "ftp://somewhere/token",
        "file:///etc/passwd",
        "//host/token",
        "/token",
        "http://",
        "http://[::1/token",
        "http://h:99999/token",
        "http://h:x/token",
        "http://h:0/token",
    ],
)
def test_a_realm_that_is_no_http_address(world, registry, site, cancel, realm):
    registry.faults.append(
        lambda request: error(401, "UNAUTHORIZED", headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
    )
    with pytest.raises(BrokenRegistry):
        resolve(world, site, cancel)


def test_the_token_server_may_not_send_credentials_elsewhere(world, guarded, serve, token_site, cancel):
    world.keep(guarded.host, "u", "p")
    thief = serve(lambda request: Reply(200, b'{"token": "stolen"}'))
    token_site.answer = lambda request: Reply(307, b"", {"Location": f"{thief.url}/token"})
    try:
        resolve(world, guarded, cancel)
    except OnggiError:
        pass
    assert {request.authorization for request in thief.requests} <= {None}


# --- basic ----------------------------------------------------------------------------------


def test_basic(world, registry, site, cancel):
    registry.faults.append(basic_guard("u", "p:with:colons"))
    registry.add_manifest("some/image", "v1", RAW)
    world.keep(site.host, "u", "p:with:colons")
    assert resolve(world, site, cancel).raw == RAW


def test_basic_without_credentials(world, registry, site, cancel):
    registry.faults.append(basic_guard("u", "p"))
    with pytest.raises(BadCredentials) as caught:
        resolve(world, site, cancel)
    assert str(caught.value) == (f'Head "{site.url}/v2/some/image/manifests/v1": no basic auth credentials')
    assert f"onggi login {site.host}" in caught.value.hint


def test_basic_with_a_wrong_password(world, registry, site, cancel):
    registry.faults.append(basic_guard("u", "p"))
    world.keep(site.host, "u", "wrong")
    with pytest.raises(OnggiError) as caught:
        resolve(world, site, cancel)
    assert isinstance(caught.value, AccessDenied | BadCredentials)


def test_credentials_of_another_registry_are_not_sent(world, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    world.keep("127.0.0.1:1", "u", "p")
    world.keep("registry.example", "u", "p")
    resolve(world, site, cancel)
    assert {request.authorization for request in site.requests} == {None}


def test_a_registry_that_asks_for_nothing_is_shown_nothing(world, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    world.keep(site.host, "u", "p")
    resolve(world, site, cancel)
    assert {request.authorization for request in site.requests} == {None}
