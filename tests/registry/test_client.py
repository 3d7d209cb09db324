"""Logins, and what a client keeps between requests."""

from __future__ import annotations

import json
import threading

import pytest

from onggi.errors import InvalidArgument
from onggi.oci.reference import Reference
from onggi.registry.credentials import HUB_SERVER, Credentials, Keychain
from onggi.registry.errors import BadCredentials, NetworkError
from tests.registry.registry import TokenService, basic, basic_guard, token_guard

PASSWORD = "s3cret:word"
RAW = b'{"schemaVersion": 2}'


def stored(world) -> dict:
    return json.loads((world.config.docker_config_dir / "config.json").read_text())["auths"]


@pytest.fixture
def guarded(registry, site):
    """Basic authentication."""
    registry.faults.append(basic_guard("u", PASSWORD))
    return site


def test_login_proves_and_keeps_credentials(world, guarded):
    result = world.client().login(guarded.host, "u", PASSWORD)
    assert result.status == "Login Succeeded"
    assert result.stored_in == str(world.config.docker_config_dir / "config.json")
    assert result.warning.splitlines() == [
        f"WARNING! Your credentials are stored unencrypted in '{result.stored_in}'.",
        "Configure a credential helper to remove this warning. See",
        "https://docs.docker.com/go/credential-store/",
    ]
    assert list(stored(world)) == [guarded.host]
    assert Keychain(world.config.docker_config_dir).resolve(guarded.host) == Credentials("u", PASSWORD)
    assert [request.authorization for request in guarded.requests] == [None, basic("u", PASSWORD)]


def test_the_same_login_again_warns_no_more(world, guarded):
    world.client().login(guarded.host, "u", PASSWORD)
    assert world.client().login(guarded.host, "u", PASSWORD).warning == ""


@pytest.mark.parametrize("server", ["http://{host}", "https://{host}/", "{host}/v2/some", "{host}"])
def test_scheme_and_path_of_the_server_do_not_count(world, guarded, server):
    world.client().login(server.format(host=guarded.host), "u", PASSWORD)
    assert list(stored(world)) == [guarded.host]


def test_a_wrong_password_is_told_with_dockers_words_and_not_kept(world, guarded):
    with pytest.raises(BadCredentials) as caught:
        world.client().login(guarded.host, "u", "wrong-s3cret")
    assert str(caught.value) == f"login attempt to {guarded.url}/v2/ failed with status: 401 Unauthorized"
    assert "wrong-s3cret" not in str(caught.value) + caught.value.hint
    assert not (world.config.docker_config_dir / "config.json").exists()


def test_a_registry_that_asks_nothing_takes_any_password(world, site):
    assert world.client().login(site.host, "u", "anything").status == "Login Succeeded"
    assert list(stored(world)) == [site.host]


@pytest.fixture
def tokens() -> TokenService:
    return TokenService(users={"u": PASSWORD})


@pytest.fixture
def token_site(serve, tokens, registry):
    started = serve(tokens)
    registry.faults.append(token_guard(tokens, f"{started.url}/token"))
    return started


def test_login_by_token_asks_as_docker_does(world, site, token_site):
    world.client().login(site.host, "u", PASSWORD)
    (request,) = token_site.requests
    assert request.target == "/token?account=u&client_id=docker&offline_token=true&service=registry.test"
    assert request.authorization == basic("u", PASSWORD)
    assert stored(world)[site.host] == {"auth": basic("u", PASSWORD).removeprefix("Basic ")}


def test_an_identity_token_is_kept_instead_of_the_password(world, site, tokens, token_site):
    tokens.extra["refresh_token"] = "refresh-me"
    result = world.client().login(site.host, "u", PASSWORD)
    assert result.warning == ""
    assert stored(world)[site.host] == {"auth": "dTo=", "identitytoken": "refresh-me"}


def test_a_wrong_password_at_the_token_server(world, site, token_site):
    with pytest.raises(BadCredentials) as caught:
        world.client().login(site.host, "u", "wrong-s3cret")
    assert str(caught.value) == f'Get "{site.url}/v2/": unauthorized: incorrect username or password'


def test_nobody_there(world):
    with pytest.raises(NetworkError) as caught:
        world.client().login("127.0.0.1:1", "u", "p")
    assert str(caught.value) == (
        'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'
    )


@pytest.mark.parametrize("server", ["", "https://", "/path"])
def test_a_server_without_a_name(world, server):
    with pytest.raises(InvalidArgument):
        world.client().login(server, "u", "p")


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", HUB_SERVER, "registry-1.docker.io"])
def test_docker_hub_has_one_key(name):
    from onggi.registry.credentials import domain_of, server_of

    assert server_of(domain_of(name)) == HUB_SERVER


# --- what is kept ---------------------------------------------------------------------------


def test_a_login_is_used_by_the_same_client_at_once(world, registry, guarded, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    client = world.client()
    reference = Reference.parse(f"{guarded.host}/some/image:v1")
    with pytest.raises(BadCredentials):
        client.repository(reference).resolve(reference, cancel)
    client.login(guarded.host, "u", PASSWORD)
    assert client.repository(reference).resolve(reference, cancel).raw == RAW


def test_credentials_changed_by_another_process_are_found(world, registry, guarded, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    world.keep(guarded.host, "u", "old")
    client = world.client()
    reference = Reference.parse(f"{guarded.host}/some/image:v1")
    with pytest.raises(BadCredentials):
        client.repository(reference).resolve(reference, cancel)
    world.keep(guarded.host, "u", PASSWORD)
    assert client.repository(reference).resolve(reference, cancel).raw == RAW


def test_many_threads_share_ping_token_and_connections(world, registry, site, tokens, token_site, cancel):
    digests = [registry.add_manifest("some/image", f"v{n}", RAW + b" " * n) for n in range(20)]
    client = world.client()
    found: list[str] = []

    def work(number: int) -> None:
        reference = Reference.parse(f"{site.host}/some/image:v{number}")
        found.append(client.repository(reference).resolve(reference, cancel).digest)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(digests)
    assert tokens.issued == 1
    assert len(site.asked("/v2/")) == 1


def test_nothing_is_sent_before_it_is_needed(world, site):
    world.repository(site.host)
    assert site.requests == []


def test_a_helper_that_is_broken_does_not_matter_where_nobody_asks(world, registry, site, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    world.config.docker_config_dir.mkdir()
    (world.config.docker_config_dir / "config.json").write_text('{"credsStore": "absent"}')
    reference = Reference.parse(f"{site.host}/some/image:v1")
    assert world.client().repository(reference).resolve(reference, cancel).raw == RAW


def test_nothing_of_a_client_shows_a_secret(world, guarded, cancel):
    client = world.client()
    client.login(guarded.host, "u", PASSWORD)
    assert PASSWORD not in repr(client.__dict__)
