"""SOCKS5: ask a proxy for a TCP connection to a name (RFC 1928; passwords: RFC 1929).

::

    greeting   05  count  method…                  answer  05  method (ff: none will do)
    password   01  length user  length password    answer  01  status (0: welcome)
    connect    05  01  00  address  port           answer  05  code  00  address  port
    address    01 IPv4 (4) | 03 length name | 04 IPv6 (16)

Names go to the proxy as they are: it resolves them, ``socks5`` and ``socks5h`` alike, as in Go.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from onggi.registry.errors import NetworkError

__all__ = ["connect_through"]

_VERSION, _CONNECT, _PASSWORD_VERSION = 5, 1, 1
_OPEN, _PASSWORD, _NONE = 0x00, 0x02, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
# Bytes that user, password and name may each have: their length is one byte.
_LONGEST = 255
# Go's words for the codes.
_CODES = {
    1: "general SOCKS server failure",
    2: "connection not allowed by ruleset",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


def connect_through(sock: socket.socket, host: str, port: int, credentials: str) -> None:
    """Make ``sock``, connected to the proxy, a connection to ``host:port``.

    ``credentials`` are ``user:password`` or empty. Raises NetworkError in Go's words, OSError.
    """
    where = f"socks connect tcp {_shown(*sock.getpeername()[:2])}->{_shown(host, port)}"
    _greet(sock, where, credentials)
    address = _address(host, where)
    sock.sendall(bytes([_VERSION, _CONNECT, 0]) + address + struct.pack(">H", port))
    version, code, _, kind = _receive(sock, 4, where)
    if version != _VERSION:
        raise _failure(where, f"unexpected protocol version {version}")
    if code:
        raise _failure(where, f"unknown error {_CODES.get(code, f'unknown code: {code}')}")
    length = {_IPV4: 4, _IPV6: 16}.get(kind) or _receive(sock, 1, where)[0]
    _receive(sock, length + 2, where)


def _greet(sock: socket.socket, where: str, credentials: str) -> None:
    methods = [_OPEN, _PASSWORD] if credentials else [_OPEN]
    sock.sendall(bytes([_VERSION, len(methods), *methods]))
    version, method = _receive(sock, 2, where)
    if version != _VERSION:
        raise _failure(where, f"unexpected protocol version {version}", "is it a SOCKS5 proxy?")
    if method == _PASSWORD and credentials:
        user, _, password = credentials.partition(":")
        sock.sendall(bytes([_PASSWORD_VERSION]) + _short(user, where) + _short(password, where))
        if _receive(sock, 2, where)[1]:
            raise _failure(where, "username/password authentication failed", "check the proxy's password")
    elif method != _OPEN:
        hint = "it wants a user name: socks5://user:password@host:port" if not credentials else ""
        raise _failure(where, "no acceptable authentication methods", hint)


def _address(host: str, where: str) -> bytes:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return bytes([_NAME]) + _short(host, where)
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed


def _short(text: str, where: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) <= _LONGEST:
        raise _failure(where, "a name or password of no usable length", "SOCKS5 takes 1 to 255 bytes")
    return bytes([len(data)]) + data


def _receive(sock: socket.socket, count: int, where: str) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise _failure(where, "EOF", "is it a SOCKS5 proxy?")
        data += piece
    return data


def _failure(where: str, reason: str, hint: str = "") -> NetworkError:
    return NetworkError(f"{where}: {reason}", hint=hint or "check the proxy settings")


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
