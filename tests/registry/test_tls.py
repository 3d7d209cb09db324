"""TLS with certs.d: authorities, client certificates, and the errors when something is missing."""

from __future__ import annotations

import datetime
import shutil

import pytest

from onggi.oci.reference import Reference
from onggi.registry.errors import BrokenRegistry, NetworkError, TlsError, TlsFiles
from tests.registry.certificates import Issuer
from tests.registry.registry import basic, basic_guard
from tests.registry.site import Reply

HOST = "registry.example:5443"
RAW = b'{"schemaVersion": 2}'


@pytest.fixture(scope="module")
def issuer(tmp_path_factory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def publish(serve, registry, internet, world):
    """``publish(tls)`` puts ``registry`` at HOST."""
    registry.add_manifest("some/image", "v1", RAW)
    world.set(https_proxy=internet.url, http_proxy=internet.url)

    def start(tls=None, host=HOST):
        internet.sites[host] = serve(registry, tls=tls)
        return internet.sites[host]

    return start


def resolve(world, cancel, host=HOST):
    reference = Reference.parse(f"{host}/some/image:v1")
    return world.client().repository(reference).resolve(reference, cancel)


def trust(world, issuer, host=HOST):
    (world.certs / host).mkdir(parents=True)
    shutil.copy(issuer.certificate, world.certs / host / "ca.crt")


def refused(world, cancel, error=TlsError):
    with pytest.raises(error) as caught:
        resolve(world, cancel)
    return caught.value


# --- authorities ----------------------------------------------------------------------------


def test_an_authority_in_certs_d_is_accepted(world, publish, issuer, cancel):
    publish(issuer.server("registry.example"))
    trust(world, issuer)
    assert resolve(world, cancel).raw == RAW


def test_without_it_the_error_is_gos(world, publish, issuer, cancel):
    publish(issuer.server("registry.example"))
    error = refused(world, cancel)
    assert str(error) == (
        f'Get "https://{HOST}/v2/": tls: failed to verify certificate: '
        "x509: certificate signed by unknown authority"
    )
    assert f"certs.d/{HOST}/ca.crt" in error.hint
    assert not error.retryable


def test_docker_20_10_said_it_shorter(world, publish, issuer, cancel):
    publish(issuer.server("registry.example"))
    world.set(compat="20.10")
    error = refused(world, cancel)
    assert str(error) == f'Get "https://{HOST}/v2/": x509: certificate signed by unknown authority'


def test_the_authority_of_another_port_does_not_count(world, publish, issuer, cancel):
    publish(issuer.server("registry.example"))
    trust(world, issuer, "registry.example")
    refused(world, cancel)


def test_a_second_certs_d(world, publish, issuer, cancel, tmp_path):
    publish(issuer.server("registry.example"))
    trust(world, issuer)
    world.set(certs_dirs=(tmp_path / "none", world.certs))
    assert resolve(world, cancel).raw == RAW


def test_a_certificate_for_another_name(world, publish, issuer, cancel):
    publish(issuer.server("other.example"))
    trust(world, issuer)
    assert "x509: certificate is not valid for registry.example" in str(refused(world, cancel))


def test_an_expired_certificate(world, publish, issuer, cancel):
    publish(issuer.server("registry.example", valid=-datetime.timedelta(hours=2)))
    trust(world, issuer)
    assert "x509: certificate has expired or is not yet valid" in str(refused(world, cancel))


def test_an_insecure_registry_is_not_verified(world, publish, issuer, cancel):
    publish(issuer.server("other.example"))
    world.set(insecure_registries=(HOST,))
    assert resolve(world, cancel).raw == RAW


def test_plain_http_where_https_is_expected(world, publish, cancel):
    publish(None)
    error = refused(world, cancel)
    assert str(error) == f'Get "https://{HOST}/v2/": http: server gave HTTP response to HTTPS client'
    assert "insecure-registries" in error.hint


# --- client certificates --------------------------------------------------------------------


@pytest.fixture
def visitors(tmp_path) -> Issuer:
    """Who signs client certificates."""
    return Issuer(tmp_path / "visitors", "visitors")


def test_a_client_certificate_is_shown(world, publish, issuer, visitors, cancel):
    publish(issuer.server("registry.example", clients=visitors))
    trust(world, issuer)
    certificate, key = visitors.issue("me")
    shutil.copy(certificate, world.certs / HOST / "me.cert")
    shutil.copy(key, world.certs / HOST / "me.key")
    assert resolve(world, cancel).raw == RAW


def test_without_one_the_error_says_so(world, publish, issuer, visitors, cancel):
    publish(issuer.server("registry.example", clients=visitors))
    trust(world, issuer)
    error = refused(world, cancel, (TlsError, NetworkError))
    if "connection reset by peer" in str(error):
        return  # the server closed before it had read the request: then its alert can be lost on the way
    assert "tls" in str(error)
    assert "client certificate" in error.hint


def test_a_lone_certificate(world, publish, issuer, visitors, cancel):
    publish(issuer.server("registry.example"))
    trust(world, issuer)
    shutil.copy(visitors.issue("me")[0], world.certs / HOST / "me.cert")
    error = refused(world, cancel, TlsFiles)
    assert "missing key me.key for client certificate me.cert" in str(error)


def test_a_lone_key(world, publish, issuer, visitors, cancel):
    publish(issuer.server("registry.example"))
    trust(world, issuer)
    shutil.copy(visitors.issue("me")[1], world.certs / HOST / "me.key")
    error = refused(world, cancel, TlsFiles)
    assert "missing client certificate me.cert for key me.key" in str(error)


@pytest.mark.parametrize("name", ["ca.crt", "me.cert"])
def test_files_that_are_no_certificates(world, publish, issuer, cancel, name):
    publish(issuer.server("registry.example"))
    trust(world, issuer)
    (world.certs / HOST / name).write_text("no certificate")
    (world.certs / HOST / "me.key").write_text("no key")
    if name == "ca.crt":
        (world.certs / HOST / "me.key").unlink()
    assert str(world.certs / HOST) in str(refused(world, cancel, TlsFiles))


def test_a_key_of_another_certificate(world, publish, issuer, visitors, cancel):
    publish(issuer.server("registry.example"))
    trust(world, issuer)
    shutil.copy(visitors.issue("me")[0], world.certs / HOST / "me.cert")
    shutil.copy(visitors.issue("you")[1], world.certs / HOST / "me.key")
    refused(world, cancel, TlsFiles)


# --- redirects ------------------------------------------------------------------------------


@pytest.fixture
def guarded(world, publish, registry, issuer):
    """HOST by TLS, with Basic authentication, and its user logged in."""
    registry.faults.append(basic_guard("u", "p"))
    world.keep(HOST, "u", "p")
    trust(world, issuer)
    return publish(issuer.server("registry.example"))


def test_https_does_not_lead_to_http(world, guarded, serve, registry, internet, cancel):
    elsewhere = serve(lambda request: Reply(200, RAW))
    internet.sites["blobs.example:80"] = elsewhere
    registry.faults.append(lambda request: Reply(307, b"", {"Location": "http://blobs.example/x"}))
    error = refused(world, cancel, BrokenRegistry)
    assert "http://blobs.example/x" in str(error)
    assert "refused" in str(error)
    assert elsewhere.requests == []


def test_another_port_of_the_same_host_gets_no_credentials(
    world, guarded, serve, registry, issuer, internet, cancel
):
    other = serve(registry, tls=issuer.server("registry.example"))
    other.answer = lambda request: Reply(200, RAW)
    internet.sites["registry.example:6443"] = other
    registry.faults.append(
        lambda request: (
            Reply(307, b"", {"Location": f"https://registry.example:6443{request.target}"})
            if "/manifests/" in request.path
            else None
        )
    )
    assert resolve(world, cancel).raw == RAW
    assert {request.authorization for request in other.requests} == {None}
    assert basic("u", "p") in {request.authorization for request in guarded.requests}


def test_the_token_server_must_speak_tls(world, guarded, serve, registry, internet, cancel):
    thief = serve(lambda request: Reply(200, b'{"token": "t"}'))
    internet.sites["tokens.example:80"] = thief
    challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.example/token",service="s"'}
    registry.faults[:] = [lambda request: Reply(401, b"", challenge)]
    error = refused(world, cancel, BrokenRegistry)
    assert "plain http" in str(error)
    assert thief.requests == []
