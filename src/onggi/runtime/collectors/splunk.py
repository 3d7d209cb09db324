"""The driver ``splunk``: Splunk's HTTP Event Collector, many messages in one request.

body  = { JSON { event, time, host, [ source, sourcetype, index ] } }
event = { line, source, [ tag, attrs ] }      inline; json: a line that is JSON stands as it is
      | tag " " attributes " " line           raw

A batch goes when it has 1000 messages or is 5 seconds old. What cannot be sent waits for the next one;
beyond 10,000 the oldest batch is dropped.

Source: moby ``daemon/logger/splunk``; docs.splunk.com, HTTP Event Collector.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import zlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from onggi.oci.go_json import dump
from onggi.runtime.collectors.collector import About, CollectorError, complain, text_of
from onggi.runtime.collectors.link import client_context
from onggi.runtime.collectors.option_values import boolean, integer
from onggi.runtime.supervisor.messages import Message

TYPE_CHECKING = False  # a collector runs beside every container that asks for one: it is to be small
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Splunk", "check_options"]

_PATH = "/services/collector/event/1.0"
_PERIOD_S, _BATCH, _KEPT = 5.0, 1000, 10_000
_TIMEOUT_S = 30.0
_FORMATS = ("inline", "json", "raw")
_LEVELS = range(-1, 10)


def check_options(options: Mapping[str, str]) -> None:
    """dockerd looks at the values when the log is opened."""


class Splunk:
    """Keeps one connection open; requests are made anew once when it broke."""

    def __init__(self, about: About, options: Mapping[str, str]) -> None:
        self._options = options
        self._url = _url(options)
        if "splunk-token" not in options:
            raise CollectorError("splunk: splunk-token is expected")
        self._headers = {"Authorization": f"Splunk {options['splunk-token']}"}
        if boolean(options.get("splunk-index-acknowledgment", "false")):
            self._headers["X-Splunk-Request-Channel"] = _guid()
        self._gzip = boolean(options.get("splunk-gzip", "false"))
        if self._gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._level = _gzip_level(options.get("splunk-gzip-level", "-1"))
        self._verify_connection = boolean(options.get("splunk-verify-connection", "true"))
        self._format = options.get("splunk-format", "inline")
        if self._format not in _FORMATS:
            raise CollectorError(
                f"Unknown format specified {self._format}, supported formats are inline, json and raw"
            )
        self._event, self._prefix = _frame(about, options)
        self._common = {
            name: options[f"splunk-{name}"]
            for name in ("source", "sourcetype", "index")
            if options.get(f"splunk-{name}")
        }
        self._host = os.uname().nodename
        self._context = self._tls() if self._url.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._waiting: list[bytes] = []
        self._due = 0.0

    def _tls(self) -> Any:
        verify = not boolean(self._options.get("splunk-insecureskipverify", "false"))
        return client_context(self._options.get("splunk-capath", ""), verify=verify)

    def open(self) -> None:
        if not self._verify_connection:
            return
        try:
            status, reason, body = self._request("OPTIONS", b"", {})
        except OSError as error:
            raise CollectorError(f'Options "{self._url.geturl()}{_PATH}": {error}') from error
        if status != 200:
            raise CollectorError(f"splunk: failed to verify connection - {status} {reason} - {text_of(body)}")

    def send(self, message: Message) -> None:
        if self._format == "raw" and not message.line.strip():
            return  # an empty event is refused
        event: Any
        if self._format == "raw":
            event = self._prefix + text_of(message.line)
        else:
            event = {"line": self._line(message.line), "source": message.stream, **self._event}
        document = {
            "event": event,
            "time": f"{message.time_ns / 10**9:f}",
            "host": self._host,
            **self._common,
        }
        if not self._waiting:
            self._due = time.monotonic() + _PERIOD_S
        self._waiting.append(dump(document))
        if len(self._waiting) % _BATCH == 0:
            self.tick()

    def _line(self, line: bytes) -> Any:
        if self._format == "json":
            try:
                return json.loads(line, parse_constant=_refuse)
            except ValueError:
                pass
        return text_of(line)

    def wait_s(self) -> float | None:
        return max(0.0, self._due - time.monotonic()) if self._waiting else None

    def tick(self) -> None:
        while self._waiting:
            try:
                self._post(self._waiting[:_BATCH])
            except OSError as error:
                complain(f"splunk: error while sending logs: {error}")
                self._due = time.monotonic() + _PERIOD_S
                if len(self._waiting) >= _KEPT:
                    complain(f"splunk: failed to send {_BATCH} messages")
                    del self._waiting[:_BATCH]
                return
            del self._waiting[:_BATCH]

    def _post(self, events: list[bytes]) -> None:
        body = b"".join(events)
        if self._gzip:
            packer = zlib.compressobj(self._level, wbits=31)
            body = packer.compress(body) + packer.flush()
        status, reason, answer = self._request("POST", body, self._headers)
        if status != 200:
            raise OSError(f"splunk: failed to send event - {status} {reason} - {text_of(answer)}")

    def _request(self, method: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, bytes]:
        """Raises OSError."""
        is_old = self._connection is not None
        try:
            return self._exchange(method, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self._disconnect()
            if not is_old:
                raise OSError(self._words(error)) from error
        try:
            return self._exchange(method, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self._disconnect()
            raise OSError(self._words(error)) from error

    def _exchange(self, method: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, _PATH, body or None, {"User-Agent": "onggi", **headers})
        response = self._connection.getresponse()
        return response.status, response.reason, response.read()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        made = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self._context)
        name = self._options.get("splunk-caname")
        if name:
            # The name that its certificate is looked at for, whatever the address.
            made.connect = lambda: _connect_as(made, name)  # type: ignore[method-assign]
        return made

    def _words(self, error: Exception) -> str:
        """Go's, for a connection that could not be made."""
        if isinstance(error, ConnectionRefusedError):
            return f"dial tcp {self._url.netloc}: connect: connection refused"
        return str(error) or type(error).__name__

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.tick()
        if self._waiting:
            complain(f"splunk: failed to send {len(self._waiting)} messages")
        self._disconnect()


