"""HTTP to registries: kept-alive pools, TLS from certs.d, proxies, redirects without secrets.

Redirects are followed here and not by urllib3, since what may be sent along is a matter of
safety: ``Authorization`` stays behind whenever scheme, host or port change.
"""

from __future__ import annotations

import os
import platform
import socket
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, ProxyError
from urllib3.exceptions import SSLError as UrllibSSLError
from urllib3.exceptions import TimeoutError as UrllibTimeoutError
from urllib3.response import BaseHTTPResponse

from onggi import __version__
from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.errors import OnggiError
from onggi.registry.endpoints import Endpoint
from onggi.registry.errors import BrokenRegistry, NetworkError, TlsError, TlsFiles

__all__ = ["Response", "Transport"]

_CONNECT_TIMEOUT_S = 30.0
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Bytes of an answer that is read whole: manifests are limited to 4 MiB, token answers are small.
_MAX_BODY_BYTES = 8 * 1024 * 1024
# Connections kept per host: downloads, their helpers, and a manifest request beside them.
_POOL_SIZE = 16


class Response:
    """An open answer; its body is read once, by :meth:`read` pieces or :meth:`body` whole."""

    def __init__(self, raw: BaseHTTPResponse, url: str) -> None:
        self._raw = raw
        self.url = url
        self.status = raw.status
        self.reason = raw.reason or ""
        self.headers: Mapping[str, str] = raw.headers
        self._complete = False

    def header_lines(self, name: str) -> list[str]:
        """Every line of a header, in order."""
        return list(self._raw.headers.getlist(name))

    def read(self, limit_bytes: int) -> bytes:
        """The next bytes as they travelled; empty at the end. Raises NetworkError when cut."""
        try:
            piece = self._raw.read(limit_bytes, decode_content=False)
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            raise _network_error("Get", self.url, error) from error
        if not piece and limit_bytes:
            self._complete = True
            self._raw.release_conn()
        return piece

    def body(self, limit_bytes: int = _MAX_BODY_BYTES) -> bytes:
        """Everything, at most ``limit_bytes``. Raises BrokenRegistry when there is more."""
        pieces, length = [], 0
        while piece := self.read(65536):
            pieces.append(piece)
            length += len(piece)
            if length > limit_bytes:
                self.close()
                raise BrokenRegistry(f"{self.url}: the answer is longer than {limit_bytes} bytes")
        return b"".join(pieces)

    def release(self) -> None:
        """Give the connection back after a complete answer, or drop it."""
        self._raw.drain_conn()

    def close(self) -> None:
        """Drop the connection, also from under a thread that reads; a complete answer is kept alive."""
        if self._complete:
            return
        connection = getattr(self._raw, "_connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._raw.close()


class Transport:
    """Sends requests; thread-safe. Each endpoint has its own pool, by its own TLS settings."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str, bool, str], urllib3.PoolManager] = {}
        self._agent = user_agent()

    def close(self) -> None:
        """Close every kept-alive connection."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()
            self._pools.clear()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str | list[str]],
        endpoint: Endpoint,
        cancel: CancelToken,
        *,
        body: bytes | None = None,
        timeout_s: float | None = None,
        follow: bool = True,
    ) -> Response:
        """One request, redirects included. Raises NetworkError, TlsError, Cancelled."""
        wanted = _header_dict(headers)
        wanted["User-Agent"] = self._agent
        wanted["Accept-Encoding"] = "identity"
        for _ in range(_MAX_REDIRECTS):
            cancel.check()
            response = self._send(method, url, wanted, endpoint, body, timeout_s)
            location = response.headers.get("Location")
            if not follow or response.status not in _REDIRECTS or not location:
                return response
            response.release()
            url, wanted = self._redirect(url, urljoin(url, location), wanted)
        raise BrokenRegistry(f"{method} {url}: more than {_MAX_REDIRECTS} redirects")

    def _redirect(
        self, old: str, new: str, headers: urllib3.HTTPHeaderDict
    ) -> tuple[str, urllib3.HTTPHeaderDict]:
        target = urlsplit(new)
        if target.scheme not in ("http", "https"):
            raise BrokenRegistry(f"Get {old}: redirected to an address that is not http: {target.scheme}")
        if urlsplit(old).scheme == "https" and target.scheme == "http":
            raise BrokenRegistry(f"Get {old}: redirected from https to http ({target.netloc})")
        if _origin(old) != _origin(new):
            headers = headers.copy()
            headers.discard("Authorization")
        return new, headers

    def _send(
        self,
        method: str,
        url: str,
        headers: urllib3.HTTPHeaderDict,
        endpoint: Endpoint,
        body: bytes | None,
        timeout_s: float | None,
    ) -> Response:
        timeout = urllib3.Timeout(
            connect=min(_CONNECT_TIMEOUT_S, timeout_s or _CONNECT_TIMEOUT_S),
            read=timeout_s or self._config.stall_timeout_s,
        )
        try:
            raw = self._pool(url, endpoint).request(
                method,
                url,
                headers=headers,
                body=body,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            raise _network_error(method.capitalize(), url, error) from error
        return Response(raw, url)

    # --- pools ----------------------------------------------------------------------------

    def _pool(self, url: str, endpoint: Endpoint) -> urllib3.PoolManager:
        parts = urlsplit(url)
        verify = endpoint.verify or parts.netloc != endpoint.host
        proxy = self._proxy_for(parts.scheme, parts.hostname or "", parts.port)
        key = (parts.scheme, parts.netloc, verify, proxy)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._new_pool(parts.scheme, parts.netloc, verify, proxy)
            return pool

    def _new_pool(self, scheme: str, host: str, verify: bool, proxy: str) -> urllib3.PoolManager:
        context = self._tls(host, verify) if scheme == "https" else None
        if not proxy:
            return urllib3.PoolManager(maxsize=_POOL_SIZE, ssl_context=context)
        parts = urlsplit(proxy)
        headers = None
        if parts.username:
            headers = urllib3.make_headers(proxy_basic_auth=f"{parts.username}:{parts.password or ''}")
            proxy = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return urllib3.ProxyManager(proxy, maxsize=_POOL_SIZE, ssl_context=context, proxy_headers=headers)

    def _tls(self, host: str, verify: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        for directory in self._config.certs_dirs:
            _load_certificates(context, directory / host)
        return context

    def _proxy_for(self, scheme: str, host: str, port: int | None) -> str:
        proxy = self._config.https_proxy if scheme == "https" else self._config.http_proxy
        if not proxy or _bypasses(self._config.no_proxy, host, port):
            return ""
        return proxy if "://" in proxy else f"http://{proxy}"


def user_agent() -> str:
    """Names this engine and nothing of its user."""
    return f"onggi/{__version__} python/{platform.python_version()} os/linux"


def _header_dict(headers: Mapping[str, str | list[str]]) -> urllib3.HTTPHeaderDict:
    """Lists become several lines of one name: some registries read only one Accept line of many values."""
    result = urllib3.HTTPHeaderDict()
    for name, value in headers.items():
        for line in [value] if isinstance(value, str) else value:
            result.add(name, line)
    return result


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _bypasses(no_proxy: str, host: str, port: int | None) -> bool:
    """Go's rules in short: names match themselves and below, loopback is never proxied."""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return True
    for entry in (item.strip().lower() for item in no_proxy.split(",")):
        if entry == "*":
            return True
        name, _, entry_port = entry.partition(":")
        if entry_port and entry_port != str(port):
            continue
        bare = name.removeprefix("*").removeprefix(".")
        if bare and (host == bare or host.endswith("." + bare)):
            return True
    return False


def _load_certificates(context: ssl.SSLContext, directory: Path) -> None:
    """``*.crt`` are further authorities, ``X.cert`` with ``X.key`` a client certificate."""
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        path = directory / name
        stem, suffix = os.path.splitext(name)
        try:
            if suffix == ".crt":
                context.load_verify_locations(cafile=path)
            elif suffix == ".cert":
                if f"{stem}.key" not in names:
                    raise TlsFiles(
                        f"missing key {stem}.key for client certificate {name}",
                        hint=f"put it into {directory}",
                    )
                context.load_cert_chain(path, directory / f"{stem}.key")
            elif suffix == ".key" and f"{stem}.cert" not in names:
                raise TlsFiles(
                    f"missing client certificate {stem}.cert for key {name}", hint=f"put it into {directory}"
                )
        except (ssl.SSLError, OSError) as error:
            raise TlsFiles(f"read {path}: {error}", hint="it must be PEM") from error


def _network_error(verb: str, url: str, error: BaseException) -> OnggiError:
    """Docker's words (Go's net/http) for what went wrong, with the way out."""
    while isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    where = f'{verb} "{url}"'
    parts = urlsplit(url)
    address = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    cause = error.__cause__ or error.__context__ or error
    if isinstance(error, UrllibSSLError) or isinstance(cause, ssl.SSLError):
        return _tls_error(where, parts.netloc, error)
    if isinstance(error, ProxyError):
        return NetworkError(f"{where}: proxyconnect tcp: {cause}", hint="check the proxy settings")
    if isinstance(error, UrllibTimeoutError) or isinstance(cause, TimeoutError):
        return NetworkError(
            f"{where}: net/http: request canceled (timeout)", hint="the registry does not answer"
        )
    if isinstance(cause, socket.gaierror):
        return NetworkError(
            f"{where}: dial tcp: lookup {parts.hostname}: no such host", hint="check the name and the network"
        )
    if isinstance(cause, ConnectionRefusedError):
        return NetworkError(
            f"{where}: dial tcp {address}: connect: connection refused", hint="is the registry running there?"
        )
    if isinstance(error, NewConnectionError) and isinstance(cause, OSError):
        return NetworkError(
            f"{where}: dial tcp {address}: connect: {(cause.strerror or str(cause)).lower()}",
            hint="check the network",
        )
    return NetworkError(f"{where}: {error}", hint="the connection broke; try again")


def _tls_error(where: str, host: str, error: BaseException) -> OnggiError:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = "x509: certificate signed by unknown authority"
        if "Hostname mismatch" in text or "IP address mismatch" in text:
            reason = f"x509: certificate is not valid for {host}"
        elif "expired" in text:
            reason = "x509: certificate has expired or is not yet valid"
    elif "WRONG_VERSION_NUMBER" in text or "HTTP_REQUEST" in text or "record layer" in text:
        reason = "http: server gave HTTP response to HTTPS client"
    else:
        reason = f"tls: {text}"
    return TlsError(
        f"{where}: {reason}",
        hint=f"put its authority into /etc/onggi/certs.d/{host}/ca.crt, or list it in insecure-registries",
    )
