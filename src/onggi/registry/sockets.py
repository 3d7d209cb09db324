"""urllib3's connections, made so that another thread can break off a request at any moment.

A pool hands a connection to a request; the request's :class:`Watch`, found through
:class:`Watches` (one slot a thread), learns which one it is, and :meth:`Watch.abort` shuts the
TCP connection down below TLS and HTTP: whoever reads or writes wakes up with an error.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from onggi.cancel import CancelToken
from onggi.registry.dial import dial
from onggi.registry.errors import NetworkError, prefixed
from onggi.registry.proxies import Proxy
from onggi.registry.socks import connect_through

__all__ = ["HttpPool", "HttpsPool", "Watch", "Watches"]

# Seconds for connecting, and again for the TLS handshake (Docker: 30 and 10).
CONNECT_TIMEOUT_S = 30.0


class Watch:
    """One request: its connection, and whether that had served others before."""

    def __init__(self, cancel: CancelToken) -> None:
        self.cancel = cancel
        self.reused = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._aborted = False
        self._forget = cancel.on_cancel(self.abort)

    def follow(self, fd: int, *, reused: bool) -> None:
        """The request goes over the TCP connection ``fd``, of which the watch keeps a duplicate.

        Its own one, since http.client lets go of a connection before the body is read, when the
        connection's end is the body's.
        """
        handle = socket.socket(fileno=os.dup(fd))
        with self._lock:
            self._drop()
            self._handle, self.reused = handle, reused
        if self._aborted:
            self.abort()

    def abort(self) -> None:
        """Shut the connection down; harmless when there is none, or not any more."""
        with self._lock:
            self._aborted = True
            try:
                if self._handle is not None:
                    self._handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def readable(self, timeout_s: float) -> bool:
        """True as soon as bytes (or the end) have come in; False when none do in time."""
        with self._lock:
            fd = -1 if self._handle is None else self._handle.fileno()
        if fd < 0:
            return False
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))

    def end(self) -> None:
        """The connection is no longer this request's."""
        self._forget()
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None


class Watches(threading.local):
    """The watch of the request that this thread is sending."""

    current: Watch | None = None


class _Watched:
    """Part of a connection: dials with the cancel token, and tells the watch."""

    watches: Watches
    socks: Proxy | None
    timeout: Any
    port: int
    _dns_host: str
    sock: socket.socket | None
    _served = 0

    def _new_conn(self) -> socket.socket:
        watch = self.watches.current
        timeout_s = self.timeout if isinstance(self.timeout, int | float) else CONNECT_TIMEOUT_S
        cancel = watch.cancel if watch is not None else CancelToken()
        host, port = (self.socks.host, self.socks.port) if self.socks else (self._dns_host, self.port)
        try:
            sock = dial(host, port, timeout_s, cancel)
        except NetworkError as error:
            if self.socks is not None or getattr(self, "proxy", None) is not None:
                prefixed("proxyconnect tcp", error)
            raise
        self._served = 0
        if watch is not None:
            watch.follow(sock.fileno(), reused=False)
        if self.socks is not None:
            self._enter_tunnel(sock, self.socks, cancel)
        return sock

    def _enter_tunnel(self, sock: socket.socket, proxy: Proxy, cancel: CancelToken) -> None:
        try:
            connect_through(sock, self._dns_host, self.port, proxy.credentials)
        except BaseException:
            sock.close()
            cancel.check()
            raise

    def request(self, *arguments: Any, **options: Any) -> None:
        watch = self.watches.current
        if watch is not None and self.sock is not None:
            watch.follow(self.sock.fileno(), reused=self._served > 0)
        super().request(*arguments, **options)  # type: ignore[misc]
        self._served += 1


class _HttpConnection(_Watched, HTTPConnection):
    pass


class _HttpsConnection(_Watched, HTTPSConnection):
    pass


class HttpPool(HTTPConnectionPool):
    """Kept-alive connections to one host."""

    ConnectionCls = _HttpConnection

    def __init__(self, watches: Watches, socks: Proxy | None, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._watches = watches
        self._socks = socks

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.watches, connection.socks = self._watches, self._socks
        return connection


class HttpsPool(HTTPSConnectionPool):
    """Kept-alive TLS connections to one host."""

    ConnectionCls = _HttpsConnection

    def __init__(self, watches: Watches, socks: Proxy | None, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._watches = watches
        self._socks = socks

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.watches, connection.socks = self._watches, self._socks
        return connection

    def _validate_conn(self, conn: Any) -> None:
        # Without urllib3's warning: a registry is unverified only where the user says so.
        if conn.is_closed:
            conn.connect()
