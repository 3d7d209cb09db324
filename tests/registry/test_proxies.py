"""Proxies, by Go's rules."""

from __future__ import annotations

import pytest

from onggi.config import Config
from onggi.errors import OnggiError
from onggi.oci.reference import Reference
from onggi.registry.errors import NetworkError, ProxySettings
from onggi.registry.proxies import proxy_for
from tests.registry.certificates import Issuer

RAW = b'{"schemaVersion": 2}'
PASSWORD = "p%40ss"


@pytest.fixture
def published(serve, registry, internet):
    """``registry`` at plain.example, by http."""
    registry.add_manifest("some/image", "v1", RAW)
    internet.sites["plain.example:80"] = serve(registry)
    return registry


def resolve(world, cancel, host="plain.example"):
    reference = Reference.parse(f"{host}/some/image:v1")
    return world.client().repository(reference).resolve(reference, cancel)


def test_plain_requests_go_through_the_http_proxy(world, published, internet, cancel):
    world.set(http_proxy=internet.url, insecure_registries=("plain.example",))
    assert resolve(world, cancel).raw == RAW
    assert internet.passed[0] == "GET http://plain.example/v2/ HTTP/1.1"


def test_https_goes_through_a_tunnel(world, serve, registry, internet, cancel, tmp_path):
    registry.add_manifest("some/image", "v1", RAW)
    internet.sites["a.example:443"] = serve(registry, tls=Issuer(tmp_path / "ca").server("a.example"))
    world.set(https_proxy=internet.host, insecure_registries=("a.example",))
    assert resolve(world, cancel, "a.example").raw == RAW
    assert internet.passed[0].startswith("CONNECT a.example:443 ")
    assert len(internet.passed) == 1


def test_the_proxys_password_is_for_the_proxy_only(world, serve, registry, internet, cancel, tmp_path):
    registry.add_manifest("some/image", "v1", RAW)
    site = serve(registry, tls=Issuer(tmp_path / "ca").server("a.example"))
    internet.sites["a.example:443"] = site
    internet.password = "Basic dTpwQHNz"
    world.set(https_proxy=f"http://u:{PASSWORD}@{internet.host}", insecure_registries=("a.example",))
    assert resolve(world, cancel, "a.example").raw == RAW
    assert {request.headers["Proxy-Authorization"] for request in site.requests} == {None}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_wrong_password_of_the_proxy(world, published, internet, cancel, scheme):
    internet.password = "Basic something else"
    proxy = f"http://u:{PASSWORD}@{internet.host}"
    insecure = ("plain.example",) if scheme == "http" else ()
    world.set(http_proxy=proxy, https_proxy=proxy, insecure_registries=insecure)
    with pytest.raises(OnggiError, match="407") as caught:
        resolve(world, cancel)
    assert PASSWORD not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there(world, cancel, scheme):
    proxy = f"http://u:{PASSWORD}@127.0.0.1:1"
    insecure = ("plain.example",) if scheme == "http" else ()
    world.set(http_proxy=proxy, https_proxy=proxy, insecure_registries=insecure)
    with pytest.raises(
        NetworkError, match=r"proxyconnect tcp: dial tcp 127\.0\.0\.1:1: connect: connection refused"
    ) as caught:
        resolve(world, cancel)
    assert PASSWORD not in str(caught.value) + caught.value.hint


def test_loopback_is_never_proxied(world, registry, site, internet, cancel):
    registry.add_manifest("some/image", "v1", RAW)
    world.set(http_proxy=internet.url, https_proxy=internet.url)
    assert resolve(world, cancel, site.host).raw == RAW
    assert internet.passed == []


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "proxied"),
    [
        ("", "a.example", 443, True),
        ("*", "a.example", 443, False),
        ("a.example", "a.example", 443, False),
        ("a.example", "sub.a.example", 443, False),
        ("a.example", "nota.example", 443, True),
        (".a.example", "sub.a.example", 443, False),
        (".a.example", "a.example", 443, True),
        ("*.a.example", "sub.a.example", 443, False),
        ("*.a.example", "a.example", 443, True),
        ("a.example:5000", "a.example", 5000, False),
        ("a.example:5000", "a.example", 443, True),
        ("b.example, A.Example", "a.example", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, False),
        ("10.0.0.0/8", "11.1.2.3", 443, True),
        ("10.0.0.0/8", "a.example", 443, True),
        ("10.1.2.3", "10.1.2.3", 443, False),
        ("10.1.2.3:5000", "10.1.2.3", 443, True),
        ("fd00::/8", "fd00::5", 443, False),
        ("[fd00::5]:443", "fd00::5", 443, False),
        ("nonsense/99", "a.example", 443, True),
        ("", "localhost", 443, False),
        ("", "127.1.2.3", 443, False),
        ("", "::1", 443, False),
    ],
)
def test_no_proxy(no_proxy, host, port, proxied):
    config = Config(https_proxy="http://proxy.example:3128", no_proxy=no_proxy)
    assert (proxy_for(config, "https", host, port) is not None) is proxied


def test_each_scheme_has_its_proxy():
    config = Config(http_proxy="one.example:3128", https_proxy="https://two.example")
    assert proxy_for(config, "http", "a.example", 80).url == "http://one.example:3128"
    assert proxy_for(config, "https", "a.example", 443).url == "https://two.example:443"
    assert proxy_for(Config(), "https", "a.example", 443) is None


@pytest.mark.parametrize(
    "text", ["socks4://proxy.example", "ftp://proxy.example", "http://", "http://h:x", "http://[::1"]
)
def test_a_proxy_that_cannot_be_used(text):
    with pytest.raises(ProxySettings) as caught:
        proxy_for(Config(http_proxy=text), "http", "a.example", 80)
    assert caught.value.hint


def test_a_proxys_password_does_not_show():
    proxy = proxy_for(Config(http_proxy="http://u:secret@proxy.example"), "http", "a.example", 80)
    assert (proxy.url, proxy.credentials) == ("http://proxy.example:80", "u:secret")
    assert "secret" not in repr(proxy)
