"""The driver ``syslog``: to a daemon on this host, or to a server by UDP, TCP or TLS.

message, by format:
    (none)        "<" priority ">" "Nov 24 15:31:10" tag "[" pid "]: " text newline
    rfc3164       the same with the host's name before the tag
    rfc5424       "<" priority ">1 2026-11-24T15:31:11Z" host tag pid tag "- " text newline
    rfc5424micro  the same with microseconds
Over TLS the last two are preceded by their length (RFC 5425); else nothing frames them but the newline.

Source: moby ``daemon/logger/syslog``; RackSec ``srslog`` (formatter.go, framer.go, writer.go).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from onggi.runtime.collectors.collector import About
from onggi.runtime.collectors.link import Link, client_context, dial, host_and_port, transport_url
from onggi.runtime.supervisor.messages import Message

__all__ = ["Syslog", "parse_address", "parse_facility"]

_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("", "", "", ""),
    *(f"local{number}" for number in range(8)),
)
_DAEMON = 3
_ERROR, _INFO = 3, 6
FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_LOCAL_SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")
_PORT = "514"


def parse_address(text: str) -> tuple[str, str]:
    """Network and address; two empty ones for this host's daemon. Raises ValueError."""
    if not text:
        return "", ""
    network, rest = transport_url(text)
    if not network:
        raise ValueError(f"syslog-address should be in form proto://address, got {text}")
    if network in ("unix", "unixgram"):
        if not os.path.exists(rest):
            raise ValueError(f"stat {rest}: no such file or directory")
        return network, rest
    host, port = host_and_port(rest, _PORT)
    return network, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_facility(text: str) -> int:
    """By name or number. Raises ValueError."""
    if not text:
        return _DAEMON
    if text in _FACILITIES:
        return _FACILITIES.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(_FACILITIES):
        return int(text)
    raise ValueError("invalid syslog facility")


class Syslog:
    """Sends each message at once; a broken connection is made anew once for it."""

    def __init__(self, about: About, options: Mapping[str, str]) -> None:
        self._network, self._address = parse_address(options.get("syslog-address", ""))
        self._facility = parse_facility(options.get("syslog-facility", ""))
        self._format = options.get("syslog-format", "")
        self._tag = about.tag
        self._host = os.uname().nodename
        self._context = None
        if self._network == "tcp+tls":
            self._context = client_context(
                options.get("syslog-tls-ca-cert", ""),
                options.get("syslog-tls-cert", ""),
                options.get("syslog-tls-key", ""),
                verify="syslog-tls-skip-verify" not in options,
            )
        self._link = Link(self._connect)

    def open(self) -> None:
        self._link.open()

    def _connect(self) -> socket.socket:
        if self._network:
            return dial(self._network, self._address, self._context)
        for path in _LOCAL_SOCKETS:
            for network in ("unixgram", "unix"):
                try:
                    return dial(network, path)
                except OSError:
                    continue
        raise OSError("Unix syslog delivery error")

    def send(self, message: Message) -> None:
        if not message.line:
            return  # servers refuse an empty message
        severity = _ERROR if message.stream == "stderr" else _INFO
        line = message.line if message.line.endswith(b"\n") else message.line + b"\n"
        data = self._head(self._facility << 3 | severity, message.time_ns).encode() + line
        if self._network == "tcp+tls" and self._format.startswith("rfc5424"):
            data = b"%d %s" % (len(data), data)
        self._link.send(data)

    def _head(self, priority: int, time_ns: int) -> str:
        seconds, fraction = divmod(time_ns, 10**9)
        moment = time.localtime(seconds)
        pid = os.getpid()
        if self._format.startswith("rfc5424"):
            digits = f".{fraction // 1000:06d}" if self._format == "rfc5424micro" else ""
            stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}{digits}{_zone(moment)}"
            return f"<{priority}>1 {stamp} {self._host} {self._tag} {pid} {self._tag} - "
        stamp = f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:2d} {time.strftime('%H:%M:%S', moment)}"
        host = f"{self._host} " if self._format == "rfc3164" else ""
        return f"<{priority}>{stamp} {host}{self._tag}[{pid}]: "

    def wait_s(self) -> None:
        return None

    def tick(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self._link.close()


# Not strftime's, which follow the locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _zone(moment: time.struct_time) -> str:
    minutes = moment.tm_gmtoff // 60
    return f"{minutes // 60:+03d}:{minutes % 60:02d}" if minutes else "Z"


def check_options(options: Mapping[str, str]) -> None:
    """Raises ValueError as dockerd does when a container is made."""
    parse_address(options.get("syslog-address", ""))
    parse_facility(options.get("syslog-facility", ""))
    if options.get("syslog-format", "") not in FORMATS:
        raise ValueError("Invalid syslog format")
