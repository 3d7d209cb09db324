"""Prove who we are: challenges, tokens, Basic (docker-engine §2.4).

A token is asked for the scope we compute, not for the one in the challenge, and kept per
scope until it expires. Credentials are looked up when a registry first asks for them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from onggi.cancel import CancelToken
from onggi.oci.timestamps import parse_ns
from onggi.record import record
from onggi.registry.answers import token_failure
from onggi.registry.challenges import Challenge, parse_challenges
from onggi.registry.credentials import ANONYMOUS, Credentials
from onggi.registry.endpoints import Endpoint
from onggi.registry.errors import BadCredentials, BrokenRegistry
from onggi.registry.foreign import http_address, one_line
from onggi.registry.network_errors import without_secrets
from onggi.registry.response import Response
from onggi.registry.transport import Transport

__all__ = ["Authorizer", "Scopes"]

# What a request needs, e.g. ("repository:library/nginx:pull",); empty: only to be known (login).
Scopes = tuple[str, ...]

CLIENT_ID = "docker"
# Seconds: the least life of a token (Docker's rule), and how early it counts as expired.
_LEAST_LIFE_S, _MARGIN_S = 60, 5
_TOKEN_TIMEOUT_S = 15.0
# Seconds: no token lives longer, whatever it says.
_LONGEST_LIFE_S = 366 * 24 * 3600
# Characters of a realm that an error shows.
_SHOWN_REALM = 200


@record
class _Token:
    value: str
    expires: float
    refresh: str = ""


class Authorizer:
    """Answers the challenges of one endpoint; thread-safe."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, credentials: Callable[[], Credentials]
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._look_up = credentials
        self._credentials: Credentials | None = None
        self._challenges: list[Challenge] = []
        self._tokens: dict[Scopes, _Token] = {}
        self._lock = threading.Lock()

    def learn(self, response: Response) -> bool:
        """Remember the challenges of a 401; False when it has none, or says that no token can help."""
        challenges = parse_challenges(response.header_lines("WWW-Authenticate"))
        known = [challenge for challenge in challenges if challenge.scheme in ("bearer", "basic")]
        if known:
            self._challenges = known
        return bool(known) and all(challenge["error"] != "insufficient_scope" for challenge in known)

    def forget(self, scopes: Scopes) -> None:
        """Drop a token that the registry no longer takes, and look up the credentials anew."""
        with self._lock:
            self._tokens.pop(scopes, None)
            self._credentials = None

    def header(self, scopes: Scopes, cancel: CancelToken) -> str | None:
        """The ``Authorization`` value; None where the registry asks for none.

        Bearer wins over Basic. Raises BadCredentials (Docker's text ``no basic auth
        credentials``), BrokenRegistry, RateLimited, ServerError, NetworkError, CredentialError.
        """
        challenges = self._challenges
        bearer = next((entry for entry in challenges if entry.scheme == "bearer"), None)
        if bearer is not None:
            with self._lock:
                return f"Bearer {self._token(bearer, scopes, cancel)}"
        if not challenges:
            return None
        with self._lock:
            credentials = self._known_credentials()
        if not credentials.username:
            raise BadCredentials(
                "no basic auth credentials", hint=f"log in: onggi login {self._endpoint.host}"
            )
        return credentials.basic()

    def refresh_token(self, scopes: Scopes) -> str:
        """The identity token that came with a token, if one did."""
        token = self._tokens.get(scopes)
        return token.refresh if token is not None else ""

    # --- tokens (with the lock held) ------------------------------------------------------

    def _known_credentials(self) -> Credentials:
        if self._credentials is None:
            self._credentials = self._look_up() or ANONYMOUS
        return self._credentials

    def _token(self, challenge: Challenge, scopes: Scopes, cancel: CancelToken) -> str:
        credentials = self._known_credentials()
        if credentials.registry_token:
            return credentials.registry_token
        known = self._tokens.get(scopes)
        if known is None or known.expires <= time.time() + _MARGIN_S:
            known = self._tokens[scopes] = self._fetch(challenge, scopes, credentials, cancel)
        return known.value

    def _fetch(
        self, challenge: Challenge, scopes: Scopes, credentials: Credentials, cancel: CancelToken
    ) -> _Token:
        realm = self._checked_realm(challenge["realm"], credentials)
        ask = self._refresh if credentials.identity_token else self._get
        method = "Post" if credentials.identity_token else "Get"
        where = f'{method} "{without_secrets(realm, keep_query=True)}"'
        with self._transport.limited(cancel, _TOKEN_TIMEOUT_S, where) as limited:
            response = ask(realm, challenge["service"], scopes, credentials, limited)
            body = response.body()
        if response.status != 200:
            raise token_failure(response, body, self._endpoint.host)
        return _parse_token(body)

    def _checked_realm(self, realm: str, credentials: Credentials) -> str:
        """A realm comes from the registry; credentials must not leave TLS because it says so."""
        parts = http_address(realm)
        if parts is None:
            raise BrokenRegistry(
                f"the registry names no usable token server: {one_line(realm[:_SHOWN_REALM])!r}",
                hint="ask whoever runs the registry",
            )
        host = one_line(parts.netloc.rpartition("@")[2])
        if self._endpoint.scheme == "https" and parts.scheme == "http" and credentials:
            raise BrokenRegistry(
                f"the registry is https, but asks to send credentials over plain http to {host}: refused, "
                "since anybody on the way could read them",
                hint="its token server must speak https",
            )
        return parts._replace(netloc=host, fragment="").geturl()

    def _get(
        self, realm: str, service: str, scopes: Scopes, credentials: Credentials, cancel: CancelToken
    ) -> Response:
        query = [("scope", scope) for scope in scopes]
        if service:
            query.append(("service", service))
        headers: dict[str, str | list[str]] = {}
        if credentials.username:
            query.append(("account", credentials.username))
            headers["Authorization"] = credentials.basic()
        if not scopes:
            query += [("client_id", CLIENT_ID), ("offline_token", "true")]
        separator = "&" if urlsplit(realm).query else "?"
        url = f"{realm}{separator}{urlencode(sorted(query))}"
        return self._transport.request(
            "GET",
            url,
            headers,
            self._endpoint,
            cancel,
            timeout_s=_TOKEN_TIMEOUT_S,
            # Without them it would give a stranger's token, and no word why that opens nothing.
            same_origin=bool(credentials),
        )

    def _refresh(
        self, realm: str, service: str, scopes: Scopes, credentials: Credentials, cancel: CancelToken
    ) -> Response:
        form = {
            "client_id": CLIENT_ID,
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "scope": " ".join(scopes),
            "service": service,
        }
        return self._transport.request(
            "POST",
            realm,
            {"Content-Type": "application/x-www-form-urlencoded"},
            self._endpoint,
            cancel,
            body=urlencode(form).encode(),
            timeout_s=_TOKEN_TIMEOUT_S,
            # The token is in the body, and must not go to another address.
            follow=False,
        )


def _parse_token(body: bytes) -> _Token:
    """``{"token" | "access_token", "expires_in"?, "issued_at"?, "refresh_token"?}``."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        document = {}
    value = document.get("access_token") or document.get("token")
    if not isinstance(value, str) or not value or not value.isprintable():
        raise BrokenRegistry(
            "authorization server did not include a token in the response",
            hint="ask whoever runs the registry",
        )
    refresh = document.get("refresh_token")
    return _Token(value, _expiry(document), refresh if isinstance(refresh, str) else "")


def _expiry(document: dict[str, Any]) -> float:
    """Unix seconds. A clock that disagrees with the server's must not make a fresh token useless."""
    life = document.get("expires_in")
    life_s = min(max(life if isinstance(life, int) else 0, _LEAST_LIFE_S), _LONGEST_LIFE_S)
    now = time.time()
    issued = document.get("issued_at")
    issued_ns = parse_ns(issued) if isinstance(issued, str) else None
    begun = now if issued_ns is None else min(now, issued_ns / 1e9)
    return max(begun + life_s, now + _MARGIN_S + 1)
