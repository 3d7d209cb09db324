"""Registries' answers in Docker's words. The texts are those that dockerd 20.10 printed for the same answers."""

from __future__ import annotations

import email.utils
import json
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import OnggiError
from onggi.registry.answers import Subject, failure, retry_after_s, token_failure
from onggi.registry.errors import (
    AccessDenied,
    BadCredentials,
    ManifestUnknown,
    RateLimited,
    RegistryError,
    RepositoryUnknown,
    ServerError,
)
from onggi.registry.quota import Quota, quota_of

SUBJECT = Subject("reg.example/app:t", "reg.example/app", "reg.example")
REASONS = {500: "Internal Server Error", 418: "I'm a teapot"}


@dataclass
class Answer:
    """What a registry said."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        return REASONS.get(self.status, "")

    def header_lines(self, name: str) -> list[str]:
        return [value for key, value in self.headers.items() if key == name]


def said(*errors: tuple) -> bytes:
    fields = ("code", "message", "detail")
    return json.dumps({"errors": [dict(zip(fields, entry, strict=False)) for entry in errors]}).encode()


UNAUTHORIZED = said(("UNAUTHORIZED", "authentication required", None))
DENIED = "pull access denied for reg.example/app, repository does not exist or may require 'docker login': denied: "

# status, body, WWW-Authenticate → kind and text
_TABLE = [
    (
        401,
        UNAUTHORIZED,
        'Bearer realm="r",error="insufficient_scope"',
        AccessDenied,
        DENIED + "requested access to the resource is denied",
    ),
    (
        401,
        UNAUTHORIZED,
        'Bearer realm="r",error="invalid_token"',
        BadCredentials,
        "unauthorized: authentication required",
    ),
    (401, UNAUTHORIZED, None, BadCredentials, "unauthorized"),
    (401, b"", None, BadCredentials, "unauthorized: authentication required"),
    (401, b"<html>no</html>", None, BadCredentials, "unauthorized: authentication required"),
    (
        403,
        said(("DENIED", "requested access to the resource is denied")),
        None,
        AccessDenied,
        "denied",
    ),
    (403, said(("DENIED", "custom text", "detail")), None, AccessDenied, DENIED + "custom text"),
    (
        403,
        b"<html>no</html>",
        None,
        AccessDenied,
        "error parsing HTTP 403 response body: invalid character '<' looking for beginning of value: "
        '"<html>no</html>"',
    ),
    (
        403,
        b"",
        None,
        AccessDenied,
        'error parsing HTTP 403 response body: unexpected end of JSON input: ""',
    ),
    (
        404,
        said(("NAME_UNKNOWN", "repository name not known to registry", {"name": "x"})),
        None,
        RepositoryUnknown,
        "repository reg.example/app not found: name unknown: repository name not known to registry",
    ),
    (
        404,
        said(("MANIFEST_UNKNOWN", "manifest unknown", {"Tag": "x"})),
        None,
        ManifestUnknown,
        "manifest for reg.example/app:t not found: manifest unknown: manifest unknown",
    ),
    (
        429,
        said(("TOOMANYREQUESTS", "You have reached your pull rate limit.", 1)),
        None,
        RateLimited,
        "toomanyrequests: You have reached your pull rate limit.",
    ),
    (429, b'{"details": "detail text"}', None, RateLimited, "toomanyrequests: detail text"),
    (
        400,
        said(("NAME_INVALID", "invalid repository name", 1)),
        None,
        RegistryError,
        "name invalid: invalid repository name",
    ),
    (400, said(("WEIRD_CODE", "odd things", 1)), None, RegistryError, "unknown: odd things"),
    (
        400,
        b'{"errors": []}',
        None,
        RegistryError,
        "error parsing HTTP 400 response body: no error details found in HTTP response body: "
        '"{\\"errors\\": []}"',
    ),
    (
        500,
        said(("UNKNOWN", "boom", 1)),
        None,
        ServerError,
        "received unexpected HTTP status: 500 Internal Server Error",
    ),
]


@pytest.mark.parametrize(("status", "body", "challenge", "kind", "text"), _TABLE)
def test_the_words_are_dockers(status, body, challenge, kind, text):
    answer = Answer(status, {"WWW-Authenticate": challenge} if challenge else {})
    error = failure(answer, body, SUBJECT)
    assert type(error) is kind
    assert str(error) == text
    assert error.hint


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"errors": []}', b'{"errors": ["x"]}', b"\xff"])
def test_404_without_words_is_still_not_found(body):
    assert str(failure(Answer(404), body, SUBJECT)) == (
        "manifest for reg.example/app:t not found: manifest unknown: manifest unknown"
    )
    name = Subject("reg.example/app", "reg.example/app", "reg.example", name_only=True)
    assert isinstance(failure(Answer(404), body, name), RepositoryUnknown)


def test_429_without_words_is_still_a_limit():
    error = failure(Answer(429, {"Retry-After": "30"}), b"slow", SUBJECT)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 30
    assert "30 s" in error.hint


def test_only_the_first_error_is_shown():
    body = said(("DENIED", "first", 1), ("MANIFEST_UNKNOWN", "second", 2))
    assert str(failure(Answer(403), body, SUBJECT)) == DENIED + "first"


def test_the_hint_names_the_server_to_log_in_to():
    assert "onggi login reg.example" in failure(Answer(401), b"", SUBJECT).hint
    hub = Subject("nginx:latest", "nginx", "")
    assert failure(Answer(401), b"", hub).hint.endswith("onggi login")


def test_a_registry_does_not_draw_on_our_terminal():
    body = said(("DENIED", "a\x1b[31mred\r\nand\tmore\x07", 1))
    assert str(failure(Answer(403), body, SUBJECT)) == DENIED + "a [31mred and more"


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_answer_is_one_line(status, body):
    error = failure(Answer(status), body, SUBJECT)
    assert isinstance(error, OnggiError)
    assert error.hint
    assert "\n" not in str(error)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.integers(400, 499), st.dictionaries(st.sampled_from(["errors", "details"]), _json))
def test_any_json_is_one_line(status, document):
    for error in (
        failure(Answer(status), json.dumps(document).encode(), SUBJECT),
        token_failure(Answer(status), json.dumps(document).encode(), "reg.example"),
    ):
        assert isinstance(error, OnggiError)
        assert "\n" not in str(error)


# --- token servers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (
            401,
            b'{"details": "incorrect username or password"}',
            BadCredentials,
            "unauthorized: incorrect username or password",
        ),
        (401, b"", BadCredentials, "unauthorized: authentication required"),
        (403, said(("DENIED", "no way", None)), BadCredentials, "denied: no way"),
        (429, said(("TOOMANYREQUESTS", "slow down", None)), RateLimited, "toomanyrequests: slow down"),
        (500, b"oops", ServerError, "received unexpected HTTP status: 500 Internal Server Error"),
    ],
)
def test_token_servers(status, body, kind, text):
    error = token_failure(Answer(status), body, "reg.example")
    assert type(error) is kind
    assert str(error) == text


# --- headers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0.0), ("120", 120.0), (" 7 ", 7.0), ("", None), ("soon", None), ("-5", None), ("9" * 40, None)],
)
def test_retry_after_in_seconds(value, expected):
    assert retry_after_s(Answer(429, {"Retry-After": value})) == expected


def test_retry_after_as_a_date():
    moment = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert retry_after_s(Answer(429, {"Retry-After": moment})) == pytest.approx(100, abs=3)
    assert retry_after_s(Answer(429, {"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"})) == 0


@pytest.mark.parametrize(
    ("limit", "remaining", "expected"),
    [
        ("100;w=21600", "76;w=21600", Quota(100, 76, 21600)),
        ("100", "0", Quota(100, 0, 0)),
        ("100;w=21600", "5", Quota(100, 5, 21600)),
        ("", "76", None),
        ("many", "few", None),
    ],
)
def test_quota(limit, remaining, expected):
    assert quota_of(Answer(200, {"ratelimit-limit": limit, "ratelimit-remaining": remaining})) == expected
