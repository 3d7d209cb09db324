"""The driver ``fluentd``: Fluentd's forward protocol, one entry a message.

entry  = [ tag, time, { container_id, container_name, source, log, … }, { [ "chunk": id ] } ]
answer = { "ack": id } ;          (with fluentd-request-ack)

``fluentd-async``: messages wait here while there is no connection, and a start needs none; else the
first connection must be made. A broken one is made anew after ``fluentd-retry-wait``, which grows by
half each time.

Source: moby ``daemon/logger/fluentd``; ``fluent-logger-golang``.
"""

from __future__ import annotations

import base64
import os
import time
from collections import deque
from collections.abc import Mapping

from onggi.oci.timestamps import parse_duration_ns
from onggi.runtime.collectors.collector import About, complain
from onggi.runtime.collectors.link import Link, dial, host_and_port, transport_url
from onggi.runtime.collectors.msgpack import EventTime, Value, pack, unpack_text_map
from onggi.runtime.collectors.option_values import boolean, human_bytes, integer
from onggi.runtime.supervisor.messages import Message

__all__ = ["Fluentd", "check_options", "parse_address"]

_NETWORK, _HOST, _PORT = "tcp", "127.0.0.1", "24224"
_RETRY_WAIT_S, _RETRY_GROWTH, _LONGEST_WAIT_S = 1.0, 1.5, 60.0
_PATIENCE_S = 60.0
"""Seconds that a container is held up for one message while there is no connection."""
_MAX_RETRIES = 2**31 - 1
_ACK_BYTES = 4096


def parse_address(text: str) -> tuple[str, str]:
    """Network, and ``host:port`` or a path. Raises ValueError."""
    network, rest = transport_url(text)
    if network in ("unix", "unixgram"):
        return network, rest
    try:
        host, port = host_and_port(rest or _HOST, _PORT)
    except ValueError as error:
        raise ValueError(f"invalid fluentd-address {text}: {error}") from error
    if not (port.isascii() and port.isdigit()):
        raise ValueError(f'invalid fluentd-address {text}: strconv.Atoi: parsing "{port}": invalid syntax')
    shown = f"[{host}]" if ":" in host else host
    return network or _NETWORK, f"{shown or _HOST}:{port}"


def _is_on(options: Mapping[str, str], name: str) -> bool:
    return boolean(options.get(name) or "false")


def check_options(options: Mapping[str, str]) -> None:
    """Raises ValueError as dockerd does when a container is made."""
    parse_address(options.get("fluentd-address", ""))
    if options.get("fluentd-buffer-limit"):
        human_bytes(options["fluentd-buffer-limit"], binary=True)
    wait = options.get("fluentd-retry-wait")
    if wait and parse_duration_ns(wait) is None:
        raise ValueError(f'time: invalid duration "{wait}"')
    if options.get("fluentd-max-retries"):
        integer(options["fluentd-max-retries"], unsigned=True, function="ParseUint")
    if options.get("fluentd-async") and options.get("fluentd-async-connect"):
        raise ValueError(
            "conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect"
        )
    for name in _SWITCHES:
        _is_on(options, name)


_SWITCHES = ("fluentd-async", "fluentd-async-connect", "fluentd-sub-second-precision", "fluentd-request-ack")


class Fluentd:
    """Sends entries in order; those that wait are in ``_waiting``."""

    def __init__(self, about: About, options: Mapping[str, str]) -> None:
        self._network, self._address = parse_address(options.get("fluentd-address", ""))
        self._tag = about.tag.encode()
        self._fields: dict[bytes, Value] = {
            b"container_id": about.id.encode(),
            b"container_name": f"/{about.name}".encode(),
        }
        self._attributes: dict[bytes, Value] = {
            name.encode(): value.encode() for name, value in about.attributes.items()
        }
        self._async = any(_is_on(options, name) for name in ("fluentd-async", "fluentd-async-connect"))
        self._precise = _is_on(options, "fluentd-sub-second-precision")
        self._acknowledged = _is_on(options, "fluentd-request-ack")
        self._limit = human_bytes(options.get("fluentd-buffer-limit", "1m"), binary=True)
        wait_ns = parse_duration_ns(options.get("fluentd-retry-wait", "")) or 0
        self._first_wait_s = wait_ns / 10**9 or _RETRY_WAIT_S
        self._max_retries = int(options.get("fluentd-max-retries", _MAX_RETRIES))
        self._waiting: deque[Message] = deque()
        self._retries = 0
        self._next_try = 0.0
        self._link = Link(lambda: dial(self._network, self._address), tries=1)

    def open(self) -> None:
        if not self._async:
            self._link.open()

    def send(self, message: Message) -> None:
        if len(self._waiting) >= self._limit:
            complain("fluent#appendBuffer: Buffer full, limit reached")
            return
        self._waiting.append(message)
        if self._async:
            self.tick()
            return
        end = time.monotonic() + _PATIENCE_S
        while self._waiting:
            self.tick()
            pause = self.wait_s()
            if pause is None or time.monotonic() >= end:
                break
            time.sleep(pause)
        if self._waiting:
            complain(f"fluentd: a message was lost: no connection to {self._address}")
            self._waiting.clear()

    def wait_s(self) -> float | None:
        return max(0.0, self._next_try - time.monotonic()) if self._waiting else None

    def tick(self) -> None:
        if time.monotonic() < self._next_try:
            return
        while self._waiting:
            if not self._delivered(self._waiting[0]):
                self._postpone()
                return
            self._waiting.popleft()
            self._retries = 0

    def _postpone(self) -> None:
        self._retries += 1
        if self._retries > self._max_retries:
            complain("fluent#write: failed to reconnect, max retry")
            self._waiting.popleft()
            self._retries = 0
            return
        wait_s = self._first_wait_s * _RETRY_GROWTH ** min(self._retries - 1, 20)
        self._next_try = time.monotonic() + min(wait_s, _LONGEST_WAIT_S)

    def _delivered(self, message: Message) -> bool:
        chunk = base64.b64encode(os.urandom(16)) if self._acknowledged else b""
        if not self._link.send(self._entry(message, chunk)):
            return False
        if chunk and not self._is_acknowledged(chunk):
            self._link.close()
            return False
        return True

    def _is_acknowledged(self, chunk: bytes) -> bool:
        connection = self._link.socket
        data = b""
        try:
            while connection is not None and (answer := unpack_text_map(data)) is None:
                received = connection.recv(_ACK_BYTES)
                if not received:
                    return False
                data += received
        except (OSError, ValueError) as error:
            complain(f"fluentd: no acknowledgement: {error}")
            return False
        return connection is not None and (answer or {}).get(b"ack") == chunk

    def _entry(self, message: Message, chunk: bytes) -> bytes:
        record: dict[bytes, Value] = {
            **self._fields,
            b"source": message.stream.encode(),
            b"log": message.line,
            **self._attributes,
        }
        if message.partial_id:
            record |= {
                b"partial_message": b"true",
                b"partial_id": message.partial_id.encode(),
                b"partial_ordinal": b"%d" % message.ordinal,
                b"partial_last": b"true" if message.last else b"false",
            }
        moment: Value = EventTime(message.time_ns) if self._precise else message.time_ns // 10**9
        option: dict[bytes, Value] = {b"chunk": chunk} if chunk else {}
        return pack([self._tag, moment, record, option])

    def close(self) -> None:
        """What waits gets one more try."""
        self._next_try = 0.0
        self.tick()
        self._link.close()
