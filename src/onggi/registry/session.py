"""One endpoint, spoken to as it wants to be: pinged once, every request authorized."""

from __future__ import annotations

import threading
from collections.abc import Callable

from onggi.cancel import CancelToken
from onggi.errors import OnggiError
from onggi.registry.auth import Authorizer, Scopes
from onggi.registry.credentials import Credentials
from onggi.registry.endpoints import Endpoint
from onggi.registry.errors import BadCredentials, ForeignAddress, prefixed
from onggi.registry.response import Response
from onggi.registry.transport import Body, Headers, Transport, is_downgrade, same_origin

__all__ = ["Session"]

_PING_TIMEOUT_S = 15.0


class Session:
    """Thread-safe; keeps challenges and tokens for as long as it lives."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, credentials: Callable[[], Credentials]
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._auth = Authorizer(transport, endpoint, credentials)
        self._pinged = False
        # A server that speaks our protocol at this address: 400 is what TLS servers say to plain http.
        self.answered = False
        self._lock = threading.Lock()

    def ping(self, cancel: CancelToken) -> None:
        """Learn how this endpoint wants to be addressed; once. Any answer will do.

        Raises NetworkError, TlsError.
        """
        with self._lock:
            if self._pinged:
                return
            url = f"{self.endpoint.url}/v2/"
            with self._transport.limited(cancel, _PING_TIMEOUT_S, f'Get "{url}"') as limited:
                response = self._transport.request(
                    "GET", url, {}, self.endpoint, limited, timeout_s=_PING_TIMEOUT_S
                )
                # Whoever a redirect led to does not say where our credentials go.
                if response.status == 401 and response.url == url:
                    self._auth.learn(response)
                response.release()
            self._pinged = True
            self.answered = response.status < 500 and response.status != 400

    def check_login(self, cancel: CancelToken) -> str:
        """Prove the credentials; returns the identity token if the registry gives one.

        Raises BadCredentials with Docker's text.
        """
        self.ping(cancel)
        url = f"{self.endpoint.url}/v2/"
        response = self._request("GET", url, {}, (), cancel)
        response.release()
        if response.status != 200:
            raise BadCredentials(
                f"login attempt to {url} failed with status: {response.status} {response.reason}".rstrip(),
                hint="check the user name and the password",
            )
        return self._auth.refresh_token(())

    def send(self, method: str, path: str, headers: Headers, scopes: Scopes, cancel: CancelToken) -> Response:
        """A request below ``/v2/``.

        When the registry no longer takes the token it is renewed, and the request repeated,
        once. The caller reads the answer to its end or closes it.
        """
        return self.write(method, f"{self.endpoint.url}/v2/{path}", headers, scopes, cancel)

    def write(
        self,
        method: str,
        url: str,
        headers: Headers,
        scopes: Scopes,
        cancel: CancelToken,
        *,
        body: Body = None,
        answer_s: float | None = None,
    ) -> Response:
        """A request to an address that the registry gave for an upload, or to one of its own.

        Only the endpoint itself sees our credentials (CVE-2026-50151), and nothing goes from
        https to http; ``body`` as :meth:`Transport.request` takes it. With a body that can be
        sent only once a 401 renews the token, but the caller repeats. Raises ForeignAddress.
        """
        self.ping(cancel)
        if not same_origin(url, self.endpoint.url):
            return self._write_elsewhere(method, url, headers, cancel, body, answer_s)
        response = self._request(method, url, headers, scopes, cancel, body, answer_s)
        if response.status == 401 and response.url == url and self._auth.learn(response):
            self._auth.forget(scopes)
            if body is None or isinstance(body, bytes):
                response.release()
                response = self._request(method, url, headers, scopes, cancel, body, answer_s)
        return response

    def _write_elsewhere(
        self, method: str, url: str, headers: Headers, cancel: CancelToken, body: Body, answer_s: float | None
    ) -> Response:
        if is_downgrade(self.endpoint.url, url, self.endpoint):
            raise ForeignAddress(self.endpoint.url, url, "it leaves https")
        response = self._transport.request(
            method, url, headers, self.endpoint, cancel, body=body, answer_s=answer_s
        )
        if response.status in (401, 403):
            response.close()
            raise ForeignAddress(self.endpoint.url, url, "it asks for credentials, which are not for it")
        return response

    def _request(
        self,
        method: str,
        url: str,
        headers: Headers,
        scopes: Scopes,
        cancel: CancelToken,
        body: Body = None,
        answer_s: float | None = None,
    ) -> Response:
        try:
            authorization = self._auth.header(scopes, cancel)
        except OnggiError as error:
            raise prefixed(f'{method.capitalize()} "{url}"', error) from error.__cause__
        sent = dict(headers)
        if authorization is not None:
            sent["Authorization"] = authorization
        return self._transport.request(method, url, sent, self.endpoint, cancel, body=body, answer_s=answer_s)
