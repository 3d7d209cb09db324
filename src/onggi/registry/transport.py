"""HTTP to registries: kept-alive pools, TLS from certs.d, proxies, redirects without secrets.

Redirects are followed here and not by urllib3, since what may be sent along is a matter of
safety: ``Authorization`` stays behind whenever scheme, host or port change, and https never
leads to http.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError, ProxyError
from urllib3.response import BaseHTTPResponse

from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.errors import Cancelled, OnggiError
from onggi.record import record, replace
from onggi.registry.endpoints import Endpoint, is_insecure
from onggi.registry.errors import BrokenRegistry, NetworkError, prefixed
from onggi.registry.foreign import next_address
from onggi.registry.network_errors import translate, without_secrets
from onggi.registry.proxies import Proxy, proxy_for
from onggi.registry.response import Response
from onggi.registry.sockets import CONNECT_TIMEOUT_S, HttpPool, HttpsPool, Watch, Watches
from onggi.registry.tls import TlsContexts
from onggi.version import __version__

__all__ = ["Body", "Headers", "Transport", "is_downgrade", "same_origin"]

Headers = Mapping[str, "str | list[str]"]
# Bytes may be sent again; an iterator can be used only once.
Body = bytes | Iterable[bytes] | None

_MAX_REDIRECTS = 10
# Characters of another one's address that an error shows.
_SHOWN_ADDRESS = 300
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Connections kept per host: downloads, their helpers, and a manifest request beside them.
_POOL_SIZE = 16
# Kept-alive connections that may turn out to have been closed, before we call it an error.
_STALE_CONNECTIONS = 3

_PoolKey = tuple[str, str, str, str]


@record
class _Call:
    """One request to one address. ``where`` is how errors name it, without secrets."""

    method: str
    url: str
    headers: urllib3.HTTPHeaderDict
    body: Body
    stall_s: float
    where: str


class Transport:
    """Sends requests; thread-safe. Every host an endpoint leads to has a pool of its own."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tls = TlsContexts(config)
        self._watches = Watches()
        self._lock = threading.Lock()
        self._pools: dict[_PoolKey, urllib3.PoolManager] = {}
        version = ".".join(str(part) for part in sys.version_info[:3])
        self._agent = f"onggi/{__version__} python/{version} os/linux"

    def close(self) -> None:
        """Close every kept-alive connection."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.clear()

    @contextmanager
    def limited(self, cancel: CancelToken, timeout_s: float, where: str) -> Iterator[CancelToken]:
        """A token for one whole exchange, body included: a server that drips does not go on for ever.

        The limit is ``timeout_s``, or the stall timeout where that is shorter. Raises NetworkError
        naming ``where`` when it is over.
        """
        limit_s = min(timeout_s, self._config.stall_timeout_s)
        own = CancelToken()
        forget = cancel.on_cancel(own.cancel)
        remaining_s = cancel.remaining_s()
        timer = threading.Timer(limit_s if remaining_s is None else min(limit_s, remaining_s), own.cancel)
        timer.daemon = True
        timer.start()
        try:
            yield own
        except Cancelled:
            cancel.check()
            raise NetworkError(
                f"{where}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                hint=f"no whole answer in {limit_s:g} s: the server or the network stalls; try again",
            ) from None
        finally:
            timer.cancel()
            forget()

    def request(
        self,
        method: str,
        url: str,
        headers: Headers,
        endpoint: Endpoint,
        cancel: CancelToken,
        *,
        body: Body = None,
        timeout_s: float | None = None,
        answer_s: float | None = None,
        follow: bool = True,
        same_origin: bool = False,
    ) -> Response:
        """One request, redirects included; the caller reads the answer to its end or closes it.

        ``timeout_s`` counts where it is below the stall timeout, ``answer_s`` where it is above:
        for uploads, whose answers take their time and whose addresses stay out of errors. With
        ``same_origin`` a redirect to another host is an error; a body that can be sent only once
        follows none. Raises NetworkError, TlsError, BrokenRegistry, TlsFiles,
        ProxySettings, Cancelled, DeadlineExceeded.
        """
        stall_s = min(timeout_s or self._config.stall_timeout_s, self._config.stall_timeout_s)
        stall_s = max(stall_s, answer_s or 0.0)
        where = f'{method.capitalize()} "{without_secrets(url, keep_query=answer_s is None)}"'
        follow = follow and (body is None or isinstance(body, bytes))
        call = _Call(method, url, self._header_dict(headers), body, stall_s, where)
        for _ in range(_MAX_REDIRECTS + 1):
            cancel.check()
            response = self._send(call, endpoint, cancel)
            location = response.headers.get("Location")
            if not follow or response.status not in _REDIRECTS or not location:
                return response
            response.release()
            call = self._redirect(call, location, endpoint, same_origin=same_origin)
        raise BrokenRegistry(
            f"{where}: stopped after {_MAX_REDIRECTS} redirects", hint="the registry sends us in circles"
        )

    def _redirect(self, call: _Call, location: str, endpoint: Endpoint, *, same_origin: bool) -> _Call:
        """The call to where a redirect leads; credentials stay behind when that is another origin."""
        old, target = call.url, next_address(call.url, location)
        if target is None:
            raise _refused(old, "", "the address is none of http")
        new, host = target.geturl(), target.netloc.rpartition("@")[2]
        moved = _origin(old) != _origin(new)
        if moved and same_origin:
            raise _refused(old, new, "it is not who our credentials are for")
        if is_downgrade(old, new, endpoint) and not is_insecure(self._config, host):
            raise _refused(old, new, f"it leaves https; list {host} in insecure-registries if that is meant")
        headers = call.headers.copy()
        if moved:
            headers.discard("Authorization")
        url = target._replace(netloc=host, fragment="").geturl()
        where = f'{call.method.capitalize()} "{without_secrets(url, keep_query=False)}"'
        return replace(call, url=url, headers=headers, where=where)

    def _header_dict(self, headers: Headers) -> urllib3.HTTPHeaderDict:
        """Lists become several lines of one name: some registries read only one value of a line."""
        result = urllib3.HTTPHeaderDict()
        for name, value in headers.items():
            for line in [value] if isinstance(value, str) else value:
                result.add(name, line)
        result["User-Agent"] = self._agent
        result["Accept-Encoding"] = "identity"
        return result

    # --- one request ----------------------------------------------------------------------

    def _send(self, call: _Call, endpoint: Endpoint, cancel: CancelToken) -> Response:
        go_prefix = self._config.compat != "20.10"
        pool = self._pool(call.url, endpoint)
        for attempt in range(_STALE_CONNECTIONS + 1):
            watch = Watch(cancel)
            try:
                raw = self._exchange(pool, watch, call)
                if cancel.cancelled:
                    # The connection was shut down, which http.client takes for the end of the headers.
                    raw.close()
                    cancel.check()
                return Response(raw, call.url, call.where, watch, call.stall_s, go_prefix=go_prefix)
            except (HTTPError, OSError) as error:
                watch.end()
                cancel.check()
                again = call.body is None or isinstance(call.body, bytes)
                if again and watch.reused and _is_hang_up(error) and attempt < _STALE_CONNECTIONS:
                    continue
                raise translate(call.where, call.url, error, call.stall_s, go_prefix=go_prefix) from error
            except OnggiError as error:
                watch.end()
                prefixed(call.where, error)
                raise
            except BaseException:
                watch.end()
                raise
        raise AssertionError("unreachable")

    def _exchange(self, pool: urllib3.PoolManager, watch: Watch, call: _Call) -> BaseHTTPResponse:
        remaining_s = watch.cancel.remaining_s()
        longest_s = call.stall_s if remaining_s is None else min(call.stall_s, max(0.01, remaining_s))
        self._watches.current = watch
        try:
            return pool.urlopen(
                call.method,
                call.url,
                headers=call.headers,
                body=call.body,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, longest_s), read=longest_s),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        finally:
            self._watches.current = None

    # --- pools ----------------------------------------------------------------------------

    def _pool(self, url: str, endpoint: Endpoint) -> urllib3.PoolManager:
        scheme, host, port = _origin(url)
        proxy = proxy_for(self._config, scheme, host, port)
        key = (scheme, urlsplit(url).netloc, endpoint.url, proxy.url if proxy else "")
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._new_pool(scheme, key[1], endpoint, proxy)
            return pool

    def _new_pool(
        self, scheme: str, host: str, endpoint: Endpoint, proxy: Proxy | None
    ) -> urllib3.PoolManager:
        options: dict[str, Any] = {"maxsize": _POOL_SIZE}
        if scheme == "https":
            options["ssl_context"] = self._tls.context(host, endpoint)
        socks = proxy if proxy is not None and proxy.socks else None
        if proxy is None or socks is not None:
            pool = urllib3.PoolManager(**options)
        else:
            headers = urllib3.make_headers(proxy_basic_auth=proxy.credentials) if proxy.credentials else None
            pool = urllib3.ProxyManager(proxy.url, proxy_headers=headers, **options)
        pool.pool_classes_by_scheme = {
            "http": functools.partial(HttpPool, self._watches, socks),  # type: ignore[dict-item]
            "https": functools.partial(HttpsPool, self._watches, socks),  # type: ignore[dict-item]
        }
        return pool


def _is_hang_up(error: Exception) -> bool:
    """True when the other side, or the proxy, closed a connection that it had kept."""
    cause = error.original_error if isinstance(error, ProxyError) else error
    return isinstance(cause, ProtocolError | ConnectionError)


def _refused(old: str, new: str, reason: str) -> BrokenRegistry:
    old, new = without_secrets(old, keep_query=False), without_secrets(new, keep_query=False)
    where = f' to "{new[:_SHOWN_ADDRESS]}"' if new else ""
    return BrokenRegistry(
        f'"{old}": redirected{where}: refused, since {reason}', hint="ask whoever runs the registry"
    )


def same_origin(url: str, other: str) -> bool:
    """True when what may be sent to one may be sent to the other."""
    return _origin(url) == _origin(other)


def is_downgrade(old: str, new: str, endpoint: Endpoint) -> bool:
    """True when ``new`` leaves TLS though the endpoint is one that is verified."""
    return endpoint.verify and urlsplit(old).scheme == "https" and urlsplit(new).scheme == "http"


def _origin(url: str) -> tuple[str, str, int]:
    """What must be equal for credentials to be sent along."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").lower(),
        parts.port or (443 if parts.scheme == "https" else 80),
    )
