"""SOCKS5 proxies: names go there unresolved, passwords stay there, refusals are in Go's words."""

from __future__ import annotations

import socket
import threading

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled
from onggi.oci.reference import Reference
from onggi.registry.errors import NetworkError
from onggi.registry.patience import Patience
from tests.registry.certificates import Issuer
from tests.registry.socks import SocksProxy

RAW = b'{"schemaVersion": 2}'
PASSWORD = "p%40ss"


@pytest.fixture
def proxy():
    opened = SocksProxy()
    yield opened
    opened.stop()


@pytest.fixture
def published(serve, registry, proxy):
    """``registry`` at plain.example, by http."""
    registry.add_manifest("some/image", "v1", RAW)
    proxy.sites["plain.example:80"] = serve(registry)
    return registry


def resolve(world, cancel, host="plain.example"):
    world.patience = Patience(attempts=1)
    reference = Reference.parse(f"{host}/some/image:v1")
    return world.client().repository(reference).resolve(reference, cancel)


def use(world, url: str, host: str = "plain.example") -> None:
    """The proxy for everything, and plain http as the registry's only way."""
    world.set(http_proxy=url, https_proxy="http://127.0.0.1:1", insecure_registries=(host,))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_http(world, published, proxy, cancel, scheme):
    use(world, f"{scheme}://{proxy.host}")
    assert resolve(world, cancel).raw == RAW
    assert set(proxy.asked) == {"plain.example:80"}


def test_https(world, serve, registry, proxy, cancel, tmp_path):
    registry.add_manifest("some/image", "v1", RAW)
    proxy.sites["a.example:443"] = serve(registry, tls=Issuer(tmp_path / "ca").server("a.example"))
    world.set(https_proxy=f"socks5://{proxy.host}", insecure_registries=("a.example",))
    assert resolve(world, cancel, "a.example").raw == RAW
    assert set(proxy.asked) == {"a.example:443"}


@pytest.mark.parametrize(("host", "address"), [("192.0.2.5", "192.0.2.5"), ("[2001:db8::5]", "2001:db8::5")])
def test_addresses(world, serve, registry, proxy, cancel, host, address):
    registry.add_manifest("some/image", "v1", RAW)
    proxy.sites[f"{address}:80"] = serve(registry)
    use(world, f"socks5://{proxy.host}", host)
    assert resolve(world, cancel, host).raw == RAW


def test_a_password(world, published, proxy, cancel):
    proxy.password = "u:p@ss"
    use(world, f"socks5://u:{PASSWORD}@{proxy.host}")
    assert resolve(world, cancel).raw == RAW
    assert set(proxy.users) == {"u:p@ss"}


@pytest.mark.parametrize(
    ("change", "user", "reason"),
    [
        ({"password": "other:one"}, f"u:{PASSWORD}@", "username/password authentication failed"),
        ({"password": "other:one"}, "", "no acceptable authentication methods"),
        ({"refusal": 2}, "", "unknown error connection not allowed by ruleset"),
        ({"refusal": 99}, "", "unknown error unknown code: 99"),
        ({"sites": {}}, "", "unknown error host unreachable"),
        ({"greeting": b"HTTP/1.1 400"}, "", "unexpected protocol version 72"),
        ({"greeting": b"\x05"}, "", "EOF"),
        ({"greeting": b"\x05\x02"}, "", "no acceptable authentication methods"),
    ],
)
def test_refusals(world, published, proxy, cancel, change, user, reason):
    for name, value in change.items():
        setattr(proxy, name, value)
    use(world, f"socks5://{user}{proxy.host}")
    with pytest.raises(NetworkError) as caught:
        resolve(world, cancel)
    expected = f"socks connect tcp {proxy.host}->plain.example:80: {reason}"
    assert str(caught.value) == f'Get "http://plain.example/v2/": {expected}'
    assert caught.value.hint
    assert "p@ss" not in caught.value.hint


def test_names_that_are_too_long(world, proxy, cancel):
    host = ".".join(["a" * 60] * 5) + ".example"
    use(world, f"socks5://{proxy.host}", host)
    with pytest.raises(NetworkError, match="no usable length"):
        resolve(world, cancel, host)


def test_a_proxy_that_is_not_there(world, cancel):
    use(world, f"socks5://u:{PASSWORD}@127.0.0.1:1")
    with pytest.raises(
        NetworkError, match=r"proxyconnect tcp: dial tcp 127\.0\.0\.1:1: connect: conn"
    ) as caught:
        resolve(world, cancel)
    assert PASSWORD not in str(caught.value) + caught.value.hint


def test_cancel_wakes_who_waits_for_the_proxy(world):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(world, f"socks5://127.0.0.1:{silent.getsockname()[1]}")
        token = CancelToken()
        timer = threading.Timer(0.2, token.cancel)
        timer.start()
        with pytest.raises(Cancelled):
            resolve(world, token)
        timer.join()
