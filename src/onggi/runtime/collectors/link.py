"""Connections of collectors: made as an address says, and made anew when they break.

address = scheme "://" ( host [ ":" port ] | path ) ;      (tcp, tcp+tls, udp, unix, unixgram)
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from onggi.runtime.collectors.collector import CollectorError, complain

TYPE_CHECKING = False  # a collector runs beside every container that asks for one: it is to be small
if TYPE_CHECKING:
    import ssl

__all__ = ["Link", "dial", "host_and_port", "transport_url"]

_SCHEMES = ("tcp", "tcp+tls", "udp", "unix", "unixgram")
_TIMEOUT_S = 10.0
"""Seconds for a connection to be made, or for one message to be taken: then it counts as broken."""
_REST_S = 1.0
"""Seconds after a connection that could not be made until the next try; what comes meanwhile is dropped."""


def transport_url(text: str) -> tuple[str, str]:
    """Scheme and the rest; an empty scheme when it is no such address."""
    scheme, separator, rest = text.partition("://")
    return (scheme, rest) if separator and scheme in _SCHEMES else ("", text)


def host_and_port(text: str, default_port: str = "") -> tuple[str, str]:
    """``host:port``, ``[::1]:port``. Raises ValueError when there is no port, and none by default."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"address {text}: missing ']' in address")
    else:
        host, _, port = text.partition(":")
        if ":" in port:
            raise ValueError(f"address {text}: too many colons in address")
    if not port and not default_port:
        raise ValueError(f"address {text}: missing port in address")
    return host, port or default_port


def dial(
    network: str, address: str, tls: ssl.SSLContext | None = None, server_name: str = ""
) -> socket.socket:
    """A connected socket with a time limit. Raises OSError, its text Docker's."""
    try:
        if network in ("unix", "unixgram"):
            return _connect(socket.AF_UNIX, _KINDS[network], address)
        host, port = host_and_port(address)
        made = _connect_by_name(host or "localhost", port, _KINDS[network])
        return tls.wrap_socket(made, server_hostname=server_name or host) if tls is not None else made
    except socket.gaierror as error:
        raise OSError(f"dial {network.partition('+')[0]}: lookup {host}: no such host") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(f"dial {network.partition('+')[0]} {address}: connect: {reason}") from error


_KINDS = {
    "tcp": socket.SOCK_STREAM,
    "tcp+tls": socket.SOCK_STREAM,
    "udp": socket.SOCK_DGRAM,
    "unix": socket.SOCK_STREAM,
    "unixgram": socket.SOCK_DGRAM,
}


def _connect_by_name(host: str, port: str, kind: int) -> socket.socket:
    last: OSError | None = None
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=kind):
        try:
            return _connect(family, kind, address)
        except OSError as error:
            last = error
    raise last or OSError(f"no address of {host}")


def _connect(family: int, kind: int, address: object) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.settimeout(_TIMEOUT_S)
        made.connect(address)  # type: ignore[arg-type]  # a path, or host and port
    except BaseException:
        made.close()
        raise
    return made


class Link:
    """One connection. ``tries``: how often a broken one is made anew for a message, ``delay_s`` apart."""

    def __init__(self, connect: Callable[[], socket.socket], *, tries: int = 1, delay_s: float = 0.0) -> None:
        self._connect = connect
        self._tries = tries
        self._delay_s = delay_s
        self._socket: socket.socket | None = None
        self._rest_until = 0.0

    def open(self) -> None:
        """Raises CollectorError."""
        try:
            self._socket = self._connect()
        except OSError as error:
            raise CollectorError(str(error)) from error

    @property
    def socket(self) -> socket.socket | None:
        """The connection, if there is one."""
        return self._socket

    def send(self, data: bytes) -> bool:
        """Send all of it, by a new connection if need be; False when it is lost."""
        if self._sent(data):
            return True
        if time.monotonic() < self._rest_until:
            return False
        for attempt in range(self._tries):
            if attempt:
                time.sleep(self._delay_s)
            if self._reopened() and self._sent(data):
                return True
        self._rest_until = time.monotonic() + _REST_S
        return False

    def _sent(self, data: bytes) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendall(data)
        except OSError as error:
            complain(f"write: {error.strerror or error}")
            self.close()
            return False
        return True

    def _reopened(self) -> bool:
        try:
            self._socket = self._connect()
        except OSError as error:
            complain(str(error))
            return False
        return True

    def close(self) -> None:
        """Let go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def client_context(
    ca_file: str = "", certificate: str = "", key: str = "", *, verify: bool = True
) -> ssl.SSLContext:
    """TLS for a client. Raises CollectorError for files that cannot be read."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate or key:
            context.load_cert_chain(certificate, key or None)
    except OSError as error:
        where = next((path for path in (ca_file, certificate, key) if path and not os.path.exists(path)), "")
        raise CollectorError(f"could not read certificate {where}: {error.strerror or error}") from error
    return context
