"""Prove who we are: challenges, tokens, Basic (docker-engine §2.4).

A token is asked for the scope we compute, not for the one in the challenge, and kept per
scope until it expires.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from onggi.cancel import CancelToken
from onggi.oci.timestamps import parse_ns
from onggi.registry.credentials import Credentials
from onggi.registry.endpoints import Endpoint
from onggi.registry.errors import BadCredentials, BrokenRegistry, RateLimited, ServerError, error_text
from onggi.registry.transport import Response, Transport

__all__ = ["Authorizer", "Challenge", "parse_challenges"]

CLIENT_ID = "docker"
# Seconds: the least life of a token (Docker's rule), and how early it counts as expired.
_LEAST_LIFE_S, _MARGIN_S = 60, 5
_TOKEN_TIMEOUT_S = 15.0

# challenge = scheme 1*SP [ param *( "," param ) ]; param = token "=" ( token / quoted-string )
_SCHEME = re.compile(r"\s*([A-Za-z]+)\s*")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z_-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^,\s]+)')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One ``WWW-Authenticate`` challenge: lower-case scheme and parameters."""

    scheme: str
    parameters: tuple[tuple[str, str], ...]

    def __getitem__(self, name: str) -> str:
        return dict(self.parameters).get(name, "")


def parse_challenges(lines: list[str]) -> list[Challenge]:
    """All challenges of all header lines (RFC 9110 §11.6.1); what cannot be read is passed over."""
    found = []
    for line in lines:
        match = _SCHEME.match(line)
        if match is None:
            continue
        parameters, position = [], match.end()
        while parameter := _PARAMETER.match(line, position):
            name, value = parameter.groups()
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            parameters.append((name.lower(), value))
            position = parameter.end()
        found.append(Challenge(match[1].lower(), tuple(parameters)))
    return found


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    expires: float


class Authorizer:
    """Answers the challenges of one endpoint for one set of credentials; thread-safe."""

    def __init__(self, transport: Transport, endpoint: Endpoint, credentials: Credentials) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._credentials = credentials
        self._challenges: list[Challenge] = []
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._lock = threading.Lock()

    def learn(self, response: Response) -> None:
        """Remember the challenges of a 401."""
        challenges = parse_challenges(response.header_lines("WWW-Authenticate"))
        if challenges:
            self._challenges = challenges

    def forget(self, scopes: tuple[str, ...]) -> None:
        """Drop a token that the registry no longer takes."""
        with self._lock:
            self._tokens.pop(scopes, None)

    def header(self, scopes: tuple[str, ...], cancel: CancelToken) -> str | None:
        """The ``Authorization`` value; None where the registry asks for none.

        Bearer wins over Basic. Raises BadCredentials (Docker's text ``no basic auth
        credentials``), RateLimited, ServerError.
        """
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        for challenge in self._challenges:
            if challenge.scheme == "bearer":
                return f"Bearer {self._token(challenge, scopes, cancel)}"
        if any(challenge.scheme == "basic" for challenge in self._challenges):
            if not self._credentials.username:
                raise BadCredentials(
                    "no basic auth credentials", hint=f"log in: onggi login {self._endpoint.host}"
                )
            return self._credentials.basic()
        return None

    def _token(self, challenge: Challenge, scopes: tuple[str, ...], cancel: CancelToken) -> str:
        with self._lock:
            known = self._tokens.get(scopes)
            if known is not None and known.expires > time.time() + _MARGIN_S:
                return known.value
            token = self._fetch(challenge, scopes, cancel)
            self._tokens[scopes] = token
            return token.value

    def _fetch(self, challenge: Challenge, scopes: tuple[str, ...], cancel: CancelToken) -> _Token:
        realm = challenge["realm"]
        self._check_realm(realm)
        if self._credentials.identity_token:
            response = self._refresh(realm, challenge["service"], scopes, cancel)
        else:
            response = self._get(realm, challenge["service"], scopes, cancel)
        body = response.body()
        if response.status == 429:
            raise RateLimited(error_text(body)[1], None)
        if response.status in (400, 401, 403):
            code, message = error_text(body)
            raise BadCredentials(
                f"{code or 'unauthorized'}: {message or 'authentication required'}",
                hint=f"log in again: onggi login {self._endpoint.host}",
            )
        if response.status != 200:
            raise ServerError(response.status, response.reason)
        return _parse_token(body)

    def _check_realm(self, realm: str) -> None:
        """A realm comes from the registry; credentials must not leave TLS because it says so."""
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise BrokenRegistry(f"the registry names no usable token server: {realm[:200]!r}")
        if urlsplit(self._endpoint.url).scheme == "https" and parts.scheme == "http" and self._credentials:
            raise BrokenRegistry(
                f"the registry asks to send credentials over plain http to {parts.netloc}: refused",
                hint="its token server must speak https",
            )

    def _get(self, realm: str, service: str, scopes: tuple[str, ...], cancel: CancelToken) -> Response:
        query = [("scope", scope) for scope in scopes]
        if service:
            query.append(("service", service))
        headers: dict[str, str | list[str]] = {}
        if self._credentials.username:
            query.append(("account", self._credentials.username))
            headers["Authorization"] = self._credentials.basic()
        if not scopes:
            query += [("client_id", CLIENT_ID), ("offline_token", "true")]
        separator = "&" if urlsplit(realm).query else "?"
        url = f"{realm}{separator}{urlencode(sorted(query))}"
        return self._transport.request(
            "GET", url, headers, self._endpoint, cancel, timeout_s=_TOKEN_TIMEOUT_S
        )

    def _refresh(self, realm: str, service: str, scopes: tuple[str, ...], cancel: CancelToken) -> Response:
        form = urlencode(
            {
                "grant_type": "refresh_token",
                "refresh_token": self._credentials.identity_token,
                "service": service,
                "scope": " ".join(scopes),
                "client_id": CLIENT_ID,
            }
        )
        headers: dict[str, str | list[str]] = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._transport.request(
            "POST",
            realm,
            headers,
            self._endpoint,
            cancel,
            body=form.encode(),
            timeout_s=_TOKEN_TIMEOUT_S,
            follow=False,
        )


def _parse_token(body: bytes) -> _Token:
    try:
        document = json.loads(body)
        value = document.get("access_token") or document.get("token")
        life = max(int(document.get("expires_in") or 0), _LEAST_LIFE_S)
        issued = parse_ns(str(document.get("issued_at"))) if document.get("issued_at") else None
    except (ValueError, AttributeError, TypeError):
        value = None
    if not isinstance(value, str) or not value:
        raise BrokenRegistry("authorization server did not include a token in the response")
    # A clock that disagrees must not make a fresh token useless.
    begin = min(time.time(), issued / 1e9) if issued else time.time()
    return _Token(value, max(begin + life, time.time() + _MARGIN_S + 1))
