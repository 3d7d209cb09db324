"""Registries that want our credentials to go where they do not belong."""

from __future__ import annotations

import pytest

from onggi.errors import OnggiError
from onggi.oci.reference import Reference
from tests.registry.registry import TokenService, basic, token_guard
from tests.registry.site import Reply, Request

RAW = b'{"schemaVersion": 2}'
THEIRS = "Basic " + "realm=theirs"


def resolve(world, site, cancel):
    reference = Reference.parse(f"{site.host}/some/image:v1")
    return world.client().repository(reference).resolve(reference, cancel)


def test_a_redirected_ping_does_not_say_where_credentials_go(world, serve, registry, site, cancel):
    """The other host asks for a token of its own server, which would see the password."""
    thief = serve(lambda request: Reply(200, b"{}"))
    challenge = f'Bearer realm="{thief.url}/token",service="x"'
    other = serve(lambda request: Reply(401, b"", {"WWW-Authenticate": challenge}))
    registry.add_manifest("some/image", "v1", RAW)
    registry.faults.append(
        lambda request: Reply(307, b"", {"Location": f"{other.url}/v2/"}) if request.path == "/v2/" else None
    )
    world.keep(site.host, "u", "p")
    assert resolve(world, site, cancel).raw == RAW
    assert thief.requests == []
    assert {request.authorization for request in other.requests + site.requests} == {None}


@pytest.mark.parametrize("status", [302, 307, 308])
def test_an_identity_token_is_not_posted_elsewhere(world, serve, registry, site, cancel, status):
    thief = serve(TokenService(users={"u": "p"}))
    honest = serve(lambda request: Reply(status, b"", {"Location": f"{thief.url}/token"}))
    registry.add_manifest("some/image", "v1", RAW)
    registry.faults.append(token_guard(TokenService(users={}), f"{honest.url}/token"))
    world.keep(site.host, "u", identity_token="identity")
    with pytest.raises(OnggiError):
        resolve(world, site, cancel)
    assert honest.requests[0].method == "POST"
    assert thief.requests == []


def test_a_manifest_that_redirects_to_a_host_that_asks(world, serve, registry, site, cancel):
    """401 from where a redirect led is no reason to show it anything."""

    def theirs(request: Request) -> Reply:
        return Reply(401, b"", {"WWW-Authenticate": THEIRS})

    thief = serve(theirs)
    registry.faults.append(
        lambda request: (
            Reply(307, b"", {"Location": thief.url + request.target})
            if "/manifests/" in request.path
            else None
        )
    )
    world.keep(site.host, "u", "p")
    with pytest.raises(OnggiError):
        resolve(world, site, cancel)
    assert thief.requests
    shown = {request.authorization for request in thief.requests + site.requests}
    assert basic("u", "p") not in shown
