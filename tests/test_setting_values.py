"""Values of settings: what is accepted, and what dockerd refuses."""

from __future__ import annotations

import pytest

from onggi.config import _SETTINGS
from onggi.setting_values import KINDS, insecure_registry, mirror_url


def test_every_setting_has_a_kind_and_every_kind_a_setting() -> None:
    assert {kind for _, kind in _SETTINGS.values()} == set(KINDS)


# --- mirrors and insecure registries (docker-engine §2.2) -----------------------------------------


@pytest.mark.parametrize(
    "text, url",
    [
        ("http://mirror-1.example.com", "http://mirror-1.example.com/"),
        ("http://mirror-1.example.com/", "http://mirror-1.example.com/"),
        ("https://mirror-1.example.com//", "https://mirror-1.example.com/"),
        ("HTTPS://mirror-1.example.com", "https://mirror-1.example.com/"),
        ("http://localhost:5000", "http://localhost:5000/"),
        ("http://127.0.0.1:5000/v1", "http://127.0.0.1:5000/v1/"),
        ("http://[::1]:5000/", "http://[::1]:5000/"),
        ("https://m.example/a/b/", "https://m.example/a/b/"),
    ],
)
def test_mirrors(text: str, url: str) -> None:
    assert mirror_url(text) == url


_NO_SCHEME = "invalid mirror: no scheme specified for \"{}\": must use either 'https://' or 'http://'"
_QUERY = 'invalid mirror: query or fragment at end of the URI "{}"'
_NO_URI = 'invalid mirror: "{}" is not a valid URI'


@pytest.mark.parametrize(
    "text, reason",
    [
        ("mirror.example", _NO_SCHEME),
        ("mirror.example:5000", _NO_SCHEME),
        ("://mirror.example", _NO_SCHEME),
        ("", _NO_SCHEME),
        (
            "ftp://mirror.example",
            "invalid mirror: unsupported scheme \"ftp\" in \"{}\": must use either 'https://' or 'http://'",
        ),
        ("http://mirror.example/?q=foo", _QUERY),
        ("http://mirror.example/v1/?q=foo#frag", _QUERY),
        ("https://mirror.example#frag", _QUERY),
        ("https://mirror.example?q", _QUERY),
        ("https://", _NO_URI),
        ("https:///path", _NO_URI),
        ("https://mirror example", _NO_URI),
        ("https://mirror.example:port", _NO_URI),
        ("https://mirror.example:65536", _NO_URI),
    ],
)
def test_mirrors_that_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        mirror_url(text)
    assert caught.value.args[0] == reason.format(text)


@pytest.mark.parametrize(
    "text, reason",
    [
        (
            "http://foo:b@r@mirror.example/",
            'username/password not allowed in URI "http://foo:xxxxx@mirror.example/"',
        ),
        (
            "https://foo:secret@mirror.example/?q",
            'query or fragment at end of the URI "https://foo:xxxxx@mirror.example/?q"',
        ),
        (
            "ftp://foo:secret@mirror.example",
            'unsupported scheme "ftp" in "ftp://foo:xxxxx@mirror.example": '
            "must use either 'https://' or 'http://'",
        ),
        (
            "foo:secret@mirror.example/v1",
            "no scheme specified for \"foo:xxxxx@mirror.example/v1\": must use either 'https://' or 'http://'",
        ),
        ("https://foo:secret@mirror example", '"https://foo:xxxxx@mirror example" is not a valid URI'),
    ],
)
def test_a_mirror_s_password_is_not_repeated(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        mirror_url(text)
    assert caught.value.args[0] == f"invalid mirror: {reason}"


@pytest.mark.parametrize(
    "text, stored",
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("registry.example", "registry.example"),
        ("registry.example:5000", "registry.example:5000"),
        ("localhost", "localhost"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("2001:db8::1", "2001:db8::1"),
        ("http://mydomain.com", "mydomain.com"),
        ("https://mydomain.com:443", "mydomain.com:443"),
        ("HTTP://mydomain.com", "mydomain.com"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("fd00::1/8", "fd00::/8"),
    ],
)
def test_insecure_registries(text: str, stored: str) -> None:
    assert insecure_registry(text) == stored


@pytest.mark.parametrize(
    "text, reason",
    [
        ("svn://myrepo:8000", "insecure registry svn://myrepo:8000 should not contain '://'"),
        ("-invalid-registry", "invalid index name (-invalid-registry). Cannot begin or end with a hyphen"),
        ("registry-", "invalid index name (registry-). Cannot begin or end with a hyphen"),
        ("my_repo", 'insecure registry my_repo is not valid: invalid host "my_repo"'),
        ("host/path", 'insecure registry host/path is not valid: invalid host "host/path"'),
        ("10.0.0.0/33", 'insecure registry 10.0.0.0/33 is not valid: invalid host "10.0.0.0/33"'),
        (
            "10.0.0.0/255.0.0.0",
            'insecure registry 10.0.0.0/255.0.0.0 is not valid: invalid host "10.0.0.0/255.0.0.0"',
        ),
        ("host:65536", 'insecure registry host:65536 is not valid: invalid host "host:65536"'),
        ("host:port", 'insecure registry host:port is not valid: invalid host "host:port"'),
        ("", 'insecure registry  is not valid: invalid host ""'),
    ],
)
def test_insecure_registries_that_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        insecure_registry(text)
    assert caught.value.args[0] == reason
