"""The driver ``gelf``: Graylog's extended log format, by UDP or TCP.

message = JSON { version, host, short_message, timestamp, level, _field … }
udp     = the message by gzip, zlib or as it is; longer than 1420 bytes in chunks of
          0x1e 0x0f id (8 bytes) number (1) count (1) data
tcp     = the message, a zero byte

Source: moby ``daemon/logger/gelf``; Graylog2 ``go-gelf``; docs.graylog.org, GELF.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping

from onggi.oci.go_json import dump
from onggi.runtime.collectors.collector import About, CollectorError, complain, text_of
from onggi.runtime.collectors.link import Link, dial, host_and_port, transport_url
from onggi.runtime.supervisor.messages import Message

__all__ = ["Gelf", "parse_address"]

_CHUNK_BYTES = 1420
_CHUNK_HEAD = b"\x1e\x0f"
_HEAD_BYTES = 12
_MAX_CHUNKS = 128
_ERROR, _INFO = 3, 6
_WINDOWS = {"gzip": 31, "zlib": 15}
_BEST_SPEED = 1
_RECONNECTS, _DELAY_S = "3", "1"


def parse_address(text: str) -> tuple[str, str]:
    """Network and ``host:port``. Raises ValueError."""
    if not text:
        raise ValueError("gelf-address is a required parameter")
    network, rest = transport_url(text)
    if not network:
        raise ValueError(f"gelf-address should be in form proto://address, got {text}")
    if network not in ("udp", "tcp"):
        raise ValueError("gelf: endpoint needs to be TCP or UDP")
    try:
        host_and_port(rest)
    except ValueError as error:
        raise ValueError("gelf: please provide gelf-address as proto://host:port") from error
    return network, rest


def check_options(options: Mapping[str, str]) -> None:
    """Raises ValueError as dockerd does when a container is made."""
    network, _ = parse_address(options.get("gelf-address", ""))
    for name in ("gelf-compression-level", "gelf-compression-type"):
        if name not in options:
            continue
        if network != "udp":
            raise ValueError("compression is only supported on UDP")
        good = _is_level if name.endswith("level") else ("gzip", "zlib", "none").__contains__
        if not good(options[name]):
            raise ValueError(f'unknown value "{options[name]}" for log opt "{name}" for gelf log driver')
    for name in ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"):
        if name in options and network != "tcp":
            raise ValueError(f'"{name}" is only valid for TCP')
        if name in options and not (options[name].isascii() and options[name].isdigit()):
            raise ValueError(f'"{name}" must be a positive integer')


def _is_level(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and -1 <= int(text) <= 9


class Gelf:
    """Sends each message at once."""

    def __init__(self, about: About, options: Mapping[str, str]) -> None:
        self._network, self._address = parse_address(options.get("gelf-address", ""))
        self._window = _WINDOWS.get(options.get("gelf-compression-type", "gzip"), 0)
        self._level = int(options.get("gelf-compression-level", _BEST_SPEED))
        self._host = os.uname().nodename
        self._extra = _extra(about)
        self._link = Link(
            lambda: dial(self._network, self._address),
            tries=int(options.get("gelf-tcp-max-reconnect", _RECONNECTS)) if self._network == "tcp" else 1,
            delay_s=float(options.get("gelf-tcp-reconnect-delay", _DELAY_S)),
        )

    def open(self) -> None:
        try:
            self._link.open()
        except CollectorError as error:
            raise CollectorError(f"gelf: cannot connect to GELF endpoint: {self._address} {error}") from error

    def send(self, message: Message) -> None:
        if not message.line:
            return  # servers refuse an empty message
        milliseconds = message.time_ns // 10**6
        document = {
            "version": "1.1",
            "host": self._host,
            "short_message": text_of(message.line),
            "timestamp": milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000,
            "level": _ERROR if message.stream == "stderr" else _INFO,
            **self._extra,
        }
        data = dump(document)
        if self._network == "tcp":
            self._link.send(data + b"\0")
            return
        for packet in self._packets(data):
            self._link.send(packet)

    def _packets(self, data: bytes) -> list[bytes]:
        if self._window:
            packer = zlib.compressobj(self._level, wbits=self._window)
            data = packer.compress(data) + packer.flush()
        if len(data) <= _CHUNK_BYTES:
            return [data]
        room = _CHUNK_BYTES - _HEAD_BYTES
        count = -(-len(data) // room)
        if count > _MAX_CHUNKS:
            complain(f"gelf: cannot send GELF message: msg too large, would need {count} chunks")
            return []
        id = os.urandom(8)
        return [
            _CHUNK_HEAD + id + bytes((number, count)) + data[number * room : (number + 1) * room]
            for number in range(count)
        ]

    def wait_s(self) -> None:
        return None

    def tick(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self._link.close()


def _extra(about: About) -> dict[str, str]:
    fields = {
        "_container_id": about.id,
        "_container_name": about.name,
        "_image_id": about.image_id,
        "_image_name": about.image_name,
        "_command": about.command,
        "_tag": about.tag,
        "_created": about.created,
    }
    chosen = {name if name.startswith("_") else f"_{name}": value for name, value in about.attributes.items()}
    return dict(sorted((fields | chosen).items()))
