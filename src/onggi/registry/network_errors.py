"""What went wrong on the way, in the words of Go's net/http, with the way out."""

from __future__ import annotations

import ssl
from http.client import BadStatusLine, RemoteDisconnected
from urllib.parse import urlsplit

from urllib3.exceptions import (
    IncompleteRead,
    MaxRetryError,
    ProxyError,
    ReadTimeoutError,
)
from urllib3.exceptions import SSLError as UrllibSSLError
from urllib3.exceptions import TimeoutError as UrllibTimeoutError

from onggi.errors import OnggiError
from onggi.registry.errors import NetworkError, TlsError, Unreachable
from onggi.registry.foreign import one_line

__all__ = ["translate", "without_secrets"]

# Characters of what the other side sent that an error shows.
_SHOWN_CHARACTERS = 200


def without_secrets(url: str, *, keep_query: bool) -> str:
    """A URL for people to read: never with a password, with the query only where it is ours.

    A redirect's query often is a signature that opens the blob to whoever has it.
    """
    parts = urlsplit(url)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    return one_line((shown if keep_query else shown._replace(query="")).geturl())


def translate(where: str, url: str, error: BaseException, stall_s: float, *, go_prefix: bool) -> OnggiError:
    """The error of ours; ``where`` is ``Get "<url>"``. ``go_prefix``: Go ≥ 1.20 names TLS in x509 errors."""
    chain = _chain(error)
    tls = next((cause for cause in chain if isinstance(cause, ssl.SSLError | UrllibSSLError)), None)
    proxy = any(isinstance(cause, ProxyError) for cause in chain)
    if tls is not None and not any(isinstance(cause, TimeoutError) for cause in chain):
        return _tls_error(where, urlsplit(url).netloc.rpartition("@")[2], chain, go_prefix=go_prefix)
    if proxy:
        broke = any(isinstance(cause, ConnectionError) for cause in chain)
        kind = NetworkError if broke else Unreachable
        return kind(f"{where}: proxyconnect tcp: {_cause_text(chain)}", hint="check the proxy settings")
    if any(isinstance(cause, ReadTimeoutError | UrllibTimeoutError | TimeoutError) for cause in chain):
        return NetworkError(
            f"{where}: i/o timeout: nothing received for {stall_s:g} s",
            hint="the registry or the network stalls; try again, or raise stall-timeout",
        )
    return NetworkError(f"{where}: {_cause_text(chain)}", hint="the connection broke; try again")


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what caused it, outermost first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        inner = current.reason if isinstance(current, MaxRetryError) else None
        if inner is None and isinstance(current, ProxyError):
            inner = current.original_error
        current = inner or current.__cause__ or current.__context__
    return chain


def _cause_text(chain: list[BaseException]) -> str:
    for cause in chain:
        if isinstance(cause, IncompleteRead):
            return "unexpected EOF"
        if isinstance(cause, RemoteDisconnected):
            return "EOF"
        if isinstance(cause, BadStatusLine):
            line = one_line(str(cause))[:_SHOWN_CHARACTERS]
            return f'net/http: HTTP/1.x transport connection broken: malformed HTTP response "{line}"'
        if isinstance(cause, ConnectionResetError):
            return "read tcp: connection reset by peer"
        if isinstance(cause, BrokenPipeError):
            return "write tcp: broken pipe"
    last = chain[-1]
    return one_line(str(last))[:_SHOWN_CHARACTERS] or type(last).__name__


def _tls_error(where: str, host: str, chain: list[BaseException], *, go_prefix: bool) -> OnggiError:
    certificate = next((cause for cause in chain if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        text = _certificate_text(certificate, host)
        prefix = "tls: failed to verify certificate: " if go_prefix else ""
        return TlsError(
            f"{where}: {prefix}x509: {text}",
            hint=f"put the authority's certificate into /etc/onggi/certs.d/{host}/ca.crt, "
            "or list the host in insecure-registries",
        )
    text = " ".join(str(cause) for cause in chain)
    if any(word in text for word in ("WRONG_VERSION_NUMBER", "wrong version number", "HTTP_REQUEST")):
        return TlsError(
            f"{where}: http: server gave HTTP response to HTTPS client",
            hint=f"list {host} in insecure-registries if it really speaks plain http",
        )
    if "CERTIFICATE_REQUIRED" in text or "CERTIFICATE_UNKNOWN" in text or "BAD_CERTIFICATE" in text:
        return TlsError(
            f"{where}: remote error: tls: bad certificate",
            hint=f"it asks for a client certificate: put X.cert and X.key into /etc/onggi/certs.d/{host}/",
        )
    return TlsError(
        f"{where}: tls: {_reason(chain)}", hint="client and registry do not agree on TLS; is it a registry?"
    )


# OpenSSL's X509_V_ERR_… numbers → Go's words.
_SELF_SIGNED = frozenset({18, 19, 20, 21})
_HOSTNAME, _ADDRESS = 62, 64


def _certificate_text(error: ssl.SSLCertVerificationError, host: str) -> str:
    code = error.verify_code
    if code in _SELF_SIGNED:
        return "certificate signed by unknown authority"
    if code in (9, 10):
        return "certificate has expired or is not yet valid"
    if code in (_HOSTNAME, _ADDRESS):
        return f"certificate is not valid for {host}"
    return str(error.verify_message)


def _reason(chain: list[BaseException]) -> str:
    for cause in reversed(chain):
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return str(cause.reason).lower().replace("_", " ")
    return str(chain[-1])