def _connect_as(connection: http.client.HTTPSConnection, name: str) -> None:
    http.client.HTTPConnection.connect(connection)
    context = connection._context  # type: ignore[attr-defined]  # the one it was made with
    connection.sock = context.wrap_socket(connection.sock, server_hostname=name)


def _url(options: Mapping[str, str]) -> Any:
    text = options.get("splunk-url")
    if text is None:
        raise CollectorError("splunk: splunk-url is expected")
    url = urlsplit(text)
    bare = url.path in ("", "/") and not url.query and not url.fragment and url.username is None
    if url.scheme not in ("http", "https") or not url.hostname or not bare:
        raise CollectorError("splunk: expected format scheme://dns_name_or_ip:port for splunk-url")
    return url._replace(path="")


def _gzip_level(text: str) -> int:
    level = integer(text, function="ParseInt")
    if level not in _LEVELS:
        raise CollectorError(
            f"not supported level '{text}' for splunk-gzip-level (supported values between -1 and 9)"
        )
    return level


def _frame(about: About, options: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """What every event says, as an object and as text in front of a line."""
    tag = "" if options.get("tag") == "" else about.tag
    attributes = dict(sorted(about.attributes.items()))
    event: dict[str, Any] = {"tag": tag} if tag else {}
    if attributes:
        event["attrs"] = attributes
    words = ([tag] if tag else []) + [f"{name}={value}" for name, value in attributes.items()]
    return event, "".join(f"{word} " for word in words)


def _guid() -> str:
    text = os.urandom(16).hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _refuse(constant: str) -> None:
    """``NaN`` and its like are no JSON."""
    raise ValueError(constant)
